"""The commands that write, what each needs, and the state that an undisturbed one leaves."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.base import CLIPS, FACES, SHORT, TINY, Base
from tests.faults.process import fresh

GRID = "grid.yaml"
EXPERIMENT = f"""
corpus: prep
seeds: [0, 1]
overrides: {json.dumps(list(SHORT))}
grids:
  few:
    - configs: [miniature_lf_lstm]
"""


@dataclass(frozen=True)
class Job:
    """A command that writes.

    Args:
        arguments: after `mesm`.
        needs: folders of the base.
        goes_on: whether the same command takes it up where it was stopped, and says so.
    """

    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    goes_on: bool = False


JOBS = {
    "miniature": Job(("miniature", "out", "--clips", str(CLIPS))),
    "prepare": Job(("prepare", "iemocap", "iemocap", "out", *FACES), ("iemocap",), True),
    "prepare by two": Job(("prepare", "mosei", "mosei", "out", *FACES[:3], "2"), ("mosei",), True),
    "features": Job(
        ("features", "prep", "--raw", "iemocap", "--workers", "1", "--video-step", "0.2"),
        ("iemocap", "prep"),
        True,
    ),
    "train": Job(
        ("train", "miniature_mesm", "--run", "out", "corpus=prep", *TINY, "training.epochs=4"),
        ("prep",),
        True,
    ),
    "evaluate": Job(("evaluate", "run", "--fresh"), ("prep", "run")),
    "sweep": Job(("sweep", "run", "--p", "0.3,1.0"), ("prep", "run")),
    "explain": Job(("explain", "run"), ("prep", "run")),
    "report": Job(("report", "page.html", "run", "features_run"), ("prep", "run", "features_run")),
    "table": Job(
        ("table", "results", "run", "features_run", "--out", "tables"),
        ("prep", "run", "features_run"),
    ),
    "experiment": Job(
        ("experiment", GRID, "--out", "out", "--jobs", "2", "--threads", "1"), ("prep",), True
    ),
}

# Measured anew every time, or made of such figures.
_TIMED = re.compile(r"second|per_s|latency|_ms|environment|commit|speed|time|flops_per")
_UNCOMPARED = ("tensorboard", "log.txt", "sweep.png", "page.html")
_LEFT_OVER = re.compile(r"\.partial|\.tmp$|\.work|\.last\.(new|old)|\.staging")


@contextmanager
def job_sandbox(base: Base, job: Job) -> Iterator[Path]:
    """A folder with all that a job needs."""
    with base.sandbox(*job.needs) as folder:
        furnish(folder, job)
        yield folder


def furnish(folder: Path, job: Job) -> None:
    """Write the files of a job that are no corpora or runs."""
    if GRID in job.arguments:
        (folder / GRID).write_text(EXPERIMENT)


def state(folder: Path) -> dict[str, str]:
    """File to hash, without what is measured anew each time and without the folder's own path."""
    here = str(folder.resolve())
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if not file.is_file() or any(part in name for part in _UNCOMPARED[:1]):
            continue
        if file.name in _UNCOMPARED:
            found[name] = "there" if file.stat().st_size > 0 else "empty"
            continue
        data = file.read_bytes()
        if file.suffix in (".json", ".jsonl"):
            lines = data.decode().splitlines() if file.suffix == ".jsonl" else [data.decode()]
            values = [_timeless(json.loads(line)) for line in lines]
            if file.name == "corpus.json":
                del values[0]["digest"]  # which is of the folder's own path, too
            data = json.dumps(values).encode()
        if file.suffix in (".json", ".jsonl", ".yaml", ".md", ".tex"):
            data = data.replace(here.encode(), b"HERE")
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(v) for key, v in value.items() if not _TIMED.search(key)}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def difference(wanted: dict[str, str], found: dict[str, str]) -> str | None:
    """How a state differs from the wanted one, or None."""
    missing = sorted(wanted.keys() - found.keys())
    more = sorted(found.keys() - wanted.keys())
    other = sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name])
    left = [name for name in more if _LEFT_OVER.search(name)]
    if left:
        return f"left over: {', '.join(left[:3])}"
    parts = [("missing", missing), ("more", more), ("other", other)]
    said = [f"{what}: {', '.join(names[:4])}" for what, names in parts if names]
    return "; ".join(said) or None


def undisturbed(base: Base, name: str, job: Job | None = None) -> tuple[float, dict[str, str]]:
    """Seconds that a job takes and the state that it leaves; found once and kept in the base."""
    kept = base.folder / "undisturbed" / f"{name}.json"
    kept.parent.mkdir(exist_ok=True)
    with (kept.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            job = job or JOBS[name]
            with job_sandbox(base, job) as folder:
                began = time.monotonic()
                result = fresh(job.arguments, folder)
                seconds = time.monotonic() - began
                if result.code != 0:
                    raise RuntimeError(f"{result.line} ended with {result.code}: {result.err}")
                kept.write_text(json.dumps([seconds, state(folder)]))
        seconds, found = json.loads(kept.read_text())
        return seconds, found
