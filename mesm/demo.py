"""The whole experiment on a miniature corpus, with two commands' worth of waiting and one page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import load_config

CLIPS = 200
SEED = 0
# So few clips take more epochs than the configs, which are for a few hundred, ask for.
EPOCHS = ("training.epochs=28", "training.patience=28")
P_VALUES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class Stages:
    """Runs stages one after the other, skips those that are done, and says how long each took.

    Args:
        total: how many stages there will be.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.began = time.perf_counter()

    def run(self, name: str, is_done: Callable[[], bool], work: Callable[[], object]) -> None:
        """Do the work unless it is done already."""
        self.number += 1
        label = f"[{self.number}/{self.total}] {name}"
        if is_done():
            print(f"{label}: done already", flush=True)
            return
        print(f"{label} …", flush=True)
        start = time.perf_counter()
        work()
        now = time.perf_counter()
        print(f"{label}: {now - start:.0f} s, {now - self.began:.0f} s in all", flush=True)


def run_demo(
    out: Path,
    *,
    clips: int = CLIPS,
    seed: int = SEED,
    overrides: tuple[str, ...] = (),
    mtcnn: Path | None = None,
) -> Path:
    """Generate, prepare, train FE2E and MESM, evaluate, sweep, explain, report.

    Every stage that is done is skipped, and one that was interrupted goes on, so the same call
    after a kill finishes the work.

    Args:
        out: folder for everything; a demo's own, or not there yet.
        clips: utterances of the miniature corpus.
        seed: of the corpus and both trainings.
        overrides: changes to both training configs, such as "training.epochs=3".
        mtcnn: folder of the face detector's weights; None: those of the installed facenet-pytorch.

    Returns:
        The path of report.html, which is also the last line printed.

    Raises:
        ValueError: `out` holds something else, or a demo with other settings.
    """
    from mesm.analysis.explain import explain
    from mesm.analysis.sweep import sweep
    from mesm.corpora.miniature.generate import generate
    from mesm.corpora.prepare import PrepareOptions, prepare
    from mesm.report.page import write_report
    from mesm.runs.files import write_beside
    from mesm.training.loop import train

    settings = {"clips": clips, "seed": seed, "overrides": list(overrides)}
    _check_folder(out, settings)
    out.mkdir(parents=True, exist_ok=True)
    write_beside(out / "demo.json", json.dumps(settings, indent=2) + "\n")
    raw, prepared = out / "raw", out / "prepared"
    runs = {name: out / "runs" / name for name in ("fe2e", "mesm")}
    options = PrepareOptions(seed=seed, min_face_size=60, mtcnn=mtcnn)
    truth = raw / "ground_truth.jsonl"
    stages = Stages(total=9)

    stages.run(
        f"generate {clips} clips",
        truth.is_file,
        lambda: generate(raw, clips=clips, seed=seed, layout="iemocap"),
    )
    stages.run(
        "prepare the corpus",
        (prepared / "manifest.json").is_file,
        lambda: prepare("iemocap", raw, prepared, options),
    )
    for name, run in runs.items():
        config = _config(f"miniature_{name}", prepared, seed, (*EPOCHS, *overrides))
        stages.run(f"train {name.upper()}", lambda: False, partial(train, config, run))
    for name, run in runs.items():
        stages.run(
            f"evaluate {name.upper()}",
            (run / "evaluation.json").is_file,
            partial(_evaluate, run),
        )
    stages.run(
        "sweep over p",
        (runs["mesm"] / "sweep.json").is_file,
        lambda: sweep(runs["mesm"], P_VALUES, baseline=runs["fe2e"]),
    )
    stages.run(
        "explain",
        (runs["mesm"] / "explain" / "action_units.json").is_file,
        lambda: explain(runs["mesm"], ground_truth=truth),
    )
    report = out / "report.html"
    stages.run(
        "write the report",
        lambda: False,
        lambda: write_report(report, list(runs.values()), synthetic=True),
    )
    print(report.resolve(), flush=True)
    return report


def _evaluate(run: Path) -> None:
    from mesm.evaluation.evaluate import evaluate_run
    from mesm.plots.reliability import save_reliability

    save_reliability(run, evaluate_run(run, "test"))


def _config(name: str, prepared: Path, seed: int, overrides: tuple[str, ...]) -> ExperimentConfig:
    return load_config(name, [f"corpus={prepared}", f"training.seed={seed}", *overrides])


def _check_folder(out: Path, settings: dict[str, object]) -> None:
    """Refuse a folder that holds something other than this demo."""
    if not out.exists() or not any(out.iterdir()):
        return
    mark = out / "demo.json"
    if not mark.is_file():
        raise ValueError(f"{out}: holds files that no demo wrote; choose another folder")
    from mesm.runs.files import read_json

    found = read_json(mark, dict[str, object])
    if found != settings:
        raise ValueError(
            f"{out}: holds a demo with {found}, wanted {settings}; choose another folder"
        )
