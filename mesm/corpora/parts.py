"""Part files, one per dialog: made by several processes, and kept, so that stopped work goes on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from mesm.corpora.utterances import SkippedClip
from mesm.runs.ordinary import naming
from mesm.runs.processes import end_with_parent, worker_pool

_SKIPPED_KEY = b"mesm.skipped"

# Rows of a part file, and the clips that were left out of it.
Part = tuple[pa.Table, list[SkippedClip]]


class Dialog(Protocol):
    """The clips of one part file; sent to other processes."""

    @property
    def name(self) -> str:
        """Unique in the corpus."""

    def __len__(self) -> int:
        """How many clips it has."""

    def part_name(self) -> str:
        """Name the part file; the name changes with all that its content depends on."""

    def refused(self, reason: str) -> Part:
        """Give the part in which all of its clips are left out."""


D = TypeVar("D", bound=Dialog)
# Opened once in every process; gives what makes a part of a dialog. Sent to other processes.
Opened = Callable[[], AbstractContextManager[Callable[[D], Part]]]


def make_all(
    dialogs: Sequence[D], folder: Path, opened: Opened[D], workers: int | None, description: str
) -> list[Path]:
    """Make the part files that are missing, and delete those of other dialogs or contents.

    Args:
        dialogs: one part each.
        folder: of the parts; made if need be.
        opened: gives what makes them.
        workers: processes; None: one per core.
        description: of the progress bar.

    Returns:
        All part files, in the dialogs' order.

    Raises:
        ChildProcessError: a process died while it had no dialog.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = {dialog.name: folder / dialog.part_name() for dialog in dialogs}
    kept = {*parts.values(), *map(_begun, parts.values())}
    for path in folder.iterdir():
        if path not in kept:
            path.unlink()
    todo = [dialog for dialog in dialogs if not parts[dialog.name].is_file()]
    total = sum(map(len, dialogs))
    # The longest first, so that no process is left alone with one at the end.
    todo.sort(key=lambda dialog: (-len(dialog), dialog.name))
    workers = min(workers or os.cpu_count() or 1, max(1, len(todo)))
    done = total - sum(map(len, todo))
    with tqdm(total=total, initial=done, desc=description, unit="clip") as bar:
        for dialog, skipped in make_parts(todo, parts, opened, workers):
            for clip in skipped:
                tqdm.write(clip.line(), file=sys.stderr)
            bar.update(len(dialog))
    return [parts[dialog.name] for dialog in dialogs]


def make_parts(
    todo: Sequence[D], parts: Mapping[str, Path], opened: Opened[D], workers: int
) -> Iterator[tuple[D, list[SkippedClip]]]:
    """Write the part file of every dialog.

    A dialog during which a process died, in this run or the one before, is tried once more, in a
    process of its own; if that one dies too, the dialog's clips are left out.

    Args:
        todo: the dialogs, in the order to begin them.
        parts: dialog to its file.
        opened: gives what makes them.
        workers: processes; with one, this process does the work.

    Yields:
        Each dialog as it is done, and its clips left out.

    Raises:
        ChildProcessError: a process died while it had no dialog.
    """
    left = list(todo)
    while left:
        suspects = [dialog for dialog in left if _begun(parts[dialog.name]).exists()]
        for dialog in suspects:
            yield dialog, _make_alone(dialog, parts[dialog.name], opened)
        left = [dialog for dialog in left if dialog not in suspects]
        if workers == 1:
            with opened() as extract:
                for dialog in left:
                    yield dialog, _make_part(dialog, parts[dialog.name], extract)
            return
        done = []
        try:
            for dialog, skipped in _make_side_by_side(left, parts, opened, workers):
                done.append(dialog)
                yield dialog, skipped
        except BrokenProcessPool as error:
            left = [dialog for dialog in left if dialog not in done]
            if not any(_begun(parts[dialog.name]).exists() for dialog in left):
                raise ChildProcessError(
                    "a worker process died, for instance for want of memory; run again to go on, "
                    "with fewer --workers if it was memory"
                ) from error
        else:
            return


def _make_side_by_side(
    todo: Sequence[D], parts: Mapping[str, Path], opened: Opened[D], workers: int
) -> Iterator[tuple[D, list[SkippedClip]]]:
    with worker_pool(workers, _start_worker, opened) as pool:
        running = {pool.submit(_work, dialog, parts[dialog.name]): dialog for dialog in todo}
        for future in as_completed(running):
            yield running[future], future.result()


def _make_alone(dialog: D, part: Path, opened: Opened[D]) -> list[SkippedClip]:
    try:
        ((_, skipped),) = _make_side_by_side([dialog], {dialog.name: part}, opened, 1)
    except BrokenProcessPool:
        table, skipped = dialog.refused("a decoder crashed")
        write_part(part, table, skipped)
        _begun(part).unlink()
    return skipped


def _begun(part: Path) -> Path:
    """The file that is there while a process makes a part, and stays if the process dies."""
    return part.with_name(f"{part.name}.begun")


def write_part(path: Path, table: pa.Table, skipped: Sequence[SkippedClip]) -> None:
    """Write a part file; it appears whole or not at all."""
    notes = json.dumps([clip.model_dump() for clip in skipped])
    beside = path.with_name(path.name + ".tmp")
    noted = table.replace_schema_metadata({_SKIPPED_KEY: notes})
    with naming(path):
        pq.write_table(noted, beside, compression="none")
        beside.replace(path)


def read_part(path: Path) -> Part:
    """Read what `write_part` wrote."""
    table = pq.read_table(path, use_threads=False, partitioning=None)
    notes = json.loads(table.schema.metadata[_SKIPPED_KEY])
    return table, [SkippedClip.model_validate(note) for note in notes]


# Opened when a worker process starts, and closed with it.
_worker = ExitStack()
_worker_extract: Callable[[Any], Part] | None = None


def _start_worker(opened: Opened[Any]) -> None:
    global _worker_extract
    end_with_parent()
    _worker_extract = _worker.enter_context(opened())


def _work(dialog: Dialog, part: Path) -> list[SkippedClip]:
    if _worker_extract is None:
        raise RuntimeError("the worker process was not started by this module")
    return _make_part(dialog, part, _worker_extract)


def _make_part(dialog: D, part: Path, extract: Callable[[D], Part]) -> list[SkippedClip]:
    _begun(part).touch()
    table, skipped = extract(dialog)
    write_part(part, table, skipped)
    _begun(part).unlink()
    return skipped
