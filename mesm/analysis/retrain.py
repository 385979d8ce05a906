"""The p-curve with one training per p, beside that of the one trained model (Figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mesm.analysis.costs import Stopwatch
from mesm.analysis.sweep import RETRAINED, check_p_values, measure, sweep
from mesm.config.end_to_end import MESMSettings
from mesm.config.experiment import ExperimentConfig
from mesm.config.files import load_config, parse_config
from mesm.data.corpus_folder import has_corpus
from mesm.evaluation.run import Run
from mesm.experiment.jobs import Job, Resources
from mesm.experiment.run import run_unfinished
from mesm.plots.p_curve import draw_p_curve
from mesm.plots.style import save_png
from mesm.runs.checkpoints import read_progress
from mesm.runs.environment import describe
from mesm.runs.files import locked, one_at_a_time
from mesm.runs.folder import RunFolder
from mesm.training.check import check_run, missing_start


@dataclass(frozen=True)
class _Trainings:
    """Where the model of each p is, or will be."""

    finished: dict[float, Path]
    jobs: dict[float, Job]

    def folder(self, p: float) -> Path:
        return self.jobs[p].folder.path if p in self.jobs else self.finished[p]


@one_at_a_time("retrain.json", "sweeping into")
def retrain(
    run: Path,
    p_values: Sequence[float],
    baseline: Path | None = None,
    split: str = "test",
    *,
    runs: Sequence[Path] = (),
    jobs: int | None = None,
    threads: int | None = None,
    batch_size: int = 8,
    repeats: int = 5,
    norm_clips: int = 0,
    corpus: Path | None = None,
) -> dict[str, Any]:
    """Train a MESM per p with a run's own settings, and measure each at its p; `sweep` as well.

    The trainings are RUN/retrain/p-0.3 and so on; stopped ones go on when called again. The run
    itself counts for its own p.

    Args:
        run: folder of a finished MESM run.
        p_values: each in (0, 1].
        baseline: folder of an FE2E run on the same corpus, or None.
        split: which split is scored.
        runs: run folders, or folders of such, where trainings may be that need not be done again:
            finished ones with exactly the run's settings but p.
        jobs: trainings at a time; None: one per GPU, else one per core.
        threads: of each training; see `mesm.experiment.jobs.Resources.of_machine`.
        batch_size: clips per batch, also in the latency.
        repeats: timed passes per p; the median counts.
        norm_clips: of the one training at several p, as of `sweep`.
        corpus: where the corpus of all runs lies; None: where each finds its own.

    Returns:
        The content of RUN/retrain.json; RUN/sweep.png shows both curves.

    Raises:
        ValueError: bad p, not a finished MESM run, a folder in `runs` that holds no run, or see
            `sweep`. Or trainings failed: the others are kept.
    """
    values = check_p_values(p_values)
    resources = Resources.of_machine(jobs, threads)
    plan = _plan(run, values, split, runs, corpus)
    for p, found in plan.finished.items():
        if p in values and p not in plan.jobs:
            print(f"p = {p:g}: {found} is trained already")
    if plan.jobs:
        (run / "retrain").mkdir(exist_ok=True)
        with locked(run / "retrain", "training in"):
            failures = run_unfinished(list(plan.jobs.values()), resources)
        if failures:
            name, message = next(iter(failures.items()))
            raise ValueError(
                f"{run}: {len(failures)} of {len(plan.jobs)} trainings failed; {name}: {message}"
            )
    swept = sweep(
        *(run, values, baseline, split),
        batch_size=batch_size,
        repeats=repeats,
        norm_clips=norm_clips,
        corpus=corpus,
    )
    models = {p: Run.open_sparse(plan.folder(p), p, corpus=corpus) for p in values}
    points = _measure_all(models, split, batch_size, repeats)
    for point in points:
        progress = read_progress(RunFolder(plan.folder(point["p"])))
        point["run"] = _shown(plan.folder(point["p"]), run)
        point["epochs"] = progress.epoch if progress else None
    result = {
        key: swept[key]
        for key in ("run", "corpus", "split", "clips", "trained_p", "seed", "metric")
    }
    result |= {"conventions": swept["conventions"] | {"points": "one training per p"}}
    result |= {"latency_setting": swept["latency_setting"] | {"threads": torch.get_num_threads()}}
    result |= {"points": points, "environment": describe()}
    RunFolder(run).write_json(run / RETRAINED, result)
    save_png(draw_p_curve(swept, result), run / "sweep.png")
    return result


def _plan(
    run: Path,
    values: Sequence[float],
    split: str,
    runs: Sequence[Path],
    corpus: Path | None,
) -> _Trainings:
    """Which models there are and which must be trained; refuses before anything is written."""
    opened = Run.open_sparse(run, corpus=corpus)
    config = opened.located
    identity = opened.corpus.content
    if _finished(run) is None:
        raise ValueError(f"{run}: not finished; the same mesm train goes on with it")
    wanted = {p: _at(config, p) for p in values}
    finished: dict[float, Path] = {}
    for candidate in [run, *_run_folders(runs)]:
        found = _finished(candidate)
        if found is not None and (candidate == run or has_corpus(RunFolder(candidate), identity)):
            found = found.model_copy(update={"corpus": config.corpus})
        for p in values:
            if found is not None and p not in finished and _same(found, wanted[p]):
                finished[p] = candidate
    jobs = {}
    for p in values:
        if p not in finished:
            folder = RunFolder(run / "retrain" / f"p-{p}")
            check_run(wanted[p], folder, identity)
            jobs[p] = Job(folder.path.name, wanted[p], folder, [split])
    missing = missing_start(config) if any(not job.done() for job in jobs.values()) else []
    if missing:
        raise ValueError(
            f"{run}: a training for another p starts from what is not there: {'; '.join(missing)}; "
            "put that where it was"
        )
    return _Trainings(finished, jobs)


def _at(config: ExperimentConfig, p: float) -> ExperimentConfig:
    values = config.model_dump(mode="json")
    values["model"]["p"] = p
    return parse_config(values, f"p = {p:g}")


def _same(found: ExperimentConfig, wanted: ExperimentConfig) -> bool:
    """Equal settings; the corpus may be named by another path to the same folder."""
    one, two = found.model_dump(mode="json"), wanted.model_dump(mode="json")
    corpora = {str(Path(values.pop("corpus")).resolve()) for values in (one, two)}
    return one == two and len(corpora) == 1


def _finished(path: Path) -> ExperimentConfig | None:
    """The settings of a finished MESM run; None: it is none."""
    folder = RunFolder(path)
    progress = read_progress(folder)
    if progress is None or not progress.finished or not folder.best.is_file():
        return None
    config = load_config(folder.config)
    return config if isinstance(config.model, MESMSettings) else None


def _run_folders(paths: Sequence[Path]) -> list[Path]:
    found = []
    for path in paths:
        if RunFolder(path).config.is_file():
            found.append(path)
            continue
        inside = sorted(path.iterdir()) if path.is_dir() else []
        inside = [child for child in inside if RunFolder(child).config.is_file()]
        if not inside:
            raise ValueError(f"--runs {path}: holds no run, as it has no config.yaml")
        found += inside
    return found


def _measure_all(
    models: dict[float, Run], split: str, batch_size: int, repeats: int
) -> list[dict[str, Any]]:
    points = []
    for p, model in tqdm(models.items(), desc="one model per p", unit="point"):
        points.append({"p": p} | measure(model, split, batch_size))
    # In turns, so that a busy moment of the machine falls on all alike.
    watches = {p: Stopwatch() for p in models}
    batches = {p: next(model.batches(split, batch_size)) for p, model in models.items()}
    for _ in tqdm(range(repeats), desc="latency", unit="round"):
        for p, model in models.items():
            watches[p].time(model.sparse, batches[p])
    for point in points:
        point["latency_ms_per_clip"] = watches[point["p"]].medians()
    return points


def _shown(folder: Path, run: Path) -> str:
    """A name that says where it is, without the machine's folders."""
    if folder == run:
        return run.name
    return str(folder.relative_to(run)) if folder.is_relative_to(run) else folder.name
