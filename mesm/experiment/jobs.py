"""Trainings as child processes, several at a time; none outlives its parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mesm.config.experiment import ExperimentConfig
from mesm.experiment.display import Display
from mesm.runs.checkpoints import read_progress
from mesm.runs.cluster import Cluster
from mesm.runs.documents import Evaluation
from mesm.runs.files import read_json, write_beside
from mesm.runs.folder import RunFolder
from mesm.runs.ordinary import ordinary

POLL_SECONDS = 0.1
# Variables of torchrun and accelerate, which would make a child process wait for others.
DISTRIBUTED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Job:
    """One run to be trained and scored.

    Args:
        name: shown in the display.
        config: the settings.
        folder: of the run.
        splits: that are scored once it is trained.
    """

    name: str
    config: ExperimentConfig
    folder: RunFolder
    splits: Sequence[str]

    def unscored(self) -> list[str]:
        """The splits for which evaluation.json has no scores of the run's present weights."""
        file = self.folder.evaluation
        try:
            # Somebody may have scored a run that was still training.
            if file.stat().st_mtime_ns < self.folder.best.stat().st_mtime_ns:
                return list(self.splits)
            scored = read_json(file, Evaluation) or {}
        except (OSError, ValueError):
            return list(self.splits)
        return [split for split in self.splits if split not in scored]

    def epochs_done(self) -> int:
        """Finished epochs.

        Raises:
            ValueError: the checkpoint's state cannot be read.
        """
        progress = read_progress(self.folder)
        return 0 if progress is None else progress.epoch

    def trained(self) -> bool:
        """Whether the training is over; told by its checkpoint alone."""
        progress = read_progress(self.folder)
        return progress is not None and bool(progress.finished) and self.folder.best.is_file()

    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.trained() and not self.unscored()

    def state(self) -> str:
        """In words: done, trained, epoch 3 of 16, failed or new."""
        if self.done():
            return "done"
        if self.trained():
            return "trained, not scored"
        if self.folder.error.is_file():
            return f"failed: {first_line(self.folder.error)}"
        epochs = self.epochs_done()
        return f"epoch {epochs} of {self.config.training.epochs}" if epochs else "new"


@dataclass(frozen=True)
class Resources:
    """The resources that the jobs share.

    Args:
        jobs: that run at a time.
        threads: of each.
        devices: what CUDA_VISIBLE_DEVICES may name, one per job in turns; empty: CPU.
    """

    jobs: int
    threads: int
    devices: Sequence[str] = ()

    @classmethod
    def of_machine(cls, jobs: int | None = None, threads: int | None = None) -> Resources:
        """One job per GPU; without one, a thread per job and a job per core.

        The sums inside PyTorch's training depend on the number of threads in their last bits, and
        so does what is learnt. With one thread it depends neither on `jobs` nor on the machine's
        cores, and two jobs of one thread take 0.57 of the time of one job of two after another
        (miniature configs, 2 cores).

        Args:
            jobs: trainings at a time; None: as above.
            threads: of each; None: one, or with GPUs an equal share of the cores.

        Raises:
            ValueError: fewer than one.
        """
        for option, value in (("--jobs", jobs), ("--threads", threads)):
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        devices = _visible_devices()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        cores = cores or 1
        jobs = jobs or len(devices) or max(1, cores // (threads or 1))
        return cls(jobs, threads or (max(1, cores // jobs) if devices else 1), devices)

    @classmethod
    def of_cluster(
        cls, cluster: Cluster, jobs: int | None = None, threads: int | None = None
    ) -> Resources:
        """As `of_machine`, of all nodes that are there now; Ray gives each job its GPU.

        Raises:
            ValueError: no node has so many cores, and a GPU if any has one.
        """
        nodes = cluster.nodes()
        able = [node for node in nodes if node.gpus] or nodes
        share = min((node.cores // node.gpus for node in able if node.gpus), default=1)
        threads = threads or max(1, share)
        # A job is on one node, so what several nodes have left makes no room for it.
        room = sum(min(node.cores // threads, node.gpus or node.cores) for node in able)
        if not room:
            most = max((node.cores for node in able), default=0)
            raise ValueError(
                f"--threads {threads}: no node of the cluster has so many cores"
                f"{' and a GPU' if able and able[0].gpus else ''}; the most are {most}"
            )
        return cls(jobs or room, threads)

    def environment(self, slot: int) -> dict[str, str]:
        """The environment of the job in a slot, from 0."""
        threads = str(self.threads)
        environment = {k: v for k, v in os.environ.items() if k not in DISTRIBUTED}
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment |= {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        return environment


def run_jobs(
    jobs: Sequence[Job], resources: Resources, display: Display, cluster: Cluster | None = None
) -> dict[str, str]:
    """Run the jobs, in their order, as many at a time as the resources have room for.

    A job that fails leaves its traceback in RUN/error.txt, and the others go on. An exception
    here, Ctrl-C too, ends all children; so does the death of this process.

    Args:
        jobs: none of them done.
        resources: what they share.
        display: told how far they are.
        cluster: on whose nodes they run, inside of `Cluster.sharing`; a job whose node dies goes on
            elsewhere with its last finished epoch. None: on this machine.

    Returns:
        Name to what went wrong, of those that failed.
    """
    if cluster is not None:
        return _run_on_nodes(jobs, resources, display, cluster)
    waiting = list(jobs)
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    failures: dict[str, str] = {}
    try:
        while waiting or running:
            for slot in range(resources.jobs):
                if waiting and slot not in running:
                    job = waiting.pop(0)
                    try:
                        running[slot] = job, _start(job, resources, slot)
                    except OSError as error:
                        failures[job.name] = str(error)
                        display.failed(job.name, str(error))
                    else:
                        display.started(
                            job.name, slot, job.folder, job.config.training.epochs, job.trained()
                        )
            time.sleep(POLL_SECONDS)
            for slot, (job, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[slot]
                _close(process)
                message = _failure(job, process.returncode)
                if message is None:
                    display.ended(job.name)
                else:
                    failures[job.name] = message
                    display.failed(job.name, message)
            display.refresh()
    finally:
        _end(running)
    return failures


def _run_on_nodes(
    jobs: Sequence[Job], resources: Resources, display: Display, cluster: Cluster
) -> dict[str, str]:
    slots: dict[str, int] = {}
    failures: dict[str, str] = {}

    def begun(unit: tuple[Job, Resources]) -> None:
        job = unit[0]
        slots[job.name] = min(set(range(resources.jobs)) - set(slots.values()))
        display.started(
            *(job.name, slots[job.name], job.folder, job.config.training.epochs, job.trained())
        )

    def put_back(unit: tuple[Job, Resources]) -> None:
        # Others may begin before it is begun anew.
        del slots[unit[0].name]
        display.put_back(unit[0].name)

    for (job, _), ended in cluster.each(
        _work_there,
        [(job, resources) for job in jobs],
        lambda unit, why: why,
        at_once=resources.jobs,
        cores=resources.threads,
        gpus=1 if cluster.gpus() else 0,
        begun=begun,
        put_back=put_back,
        tick=display.refresh,
    ):
        message = ended if isinstance(ended, str) else _failure(job, ended)
        del slots[job.name]
        if message is None:
            display.ended(job.name)
        else:
            failures[job.name] = message
            display.failed(job.name, message)
    return failures


def _work_there(unit: tuple[Job, Resources]) -> int | str:
    """Train and score in a child process, on a node; its status, or why there was none."""
    job, resources = unit
    if job.done():  # as where the node died whose answer was lost
        return 0
    try:
        process = _start(job, resources, 0)
    except OSError as error:
        return str(error)
    try:
        return process.wait()
    finally:
        _end({0: (job, process)})


def first_line(file: Path) -> str:
    """The first line of a text file, for the display."""
    try:
        text = ordinary(file).read_text(encoding="utf-8", errors="replace")
        return text.partition("\n")[0]
    except (OSError, ValueError) as error:
        return str(error)


def _start(job: Job, resources: Resources, slot: int) -> subprocess.Popen[bytes]:
    folder = job.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.error.unlink(missing_ok=True)
    order = {
        "config": job.config.model_dump(mode="json"),
        "run": str(folder.path),
        "splits": list(job.splits),
        "threads": resources.threads,
    }
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mesm.experiment.worker"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=resources.environment(slot),
            # Ctrl-C is for this process alone, which then ends the children and theirs.
            start_new_session=True,
        )
    assert process.stdin is not None
    # The pipe stays open: a child whose stdin ends knows that its parent is gone.
    with contextlib.suppress(BrokenPipeError):  # its end will be noticed as any other
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    return process


def _failure(job: Job, code: int) -> str | None:
    """Why a job that ended has failed; None: the job is done."""
    if code == 0 and job.done():
        return None
    if job.folder.error.is_file():
        return first_line(job.folder.error)
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": out of memory?" if name == "SIGKILL" else ""
        message = f"the process was ended by {name}{hint}"
    else:
        message = f"the process ended with status {code} and left no finished run"
    tail = job.folder.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
    write_beside(job.folder.error, "\n".join([message, "", *tail, ""]))
    return message


def _end(running: Mapping[int, tuple[Job, subprocess.Popen[bytes]]]) -> None:
    """End children with theirs; checkpoints withstand it at any moment."""
    for _, process in running.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for _, process in running.values():
        process.wait()
        _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


def _visible_devices() -> list[str]:
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in named.split(",") if name.strip()][:count]
