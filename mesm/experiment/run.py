"""`mesm experiment`: plan a grid, check all of it, run what is not done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from mesm.experiment.display import Display
from mesm.experiment.folds import pool_jobs
from mesm.experiment.grid import load_experiment
from mesm.experiment.jobs import Job, Resources, run_jobs
from mesm.experiment.plan import Cell, check_cells, choose, describe_plan, expand, fold_sets
from mesm.runs.cluster import Cluster
from mesm.runs.files import locked
from mesm.runs.folder import RunFolder
from mesm.runs.nodes import is_token

PLAN = "experiment.json"


def run_experiment(
    config: str | Path,
    out: Path,
    overrides: Sequence[str] = (),
    *,
    jobs: int | None = None,
    threads: int | None = None,
    only: str | None = None,
    dry_run: bool = False,
    cluster: Cluster | None = None,
) -> dict[str, str]:
    """Train and score every cell of an experiment file.

    The plan goes to OUT/experiment.json and each cell to OUT/runs/NAME; how far a cell is, its
    run folder alone tells. Folds that are all done are scored together, into OUT/folds.json. The
    same call skips what is done and goes on with what is not; a file with more seeds, values or
    groups adds to the same folder.

    Args:
        config: a YAML file, or the name of a shipped experiment.
        out: the experiment's folder.
        overrides: changes to all configs, such as "training.epochs=3".
        jobs: trainings at a time; None: one per GPU, else one per core.
        threads: of each; None: one, or with GPUs a share of the cores. On a CPU the last bits of
            the weights depend on it.
        only: run the cells whose name, or one of whose groups, matches this pattern.
        dry_run: show the cells and how far they are; write nothing.
        cluster: on whose nodes the cells are trained; None: on this machine.

    Returns:
        Name to what went wrong, of the cells that failed; RUN/error.txt has the traceback.

    Raises:
        ValueError: the file, a setting, a corpus or a run folder does not fit, every problem at
            once; or another process runs this experiment. Nothing is written.
    """
    experiment = load_experiment(config)
    cells = expand(experiment, overrides, out)
    chosen = choose(cells, only)
    resources = Resources.of_machine(jobs, threads)
    if cluster is not None:
        resources = Resources.of_cluster(cluster, jobs, threads)
    _check_folder(out)
    check_cells(chosen, out, experiment.splits)
    todo = [_job(cell, out, experiment.splits) for cell in chosen]
    if dry_run:
        for job, cell in zip(todo, chosen, strict=True):
            print(f"{job.name}  [{', '.join(cell.groups)}]  {job.state()}")
        print(f"{len(todo)} cells, {sum(job.done() for job in todo)} done; nothing was started")
        return {}
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "training in"):
        RunFolder(out).write_json(out / PLAN, describe_plan(experiment, cells))
        # Teachers come first.
        taught = [job for job, cell in zip(todo, chosen, strict=True) if cell.teacher]
        teachers = [job for job in todo if job not in taught]
        read = sorted({job.config.corpus for job in todo if not job.done()})
        with nullcontext() if cluster is None or not read else cluster.sharing(out, read):
            failures = run_unfinished(teachers, resources, cluster)
            failures |= run_unfinished(taught, resources, cluster)
        sets = {
            name: [_job(cell, out, experiment.splits) for cell in own]
            for name, own in fold_sets(cells).items()
        }
        pool_jobs(sets, out)
    print(f"{out}: {len(todo) - len(failures)} of {len(todo)} cells are done")
    strangers = {path.name for path in (out / "runs").iterdir()} - {cell.name for cell in cells}
    if strangers:
        print(f"{out}: {len(strangers)} run folders are not in the plan: {min(strangers)}, ...")
    return failures


def run_unfinished(
    jobs: Sequence[Job], resources: Resources, cluster: Cluster | None = None
) -> dict[str, str]:
    """Run the jobs that are not done, with a display; see `run_jobs`."""
    todo = [job for job in jobs if not job.done()]
    if not todo:
        return {}
    display = Display(
        total=len(jobs),
        finished=len(jobs) - len(todo),
        epochs=sum(job.config.training.epochs for job in todo),
        before=sum(job.epochs_done() for job in todo),
        jobs=min(resources.jobs, len(todo)),
    )
    try:
        return run_jobs(todo, resources, display, cluster)
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the last finished epochs", file=sys.stderr)
        raise
    finally:
        display.close()


def _job(cell: Cell, out: Path, splits: Sequence[str]) -> Job:
    return Job(cell.name, cell.config, RunFolder(cell.folder(out)), splits)


def _check_folder(out: Path) -> None:
    """Refuse a folder that is no experiment's."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out} is not a folder")
    if any(out.iterdir()) and not (out / PLAN).is_file():
        others = [
            path.name
            for path in out.iterdir()
            if path.name != f".{PLAN}.partial" and not is_token(path.name)
        ]
        if others:
            raise ValueError(f"{out}: holds {others[0]} but no {PLAN}; choose another folder")
