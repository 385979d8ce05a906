"""One self-contained page about one or more runs: tables, curves, pictures; no network needed."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mesm.config.p import p_text, uniform_p
from mesm.corpora.manifest import Manifest
from mesm.evaluation.calibration import errors
from mesm.evaluation.run import Run
from mesm.plots.confusion import draw_confusion
from mesm.plots.learning_curves import draw_learning_curves
from mesm.plots.reliability import draw_reliability
from mesm.plots.style import png_bytes
from mesm.report.folds import folder_name, sweeps_of, with_folds_as_one
from mesm.report.tables import corpus_table, results_table, score_tables, sweep_tables
from mesm.runs.documents import ShownSweep
from mesm.runs.environment import describe
from mesm.runs.files import owned_file, read_json, write_beside
from mesm.runs.scores import is_single_label
from mesm.tables.costs import sweep_points
from mesm.tables.folds import FoldsAsOne, flops_of, parts_of
from mesm.tables.names import run_name
from mesm.tables.notes import split_method
from mesm.tables.table import Table, percent

HOW_TO_READ = (
    "Attention: brighter is more, and all is bright where it is even; grey are sites that the "
    "block before did not keep. Red: kept."
)
# Clips that are drawn are unfolded up to here; the rest is one click away.
OPEN_PICTURES = 3


def write_report(
    out_html: Path,
    runs: Sequence[Path],
    *,
    split: str = "test",
    synthetic: bool | None = None,
    title: str | None = None,
    note: str | None = None,
    corpus: Path | None = None,
) -> Path:
    """Write one HTML file about runs on one corpus.

    Args:
        out_html: the file; its folder is made if need be.
        runs: folders of evaluated runs, at least one; all folds of a training are shown as one.
        split: whose scores are shown.
        synthetic: whether the corpus is a miniature one, which the page then says at its top, and
            leaves the paper's figures out; None: as its manifest has it, and where that says
            nothing, if an attention was scored against planted regions, which no real corpus has.
        title: of the page.
        note: said at the top of a synthetic corpus' page instead of how such a corpus is made.
        corpus: where the corpus of all runs lies; None: where each finds its own.

    Returns:
        The file.

    Raises:
        ValueError: no run, a run that was not evaluated on the split, or runs on several corpora,
            splits or tasks, or some folds of a training; or another process writes the file, or
            the file is a folder.
    """
    place = Path(os.path.realpath(out_html))  # a link stays, and the file that it names is written
    with owned_file(place, "writing"):
        _write_report(place, runs, split, synthetic, title, note, corpus)
    return out_html


def _write_report(
    out_html: Path,
    runs: Sequence[Path],
    split: str,
    synthetic: bool | None,
    title: str | None,
    note: str | None,
    corpus: Path | None,
) -> None:
    if not runs:
        raise ValueError("report: wanted at least one run, got none")
    opened = [Run(path, split, corpus=corpus) for path in runs]
    for run in opened:
        _ = run.config  # a folder that is no run is refused for that
        run.check_scored()
        read_json(run.path / "sweep.json", ShownSweep)
    _check_one_task(opened)
    corpora = {run.corpus.content: run.corpus.path.resolve() for run in opened}
    if len(corpora) > 1:
        folders = ", ".join(sorted(map(str, corpora.values())))
        raise ValueError(f"report: wanted runs on one corpus, got {folders}")
    shown = with_folds_as_one(opened, split)
    manifest = shown[0].manifest
    if synthetic is None:
        synthetic = manifest.synthetic
    if synthetic is None:
        synthetic = any(run.attention for run in opened)
    context = _context(shown, manifest, synthetic)
    context["note"] = note
    context["title"] = title or f"Emotion recognition on {context['corpus']['name']}"
    environment = Environment(
        loader=PackageLoader("mesm.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(context)
    write_beside(out_html, page)


def _context(runs: Sequence[Run], manifest: Manifest, synthetic: bool) -> dict[str, Any]:
    name = manifest.title
    corpus = corpus_table(manifest)
    corpus["name"] = f"a miniature corpus in {name}'s layout" if synthetic else name
    names = _names(runs)
    called = [names[run.path] for run in runs]
    scored = [(run.config, run.scores, flops_of(run, runs)) for run in runs]
    folds = [run.per_fold if isinstance(run, FoldsAsOne) else [] for run in runs]
    parts = [part for run in runs for part in parts_of(run)]
    return {
        "synthetic": synthetic,
        "lead": f"{', '.join(called)}, trained and tested on {corpus['name']}"
        f"{f' in {split_method(manifest.options)}' if folds[0] else ''}.",
        "facts": _headlines(runs),
        "corpus": corpus,
        "results": results_table(scored, manifest.corpus, synthetic, called, folds),
        "confusions": [_confusion(run) for run in runs if "confusion" in run.scores],
        "learning": _learning(runs),
        "f1": _f1_title(runs[0]),
        "reliability": [_reliability(run) for run in runs if "calibration" in run.scores],
        "curves": [
            *(_curve(run) for run in runs if run.sweep),
            *(_folded_curve(run, tables) for run in runs if (tables := sweeps_of(run))),
        ],
        "explained": [shown for part in parts if (shown := _explained(part))["pictures"]],
        "environment": _environment(runs),
        "settings": [
            {
                "name": f"{names[run.path]}{', its first fold' if len(parts_of(run)) > 1 else ''}",
                "yaml": run.folder.config.read_text(encoding="utf-8"),
            }
            for run in runs
        ],
    }


def _names(runs: Sequence[Run]) -> dict[Path, str]:
    """The runs' names: by their settings, and by their folders too where two are alike."""
    names = [run_name(run.config) for run in runs]
    counts = Counter(names)
    return {
        run.path: name if counts[name] == 1 else f"{name} [{folder_name(run)}]"
        for run, name in zip(runs, names, strict=True)
    }


def _headlines(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The few figures that sum the page up."""
    names = _names(runs)
    shown = []
    for run in runs:
        single = is_single_label(run.scores)
        shown.append(
            {
                "value": f"{percent(run.scores['average']['macro_f1' if single else 'f1'])} %",
                "label": f"{_f1_title(run)} of {names[run.path]}"
                f"{', all folds pooled' if isinstance(run, FoldsAsOne) else ''}",
            }
        )
    for run in runs:
        sweep = run.sweep
        if sweep and sweep["baseline"]:
            point = _nearest_point(sweep)
            share = point["flops_per_clip"]["total"] / sweep["baseline"]["flops_per_clip"]["total"]
            label = f"of FE2E's feature-extraction FLOPs at p = {p_text(point['p'])}"
            shown.append({"value": f"{percent(share, 0)} %", "label": label})
        if run.attention and "face" in run.attention:
            final = run.attention["face"].get("all", {}).get("final", {})
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


def _learning(runs: Sequence[Run]) -> str | None:
    names = _names(runs)
    curves = {}
    for run in runs:
        trainings = [
            {
                "loss": [(row["epoch"], row["train_loss"]) for row in part.history],
                "f1": [(row["epoch"], row["valid_f1"]) for row in part.history],
            }
            for part in parts_of(run)
            if part.history
        ]
        if trainings:
            curves[names[run.path]] = trainings
    title = _f1_title(runs[0])
    return _encode(png_bytes(draw_learning_curves(curves, title))) if curves else None


def _f1_title(run: Run) -> str:
    """The name of the F1 that stands for a run."""
    return "macro F1" if is_single_label(run.scores) else "average F1"


def _confusion(run: Run) -> dict[str, Any]:
    """Likewise of the scores on this page."""
    emotions = list(run.scores["emotions"])
    caption = (
        f"{run_name(run.config)}, {run.split} split, {run.scores['clips']} clips: a row per "
        "emotion that they have, a column per emotion that was decided for; in percent of the row, "
        "and clips."
    )
    picture = draw_confusion(run.scores["confusion"], emotions)
    return {"png": _encode(png_bytes(picture)), "caption": caption}


def _check_one_task(runs: Sequence[Run]) -> None:
    """Refuse, with a ValueError, runs on one emotion a clip beside such on several."""
    ones = [run for run in runs if is_single_label(run.scores)]
    several = [run for run in runs if run not in ones]
    if ones and several:
        raise ValueError(
            f"report: {ones[0].path} has one emotion a clip (training.loss cross_entropy) and "
            f"{several[0].path} several (binary), whose scores do not compare; write a page of each"
        )


def _reliability(run: Run) -> dict[str, Any]:
    """Drawn anew, so that the picture is of the scores on this page."""
    found = run.scores["calibration"]
    clips, average, fitted = run.scores["clips"], errors(found), found.get("fitted")
    single = is_single_label(run.scores)
    caption = (
        f"{run_name(run.config)}, {run.split} split, {clips} clips in {found['bins']} bins "
        f"{'of the most probable emotion' if single else 'per emotion'}, the larger the mark the "
        f"more clips; expected calibration error {percent(average['ece'])} %"
        f"{'' if single else ' on average'}"
    )
    if fitted and "ece_calibrated" in average:
        whose = " of each fold" if "folds" in fitted else "" if single else " per emotion"
        caption += (
            f", {percent(average['ece_calibrated'])} % with a temperature{whose}, fitted to "
            f"{fitted['clips']} {fitted['split']} clips"
        )
    return {"png": _encode(png_bytes(draw_reliability(found))), "caption": f"{caption}."}


def _curve(run: Run) -> dict[str, Any]:
    assert run.sweep is not None
    picture = run.path / "sweep.png"
    trained = run.sweep["trained_p"]
    line = "" if uniform_p(trained) is None else " (dotted line)"
    caption = (
        f"One model, trained at p = {p_text(trained)}{line} and run at every p, "
        f"on the {run.sweep['split']} split, {run.sweep['clips']} clips"
    )
    caption += "; FE2E is dashed." if run.sweep["baseline"] else "."
    return {
        "name": run_name(run.config),
        "png": _encode(picture.read_bytes()),
        "caption": caption,
        "tables": sweep_tables(run.sweep),
    }


def _folded_curve(run: Run, tables: Sequence[Table]) -> dict[str, Any]:
    """Tables alone: the curve of each fold is a picture in its folder."""
    return {"name": run_name(run.config), "png": None, "caption": "", "tables": tables}


def _explained(run: Run) -> dict[str, Any]:
    """The overview first, then every clip's faces and spectrogram, and the scores."""
    folder = run.path / "explain"
    pictures = []
    if (folder / "faces.png").is_file():
        caption = (
            "One face per emotion: the input, in red the sites that each block keeps and "
            "convolves, and the pixels that all of them kept. "
        )
        if run.attention:
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
                caption = f"{clip.name}: {what}. {HOW_TO_READ}"
                pictures.append({"png": encoded, "caption": caption, "kind": what.split()[0]})
    scores = None
    if run.attention:
        scores = {
            "definition": run.attention["definition"],
            "tables": score_tables(run.attention),
        }
    return {
        "name": run_name(run.config) + (f", fold {run.fold.index}" if run.fold else ""),
        "pictures": pictures[:OPEN_PICTURES],
        "more": pictures[OPEN_PICTURES:],
        "scores": scores,
    }


def _environment(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Where the sweep was measured, else where the page was written."""
    sweeps = [part.sweep for run in runs for part in parts_of(run)]
    found = next((sweep["environment"] for sweep in sweeps if sweep), None) or describe()
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
    names = _names(runs)
    for run in runs:
        parts = parts_of(run)
        rows = [row for part in parts for row in part.history]
        seconds = sum(row.get("seconds", 0) for row in rows)
        folds = f"{len(parts)} folds, " if len(parts) > 1 else ""
        text = f"seed {run.config.training.seed}, {folds}{len(rows)} epochs, {seconds:.0f} s"
        lines.append((names[run.path], text))
    return lines


def _encode(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")
