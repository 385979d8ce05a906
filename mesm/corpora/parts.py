"""The processes that turn dialogs into part files."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path

import torch

from mesm.corpora.extraction import Dialog, extract, write_part
from mesm.corpora.utterances import SkippedClip
from mesm.inputs.face_detector import FaceDetector


def make_parts(
    todo: Sequence[Dialog], parts: Mapping[str, Path], min_face_size: int, workers: int
) -> Iterator[tuple[Dialog, list[SkippedClip]]]:
    """Write the part file of every dialog.

    Args:
        todo: the dialogs, in the order to begin them.
        parts: dialog to its file.
        min_face_size: side in pixels of the smallest face looked for.
        workers: processes; with one, this process does the work.

    Yields:
        Each dialog as it is done, and its clips left out.

    Raises:
        RuntimeError: a process died.
    """
    if workers == 1:
        threads = torch.get_num_threads()
        # As in the worker processes: results then do not depend on how many there are.
        torch.set_num_threads(1)
        try:
            detector = FaceDetector(min_face_size)
            for dialog in todo:
                yield dialog, _make_part(dialog, parts[dialog.name], detector)
        finally:
            torch.set_num_threads(threads)
        return
    # Forking after torch has started its threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (min_face_size,)) as pool:
        running = {pool.submit(_work, dialog, parts[dialog.name]): dialog for dialog in todo}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died: out of memory, or a decoder crashed; run again to go on, "
                "with fewer workers if it was memory"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker_detector: FaceDetector | None = None


def _start_worker(min_face_size: int) -> None:
    global _worker_detector
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker_detector = FaceDetector(min_face_size)


def end_with_parent() -> None:
    """End this process when its parent is gone: a killed run must leave nobody writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(dialog: Dialog, part: Path) -> list[SkippedClip]:
    if _worker_detector is None:
        raise RuntimeError("the worker process was not started by this module")
    return _make_part(dialog, part, _worker_detector)


def _make_part(dialog: Dialog, part: Path, detector: FaceDetector) -> list[SkippedClip]:
    table, skipped = extract(dialog, detector)
    write_part(part, table, skipped)
    return skipped
