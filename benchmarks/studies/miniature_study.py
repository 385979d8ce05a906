"""FE2E against MESM, part by part, on miniature corpora that no setting was chosen on.

Every corpus seed draws its own corpus and split, and every training seed its own weights; the
shipped experiment `study` says what is trained. Resumable run by run: what is finished is not done
again, and corpora that an earlier call measured stay in the results.

    python -m benchmarks.studies.miniature_study OUT
    python -m benchmarks.studies.miniature_study OUT --only headline --corpora 21
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.studies.miniature_summary import summarise
from mesm.analysis.attention_score import score_attention
from mesm.analysis.sweep import sweep
from mesm.corpora.miniature.emotions import Variant
from mesm.corpora.miniature.generate import generate
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE
from mesm.evaluation.against import compare_runs
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import choose, expand
from mesm.experiment.run import PLAN, run_experiment
from mesm.features.make import FeatureOptions, make_features
from mesm.models.convolutions import DenseExtractor
from mesm.runs.environment import describe
from mesm.runs.files import write_beside

EXPERIMENT = "study"
RESULTS = Path(__file__).parents[1] / "results" / "study.json"
CLIPS = 3000
CORPORA = (21, 22, 23)
# One model at other p; the model of `P_CURVE_OF` alone.
P_CURVE = (0.3, 0.5, 0.7, 0.9, 1.0)
P_CURVE_OF = "mesm"
NORM_CLIPS = 512  # training clips that batch norms' statistics are counted on at each other p


def run_corpus(out: Path, clips: int, seed: int, only: str | None) -> list[dict[str, Any]]:
    """Make one corpus, train and measure what the experiment has for it.

    Args:
        out: folder of this corpus.
        clips: how many.
        seed: of the corpus and its split.
        only: the cells whose name, or one of whose groups, matches this pattern; None: all.

    Returns:
        A row per run, see `measure_run`.

    Raises:
        RuntimeError: a training failed.
    """
    experiment = out / "experiment"
    raw, prepared, truth = make_corpus(out, clips, seed)
    changes = [f"corpus={prepared}"]
    cells = choose(expand(load_experiment(EXPERIMENT), changes, experiment), only)
    if any(cell.config.model.reads_features for cell in cells):
        make_features(PreparedCorpus.open(prepared), FeatureOptions(raw=raw))
    failures = run_experiment(EXPERIMENT, experiment, changes, only=only)
    if failures:
        raise RuntimeError(f"{len(failures)} trainings failed: {', '.join(failures)}")
    plan = json.loads((experiment / PLAN).read_text())["cells"]
    return [
        {"corpus_seed": seed} | measure_run(experiment, plan, cell.name, truth) for cell in cells
    ]


def make_corpus(
    out: Path, clips: int, seed: int, variant: Variant = "hints"
) -> tuple[Path, Path, Path]:
    """Generate and prepare a corpus, where that is not done: raw, prepared, the ground truth."""
    raw, prepared = out / "raw", out / "prepared"
    truth = raw / "ground_truth.jsonl"
    if not truth.is_file():
        generate(raw, clips=clips, seed=seed, variant=variant)
    prepare("iemocap", raw, prepared, PrepareOptions(seed=seed, min_face_size=60))
    return raw, prepared, truth


def measure_run(experiment: Path, plan: dict[str, Any], name: str, truth: Path) -> dict[str, Any]:
    """All that the study says of one trained run; kept in RUN/study.json.

    Returns:
        row (its name, see `row_name`), system, groups, seed and settings; clips, f1 and accuracy on
        the test split, f1 per emotion and per branch, ece; epoch_seconds (the median epoch's).
        MESM has flops (per clip: `flops_of`), active_sites, attention
        (hits over chance), above_fe2e (F1, with its interval, on the same clips, the same seed)
        and, of the model `P_CURVE_OF`, p_curve.
    """
    cell = plan[name]
    run = experiment / cell["folder"]
    kept = run / "study.json"
    scores = json.loads((run / "evaluation.json").read_text())["test"]
    weights = scores["weights"]["sha256"]
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        if found.get("weights") == weights:
            return found
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    system = cell["settings"]["model"]["name"]
    row: dict[str, Any] = {
        "row": row_name(system, cell["changes"]),
        "system": system,
        "groups": cell["groups"],
        "seed": cell["seed"],
        "settings": {
            "model": cell["settings"]["model"],
            # Where the teacher lies is the machine's own business.
            "training": cell["settings"]["training"]
            | {"teacher": cell["changes"].get("training.teacher")},
            "evaluation": cell["settings"]["evaluation"],
        },
        "weights": weights,
        "clips": scores["clips"],
        "f1": scores["average"]["f1"],
        "accuracy": scores["average"]["accuracy"],
        "emotions": {emotion: of["f1"] for emotion, of in scores["emotions"].items()},
        "branches": {
            branch: of["average"]["f1"] for branch, of in scores.get("branches", {}).items()
        },
        "ece": scores["calibration"]["average"]["ece"],
        "epoch_seconds": statistics.median(epoch["seconds"] for epoch in epochs),
    }
    if system == "mesm":
        fe2e = experiment / dense_of(plan, cell["seed"])
        curve = P_CURVE if row["row"] == P_CURVE_OF else ()
        row |= _measure_sparse(run, fe2e, cell["settings"]["model"], curve, truth)
    write_beside(kept, json.dumps(row, indent=1) + "\n")
    return row


def row_name(system: str, changes: Mapping[str, Any]) -> str:
    """A system and what its run changes, such as "mesm p=0.3"; a MESM has a teacher, or says so."""
    own = {key.rpartition(".")[2]: value for key, value in sorted(changes.items())}
    taught = own.pop("teacher", None)
    if system == "mesm" and taught is None:
        own["teacher"] = None
    return " ".join([system, *(f"{key}={value}" for key, value in own.items())])


def dense_of(plan: Mapping[str, Any], seed: int) -> str:
    """The folder of the FE2E of a seed, beside which a MESM is measured."""
    (folder,) = (
        cell["folder"]
        for cell in plan.values()
        if cell["seed"] == seed
        and row_name(cell["settings"]["model"]["name"], cell["changes"]) == "fe2e"
    )
    return str(folder)


def _measure_sparse(
    run: Path, fe2e: Path, model: Mapping[str, Any], curve: Sequence[float], truth: Path
) -> dict[str, Any]:
    p, channels = model["p"], model["channels"]
    swept = sweep(run, sorted({p, *curve}), baseline=fe2e, repeats=1, norm_clips=NORM_CLIPS)
    own = next(point for point in swept["points"] if point["p"] == p)
    with contextlib.redirect_stdout(io.StringIO()):
        against = compare_runs(run, fe2e)
    scored = score_attention(run, truth, "test")
    row = {
        "flops": flops_of(own, swept["baseline"], first_stage_shares(channels)),
        "active_sites": own["active_sites"],
        "above_fe2e": against["average"]["f1"],
        "attention": {
            modality: [
                place["sites"]["ratio"]
                for place in (*scored[modality]["all"]["blocks"], scored[modality]["all"]["final"])
            ]
            for modality in ("face", "audio")
        },
    }
    if curve:
        row["p_curve"] = [
            {
                "p": point["p"],
                "f1": point["average"]["f1"],
                "flops": point["flops_per_clip"]["total"],
                "active_sites": point["active_sites"],
            }
            for point in swept["points"]
        ]
    return row


def flops_of(
    own: dict[str, Any], dense: dict[str, Any], shares: Mapping[str, float]
) -> dict[str, Any]:
    """FLOPs per clip of a MESM and of FE2E, all feature extraction and the blocks alone.

    The blocks are what comes after the first stage, which both have and which is dense in both.

    Args:
        own: a point of a sweep.
        dense: its baseline.
        shares: of the first stage, see `first_stage_shares`.
    """
    ours, theirs = own["flops_per_clip"], dense["flops_per_clip"]
    first = sum(theirs["by_modality"][name] * share for name, share in shares.items())
    return {
        "mesm": ours["total"],
        "fe2e": theirs["total"],
        "mesm_blocks": ours["total"] - first,
        "fe2e_blocks": theirs["total"] - first,
    }


def first_stage_shares(channels: Sequence[int]) -> dict[str, float]:
    """The first stage's share of a dense extractor's FLOPs, per modality, from shapes."""
    shares = {}
    for modality, shape in (("face", FACE_SHAPE), ("audio", CHUNK_SHAPE)):
        with torch.device("meta"):
            extractor = DenseExtractor(shape[0], channels).eval()
            frame = torch.empty(1, *shape)
        first, whole = (
            _count(part, *given)
            for part, given in ((extractor.stage, (frame,)), (extractor, (frame, None, frame)))
        )
        shares[modality] = first / whole
    return shares


def _count(part: torch.nn.Module, *given: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        part(*given)
    return counter.get_total_flops()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.miniature_study",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder for corpora and runs; resumed if it exists")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--corpora", type=int, nargs="+", default=list(CORPORA), metavar="SEED")
    parser.add_argument("--only", metavar="PATTERN", help="of the experiment's groups or cells")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    for number, seed in enumerate(chosen.corpora, start=1):
        print(f"corpus seed {seed} ({number} of {len(chosen.corpora)})", flush=True)
        folder = chosen.out / f"clips{chosen.clips}_seed{seed}"
        rows = run_corpus(folder, chosen.clips, seed, chosen.only)
        publish(chosen.results, chosen.clips, rows)
    print(chosen.results)


def publish(results: Path, clips: int, rows: list[dict[str, Any]]) -> None:
    """Put rows into the results, in the place of older ones of the same run.

    Raises:
        ValueError: the results are of another number of clips, or have runs of the same name that
            other settings made.
    """
    old = rows_so_far(results, clips)
    _check_alike(old, rows)
    found = {_identity(row): row for row in (*old, *rows)}
    rows = [found[key] for key in sorted(found)]
    result = {
        "clips": clips,
        "conventions": {
            "f1": "average over the emotions, test split, threshold 0.5, 0 to 1",
            "branches": "F1 of a branch's own logits",
            "flops": "forward pass of the feature extraction, attention included; per clip, 2 per "
            "multiply-accumulate",
            "attention": "hits of kept sites over chance: blocks 1 to 3, then pixels that all keep",
            "above_fe2e": "F1 above FE2E's of the same seed; paired bootstrap over clips, 95 %",
        },
        "summary": summarise(rows),
        "rows": rows,
        "environment": describe(),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    write_beside(results, json.dumps(result, indent=1) + "\n")


def rows_so_far(results: Path, clips: int) -> list[dict[str, Any]]:
    """The rows of results that earlier calls left; ValueError: of another number of clips."""
    if not results.is_file():
        return []
    old: dict[str, Any] = json.loads(results.read_text())
    if old["clips"] != clips:
        raise ValueError(
            f"{results}: is of {old['clips']} clips, not {clips}; name another file (--results)"
        )
    found: list[dict[str, Any]] = old["rows"]
    return found


def _check_alike(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> None:
    """Refuse to put runs of other settings under one name."""
    replaced = {_identity(row) for row in new}
    for row in old:
        if _identity(row) in replaced:
            continue
        for other in new:
            if row["row"] == other["row"] and _settings(row) != _settings(other):
                raise ValueError(
                    f"{row['row']} of corpus seed {row['corpus_seed']} was trained with other "
                    "settings; train that corpus anew, or name another file (--results)"
                )


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    settings = row["settings"]
    return settings | {"training": settings["training"] | {"seed": None}}


def _identity(row: dict[str, Any]) -> tuple[int, str, int]:
    return row["corpus_seed"], row["row"], row["seed"]


if __name__ == "__main__":
    main()
