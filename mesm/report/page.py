"""One self-contained page about one or more runs: tables, curves, pictures; no network needed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import load_config
from mesm.config.p import p_text, uniform_p
from mesm.corpora.prepared import Manifest, PreparedCorpus
from mesm.corpora.registry import find_corpus
from mesm.plots.learning_curves import draw_learning_curves
from mesm.plots.style import png_bytes
from mesm.report.tables import corpus_table, results_table, score_tables, sweep_tables
from mesm.runs.environment import describe
from mesm.runs.files import write_beside
from mesm.runs.folder import RunFolder
from mesm.tables.costs import flops_per_clip, sweep_points
from mesm.tables.names import run_name
from mesm.tables.runs import read_json
from mesm.tables.table import percent

# Clips that are drawn are unfolded up to here; the rest is one click away.
OPEN_PICTURES = 3


@dataclass(frozen=True)
class RunFacts:
    """What a run's folder says about it; a part that was never made is None."""

    path: Path
    config: ExperimentConfig
    name: str
    scores: dict[str, Any] | None
    history: list[dict[str, Any]]
    sweep: dict[str, Any] | None
    attention: dict[str, Any] | None

    @property
    def model(self) -> dict[str, Any]:
        """The settings of its model as JSON values."""
        return self.config.model.model_dump(mode="json")

    @classmethod
    def read(cls, path: Path, split: str) -> RunFacts:
        """Read a run.

        Raises:
            ValueError: the folder is no run.
        """
        folder = RunFolder(path)
        if not folder.config.is_file():
            raise ValueError(f"{path}: no run, config.yaml is missing; `mesm train` makes runs")
        config = load_config(folder.config)
        evaluation = read_json(folder.evaluation) or {}
        history = []
        if folder.metrics.is_file():
            history = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
        return cls(
            path=path,
            config=config,
            name=run_name(config),
            scores=evaluation.get(split),
            history=history,
            sweep=read_json(path / "sweep.json"),
            attention=read_json(path / "explain" / "action_units.json"),
        )


def write_report(
    out_html: Path,
    runs: Sequence[Path],
    *,
    split: str = "test",
    synthetic: bool | None = None,
    title: str | None = None,
) -> Path:
    """Write one HTML file about runs on one corpus.

    Args:
        out_html: the file; its folder is made if need be.
        runs: folders of evaluated runs, at least one.
        split: whose scores are shown.
        synthetic: whether the corpus is a miniature one, which the page then says at its top, and
            leaves the paper's figures out; None: as its manifest has it, and where that says
            nothing, if an attention was scored against planted regions, which no real corpus has.
        title: of the page.

    Returns:
        The file.

    Raises:
        ValueError: no run, a run that was not evaluated on the split, or runs on several corpora.
    """
    if not runs:
        raise ValueError("report: wanted at least one run, got none")
    facts = [RunFacts.read(run, split) for run in runs]
    for fact in facts:
        if fact.scores is None:
            raise ValueError(
                f"{fact.path}: not evaluated on the {split} split; run `mesm evaluate {fact.path} "
                f"--split {split}`"
            )
    corpora = {fact.config.corpus.resolve() for fact in facts}
    if len(corpora) > 1:
        raise ValueError(
            f"report: wanted runs on one corpus, got {', '.join(sorted(map(str, corpora)))}"
        )
    manifest = PreparedCorpus.open(facts[0].config.corpus).manifest
    if synthetic is None:
        synthetic = manifest.synthetic
    if synthetic is None:
        synthetic = any(fact.attention for fact in facts)
    context = _context(facts, manifest, synthetic)
    context["title"] = title or f"Emotion recognition on {context['corpus']['name']}"
    environment = Environment(
        loader=PackageLoader("mesm.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(context)
    out_html.parent.mkdir(parents=True, exist_ok=True)
    write_beside(out_html, page)
    return out_html


def _context(facts: Sequence[RunFacts], manifest: Manifest, synthetic: bool) -> dict[str, Any]:
    name = find_corpus(manifest.corpus).title
    corpus = corpus_table(manifest)
    corpus["name"] = f"a miniature corpus in {name}'s layout" if synthetic else name
    scored = [
        (fact.config, fact.scores, flops_per_clip(fact, facts)) for fact in facts if fact.scores
    ]
    return {
        "synthetic": synthetic,
        "lead": f"{', '.join(fact.name for fact in facts)}, trained and tested on "
        f"{corpus['name']}.",
        "facts": _headlines(facts),
        "corpus": corpus,
        "results": results_table(scored, manifest.corpus, synthetic),
        "learning": _learning(facts),
        "curves": [_curve(fact) for fact in facts if fact.sweep],
        "explained": [shown for fact in facts if (shown := _explained(fact))["pictures"]],
        "environment": _environment(facts),
        "settings": [
            {"name": fact.name, "yaml": RunFolder(fact.path).config.read_text(encoding="utf-8")}
            for fact in facts
        ],
    }


def _headlines(facts: Sequence[RunFacts]) -> list[dict[str, str]]:
    """The few figures that sum the page up."""
    shown = []
    for fact in facts:
        assert fact.scores is not None
        shown.append(
            {
                "value": f"{percent(fact.scores['average']['f1'])} %",
                "label": f"average F1 of {fact.name}",
            }
        )
    for fact in facts:
        sweep = fact.sweep
        if sweep and sweep["baseline"]:
            point = _nearest_point(sweep)
            share = point["flops_per_clip"]["total"] / sweep["baseline"]["flops_per_clip"]["total"]
            label = f"of FE2E's feature-extraction FLOPs at p = {p_text(point['p'])}"
            shown.append({"value": f"{percent(share, 0)} %", "label": label})
        if fact.attention and "face" in fact.attention:
            final = fact.attention["face"].get("all", {}).get("final", {})
            if "sites" in final:
                label = "as often as chance do kept face pixels lie on planted action units"
                shown.append({"value": f"{final['sites']['ratio']:.1f} ×", "label": label})
    return shown


def _nearest_point(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """The point at the p of the training, or at the nearest that was measured."""
    trained = uniform_p(sweep["trained_p"])
    if trained is None:
        return sweep_points(sweep)[-1]
    return min(sweep["points"], key=lambda point: abs(point["p"] - trained))


def _learning(facts: Sequence[RunFacts]) -> str | None:
    curves = {
        fact.name if [f.name for f in facts].count(fact.name) == 1 else fact.path.name: {
            "loss": [(row["epoch"], row["train_loss"]) for row in fact.history],
            "f1": [(row["epoch"], row["valid_f1"]) for row in fact.history],
        }
        for fact in facts
        if fact.history
    }
    return _encode(png_bytes(draw_learning_curves(curves))) if curves else None


def _curve(fact: RunFacts) -> dict[str, Any]:
    assert fact.sweep is not None
    picture = fact.path / "sweep.png"
    trained = fact.sweep["trained_p"]
    line = "" if uniform_p(trained) is None else " (dotted line)"
    caption = (
        f"One model, trained at p = {p_text(trained)}{line} and run at every p, "
        f"on the {fact.sweep['split']} split, {fact.sweep['clips']} clips"
    )
    caption += "; FE2E is dashed." if fact.sweep["baseline"] else "."
    return {
        "name": fact.name,
        "png": _encode(picture.read_bytes()),
        "caption": caption,
        "tables": sweep_tables(fact.sweep),
    }


def _explained(fact: RunFacts) -> dict[str, Any]:
    """The overview first, then every clip's faces and spectrogram, and the scores."""
    folder = fact.path / "explain"
    pictures = []
    if (folder / "faces.png").is_file():
        caption = (
            "One face per emotion: the input, in red the sites that each block keeps and "
            "convolves, and the pixels that all of them kept. "
        )
        if fact.attention:
            caption += "Outlined: the planted action units."
        encoded = _encode((folder / "faces.png").read_bytes())
        pictures.append({"png": encoded, "caption": caption, "kind": "faces"})
    if (folder / "spectrograms.png").is_file():
        caption = "The same of the sound of one clip per emotion."
        encoded = _encode((folder / "spectrograms.png").read_bytes())
        pictures.append({"png": encoded, "caption": caption, "kind": "faces"})
    for clip in sorted(folder.glob("*/")):
        for name, what in (("spectrograms.png", "sound"), ("faces.png", "faces over time")):
            if (clip / name).is_file():
                encoded = _encode((clip / name).read_bytes())
                caption = f"{clip.name}: {what}."
                pictures.append({"png": encoded, "caption": caption, "kind": what.split()[0]})
    scores = None
    if fact.attention:
        scores = {
            "definition": fact.attention["definition"],
            "tables": score_tables(fact.attention),
        }
    return {
        "name": fact.name,
        "pictures": pictures[:OPEN_PICTURES],
        "more": pictures[OPEN_PICTURES:],
        "scores": scores,
    }


def _environment(facts: Sequence[RunFacts]) -> list[tuple[str, str]]:
    """Where the sweep was measured, else where the page was written."""
    found = next((fact.sweep["environment"] for fact in facts if fact.sweep), None) or describe()
    lines = [
        ("processor", f"{found['cpu']}, {found['cores']} cores; threads: {found['threads']}"),
        ("GPU", found["gpu"] or "none"),
        ("versions", ", ".join(f"{name} {value}" for name, value in found["versions"].items())),
    ]
    kernels = found["kernels"]
    if kernels:
        lines.append(("kernels", ", ".join(f"{name} {value}" for name, value in kernels.items())))
    else:
        lines.append(("kernels", "none compiled; the reference implementation ran"))
    lines.append(("commit", found["commit"] or "not from a git checkout"))
    for fact in facts:
        settings = fact.config.training
        seconds = sum(row.get("seconds", 0) for row in fact.history)
        lines.append(
            (fact.name, f"seed {settings.seed}, {len(fact.history)} epochs, {seconds:.0f} s")
        )
    return lines


def _encode(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")
