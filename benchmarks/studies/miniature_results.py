"""Every table and figure of docs/results: the paper's whole experiment on a miniature corpus.

Resumable: finished parts are not done again. About two hours on two cores.

    python -m benchmarks.studies.miniature_results OUT --clips 400 --seed 7
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mesm.analysis.budget import find_budget
from mesm.analysis.explain import explain
from mesm.analysis.retrain import retrain
from mesm.analysis.sweep import sweep
from mesm.corpora.miniature.generate import generate
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus
from mesm.demo import Stages
from mesm.experiment.run import PLAN, run_experiment
from mesm.features.make import FeatureOptions, make_features
from mesm.plots.comparison import draw_comparison
from mesm.plots.style import save_png
from mesm.tables.ablation import ablation_tables
from mesm.tables.comparison import comparison_tables
from mesm.tables.experiments import group_folders
from mesm.tables.formats import write_tables
from mesm.tables.results import results_tables
from mesm.tables.splits import splits_tables
from mesm.tables.sweeps import sweep_tables
from mesm.tables.table import Table

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SEEDS = (0, 1, 2)
# One model, swept; the values with a model of their own; budgets, as shares of the dense FLOPs.
SWEPT = tuple(place / 10 for place in range(1, 11))
RETRAINED = (0.1, 0.3, 0.5, 0.7, 0.9)
BUDGETS = (0.5,)
# Groups of the experiment whose rows need FLOPs, and the settings that differ between rows.
COMPARED = {
    "p_curve": ("model.p", "model.selection"),
    "blocks": ("model.p",),
    "schedule": ("training.p_warmup_epochs", "training.p_start", "training.p_shape"),
    "query": ("model.query",),
}
FIGURES = ("faces.png", "spectrograms.png", "spectrograms_loudest.png")


def measure_runs(out: Path) -> None:
    """FLOPs of every MESM that a table compares, at its own p; p-curves with latency; budgets."""
    plan = json.loads((out / PLAN).read_text())
    cells = sorted({cell for group in COMPARED for cell in plan["groups"][group]})
    for cell in cells:
        run = out / plan["cells"][cell]["folder"]
        p = plan["cells"][cell]["settings"]["model"]["p"]
        if not (run / "sweep.json").is_file():
            sweep(run, [p if isinstance(p, float) else 0.5], repeats=1)
    for seed in SEEDS:
        mesm, fe2e = _run(out, "mesm", seed), _run(out, "fe2e", seed)
        if not (mesm / "retrain.json").is_file():
            retrain(mesm, RETRAINED, fe2e, runs=[out / "runs"])
        if len(json.loads((mesm / "sweep.json").read_text())["points"]) < len(SWEPT):
            sweep(mesm, SWEPT, baseline=fe2e)
        if not (mesm / "budget.json").is_file():
            find_budget(mesm, BUDGETS, baseline=fe2e)


def make_tables(out: Path, prepared: Path) -> list[Table]:
    """All tables of the experiment, with the FLOPs that `measure_runs` wrote."""
    swept = [_run(out, "mesm", seed) for seed in SEEDS]
    # The dense runs beside MESM's name the sweep that measured FE2E's FLOPs.
    tables = [
        *splits_tables([prepared], synthetic=True),
        *results_tables(group_folders([out], "results"), synthetic=True),
        *ablation_tables(group_folders([out], "ablation"), synthetic=True),
        *sweep_tables(swept, synthetic=True),
    ]
    for group, by in COMPARED.items():
        tables += comparison_tables(group_folders([out], group), by, synthetic=True)
    return tables


def publish(out: Path, prepared: Path, results: Path) -> list[Path]:
    """Tables and figures into one folder; returns the files."""
    tables = make_tables(out, prepared)
    files = write_tables(tables, results)
    for table in tables:
        figure = draw_comparison(table) if table.name.startswith("runs_by") else None
        if figure is not None:
            files.append(save_png(figure, results / f"{table.name}.png"))
    first = _run(out, "mesm", SEEDS[0])
    for source in (first / "sweep.png", *(first / "explain" / name for name in FIGURES)):
        files.append(results / source.name)
        # 256 colours are enough for these pictures and a third of the bytes.
        with Image.open(source) as picture:
            few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(files[-1], optimize=True)
    return files


def _run(out: Path, system: str, seed: int) -> Path:
    return out / "runs" / f"miniature_{system}--seed-{seed}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.miniature_results",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder for corpus and runs; resumed if it exists")
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7, help="of the corpus and its split")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    raw, prepared = chosen.out / "raw", chosen.out / "prepared"
    experiment, results = chosen.out / "experiment", chosen.results
    truth = raw / "ground_truth.jsonl"
    stages = Stages(total=7)

    def always(name: str, work: Callable[[], Any]) -> None:
        stages.run(name, lambda: False, work)

    stages.run(
        f"generate {chosen.clips} clips",
        truth.is_file,
        lambda: generate(raw, clips=chosen.clips, seed=chosen.seed),
    )
    options = PrepareOptions(seed=chosen.seed, min_face_size=60)
    always("prepare the corpus", lambda: prepare("iemocap", raw, prepared, options))
    always(
        "hand-crafted features",
        lambda: make_features(PreparedCorpus.open(prepared), FeatureOptions(raw=raw)),
    )
    failures: dict[str, str] = {}
    always(
        "train the grid",
        lambda: failures.update(run_experiment("miniature", experiment, [f"corpus={prepared}"])),
    )
    if failures:
        raise SystemExit(f"{len(failures)} trainings failed: {', '.join(failures)}")
    always("FLOPs, latency, budgets", lambda: measure_runs(experiment))
    first = _run(experiment, "mesm", SEEDS[0])
    stages.run(
        "explain",
        (first / "explain" / "action_units.json").is_file,
        lambda: explain(first, ground_truth=truth),
    )
    always("tables and figures", lambda: publish(experiment, prepared, results))
    print(results)


if __name__ == "__main__":
    main()
