"""Generates the corpus: plans it, writes its recordings in parallel, and the ground truth last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from mesm.corpora.miniature import ground_truth
from mesm.corpora.miniature.emotions import LAYOUTS, RECITED, VARIANTS, Layout, Variant
from mesm.corpora.miniature.faults import truncate
from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.media import VIDEOS, VideoFormat
from mesm.corpora.miniature.openface_files import FOLDER as OPENFACE
from mesm.corpora.miniature.openface_files import write_openface
from mesm.corpora.miniature.plan import DialogPlan, Planner
from mesm.corpora.miniature.recording import stage
from mesm.corpora.miniature.word_vectors import write_word_vectors
from mesm.runs.files import owned
from mesm.runs.processes import end_with_parent, worker_pool


def generate(
    out: Path,
    *,
    clips: int,
    seed: int,
    layout: Layout = "iemocap",
    variant: Variant = "hints",
    faults: bool = False,
    video: VideoFormat | None = None,
    workers: int | None = None,
) -> None:
    """Write raw data in the on-disk layout of IEMOCAP, CMU-MOSEI, MELD, RAVDESS or CREMA-D.

    Beside them lie ground_truth.jsonl, one line per clip (see `ground_truth.clip_truth`), and for
    the hand-crafted features OpenFace/<clip id>.csv and glove.txt.gz, both synthetic. The same
    arguments give the same files, whatever the number of workers. Nothing appears at `out` before
    everything is written.

    Args:
        out: the folder to make; must not exist or be empty.
        clips: how many good clips, at least 1.
        seed: at least 0.
        layout: "iemocap", "mosei", "meld", "ravdess" or "crema_d"; for the last two, in which
            actors recite, at most 2,400 and 7,400 clips.
        variant: "hints", where each modality hints at the emotion, or "where", where the face shows
            two and the text says which half of it is true; see `plan`. "where" needs a layout
            whose sentences are free: not "ravdess" or "crema_d".
        faults: add a few more clips with the defects of real corpora (see `faults.FAULTS` and
            those of the other layouts).
        video: size, rate and codec of the videos; None: the layout's of `VIDEOS`, which are small.
        workers: processes; by default one per core this process may use.

    Raises:
        ValueError: an argument is out of range, or `out` is not empty.
    """
    out = Path(out)
    _check(out, clips, seed, layout, variant, workers)
    planner = Planner(layout, seed, variant)
    plans = FILES[layout].plan(planner, clips, faults)
    partial = out.parent / f".{out.name}.partial"
    with owned(partial, f"making {out.name} in"):
        _empty(partial)  # an interrupted run may have left files
        try:
            _write(partial, plans, seed, layout, variant, video, workers)
            _check_folder(out)
            partial.replace(out)
        finally:
            if partial.exists():
                _empty(partial)
                partial.rmdir()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _check(
    out: Path, clips: int, seed: int, layout: str, variant: str, workers: int | None
) -> None:
    for name, value, known in (("layout", layout, LAYOUTS), ("variant", variant, VARIANTS)):
        if value not in known:
            raise ValueError(f"miniature: {name} must be one of {', '.join(known)}, got {value!r}")
    if variant == "where" and layout in RECITED:
        raise ValueError(
            f"miniature: variant where does not fit layout {layout}, whose speakers recite given "
            f"sentences; use one of {', '.join(name for name in LAYOUTS if name not in RECITED)}"
        )
    if clips < 1:
        raise ValueError(f"miniature: clips must be at least 1, got {clips}")
    most = FILES[cast(Layout, layout)].most_clips
    if most is not None and clips > most:
        raise ValueError(f"miniature: {layout} has takes for {most} clips at most, got {clips}")
    if seed < 0:
        raise ValueError(f"miniature: seed must be at least 0, got {seed}")
    if workers is not None and workers < 1:
        raise ValueError(f"miniature: workers must be at least 1, got {workers}")
    _check_folder(out)


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"miniature: {out} is a file; name a folder that does not exist yet")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"miniature: {out} is not empty; remove it or name another folder")


@dataclass(frozen=True)
class _Task:
    root: Path
    plan: DialogPlan
    seed: int
    layout: Layout
    video: VideoFormat | None = None


def _write(
    root: Path,
    plans: list[DialogPlan],
    seed: int,
    layout: Layout,
    variant: Variant,
    video: VideoFormat | None,
    workers: int | None,
) -> None:
    files = FILES[layout]
    if files.prepare_tree is not None:
        files.prepare_tree(root)
    (root / OPENFACE).mkdir()
    tasks = [_Task(root, plan, seed, layout, video) for plan in plans]
    workers = min(workers or len(os.sched_getaffinity(0)), len(tasks))
    truths: list[list[dict[str, Any]]] = []
    with (
        _results(tasks, workers) as results,
        tqdm(total=sum(len(p.clips) for p in plans), desc="miniature corpus", unit="clip") as bar,
    ):
        for truth in results:
            truths.append(truth)
            bar.update(len(truth))
    if files.write_labels is not None:
        files.write_labels(root, plans, seed)
    write_word_vectors(root, seed, variant, layout, files.texts)
    with (root / ground_truth.FILE_NAME).open("w", encoding="utf-8") as file:
        for truth in truths:
            file.writelines(json.dumps(line) + "\n" for line in truth)


@contextmanager
def _results(tasks: list[_Task], workers: int) -> Iterator[Iterator[list[dict[str, Any]]]]:
    """Every recording's ground truth, in order; here when one worker is enough."""
    if workers == 1:
        yield map(_record, tasks)
        return
    with worker_pool(workers, end_with_parent) as pool:
        yield pool.map(_record, tasks)


def _record(task: _Task) -> list[dict[str, Any]]:
    plan, video = task.plan, task.video or VIDEOS[task.layout]
    # Everybody is in the picture, though a layout may film one person only as a rule.
    video = replace(video, panels=len(plan.speakers))
    recording = stage(plan, task.seed, video)
    path = FILES[task.layout].write(task.root, plan, recording, task.seed, video)
    if plan.truncated:
        truncate(path)
    write_openface(task.root, plan, recording, task.seed, video)
    return [ground_truth.clip_truth(clip, recording, video) for clip in plan.clips]
