"""Part files, one per dialog: made by several processes, and kept, so that stopped work goes on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import dumps
from platform import node
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from mesm.corpora.utterances import SkippedClip
from mesm.runs.cluster import Cluster
from mesm.runs.nodes import NodeError
from mesm.runs.ordinary import naming
from mesm.runs.processes import DIED, end_with_parent, worker_pool
from mesm.runs.storage import Store

_SKIPPED_KEY = b"mesm.skipped"
# Clips are groups of their own, so that each is read alone; a file holds so many groups at most.
_MOST_GROUPS = 1024

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


# Places that all nodes of a cluster must see: where is written, and what is read.
Places = tuple[Path | Store, Sequence[Path | Store]]


class Carrier(Protocol):
    """Brings what lies elsewhere to the processes, and takes their parts away; sent to them."""

    def settle(self) -> None:
        """Make, on a cluster's node, the folder for what is under way there."""

    def places(self, out: Path, raw: Path) -> Places:
        """Give what nodes must see in place of an output and a raw corpus on this machine."""

    def inputs(self, dialog: Any) -> AbstractContextManager[Any]:
        """Give the dialog with all its files on this machine, for as long as they are read."""

    def take(self, part: Path) -> None:
        """Keep a finished part."""

    def leave(self, part: Path) -> None:
        """Delete the part here, on a cluster's node, if it is kept elsewhere."""

    def bring(self, part: Path) -> None:
        """Write a part that is kept into its place here."""


def make_all(
    dialogs: Sequence[D],
    folder: Path,
    opened: Opened[D],
    workers: int | None,
    description: str,
    cluster: Cluster | None = None,
    carrier: Carrier | None = None,
) -> list[Path]:
    """Make the part files that are missing, and delete those of other dialogs or contents.

    Args:
        dialogs: one part each.
        folder: of the parts; made if need be.
        opened: gives what makes them.
        workers: processes; None: one per core.
        description: of the progress bar.
        cluster: whose nodes do the work; None: this machine does.
        carrier: between here and where files and parts are kept; None: they lie here.

    Returns:
        All part files, in the dialogs' order.

    Raises:
        ChildProcessError: a process died while it had no dialog.
        ValueError: a node of the cluster does not see what this machine sees.
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
    if cluster is None:
        workers = min(workers or os.cpu_count() or 1, max(1, len(todo)))
        made = make_parts(todo, parts, opened, workers, carrier)
    else:
        made = make_on_nodes(todo, parts, opened, workers, carrier, cluster)
    done = total - sum(map(len, todo))
    with tqdm(total=total, initial=done, desc=description, unit="clip") as bar:
        for dialog, skipped in made:
            for clip in skipped:
                tqdm.write(clip.line(), file=sys.stderr)
            bar.update(len(dialog))
    return [parts[dialog.name] for dialog in dialogs]


def make_parts(
    todo: Sequence[D],
    parts: Mapping[str, Path],
    opened: Opened[D],
    workers: int,
    carrier: Carrier | None = None,
) -> Iterator[tuple[D, list[SkippedClip]]]:
    """Write the part file of every dialog.

    A dialog during which a process died, in this run or the one before, is tried once more, in a
    process of its own; if that one dies too, the dialog's clips are left out.

    Args:
        todo: the dialogs, in the order to begin them.
        parts: dialog to its file.
        opened: gives what makes them.
        workers: processes; with one, this process does the work.
        carrier: as in `make_all`.

    Yields:
        Each dialog as it is done, and its clips left out.

    Raises:
        ChildProcessError: a process died while it had no dialog.
    """
    left = list(todo)
    while left:
        suspects = [dialog for dialog in left if _begun(parts[dialog.name]).exists()]
        for dialog in suspects:
            yield dialog, _make_alone(dialog, parts[dialog.name], opened, carrier)
        left = [dialog for dialog in left if dialog not in suspects]
        if workers == 1:
            with opened() as extract:
                for dialog in left:
                    yield dialog, _make_part(dialog, parts[dialog.name], extract, carrier)
            return
        done = []
        try:
            for dialog, skipped in _make_side_by_side(left, parts, opened, workers, carrier):
                done.append(dialog)
                yield dialog, skipped
        except BrokenProcessPool as error:
            left = [dialog for dialog in left if dialog not in done]
            if not any(_begun(parts[dialog.name]).exists() for dialog in left):
                raise ChildProcessError(DIED) from error
        else:
            return


def make_on_nodes(
    todo: Sequence[D],
    parts: Mapping[str, Path],
    opened: Opened[D],
    workers: int | None,
    carrier: Carrier | None,
    cluster: Cluster,
) -> Iterator[tuple[D, list[SkippedClip]]]:
    """As `make_parts`, on a cluster's nodes; inside of `Cluster.sharing`.

    A dialog whose worker dies is tried as often as `mesm.runs.cluster` tries; then its clips are
    left out.

    Args:
        todo: the dialogs, in the order to begin them.
        parts: dialog to its file.
        opened: gives what makes them.
        workers: dialogs at a time; None: one per core of the cluster.
        carrier: as in `make_all`.
        cluster: the nodes.

    Yields:
        Each dialog once, as it is done, and its clips left out.
    """
    units = [_Unit(dialog, parts[dialog.name], opened, carrier) for dialog in todo]

    def give_up(unit: _Unit[D], why: str) -> list[SkippedClip]:
        tqdm.write(f"{unit.dialog.name}: {why}: its clips are left out", file=sys.stderr)
        return _leave_out(unit.dialog, unit.part, carrier)

    for unit, skipped in cluster.each(_make_there, units, give_up, at_once=workers):
        if carrier is not None and not unit.part.is_file():
            carrier.bring(unit.part)
        _begun(unit.part).unlink(missing_ok=True)
        yield unit.dialog, skipped


def _make_side_by_side(
    todo: Sequence[D],
    parts: Mapping[str, Path],
    opened: Opened[D],
    workers: int,
    carrier: Carrier | None,
) -> Iterator[tuple[D, list[SkippedClip]]]:
    with worker_pool(workers, _start_worker, opened, carrier) as pool:
        running = {pool.submit(_work, dialog, parts[dialog.name]): dialog for dialog in todo}
        for future in as_completed(running):
            yield running[future], future.result()


def _make_alone(
    dialog: D, part: Path, opened: Opened[D], carrier: Carrier | None
) -> list[SkippedClip]:
    try:
        ((_, skipped),) = _make_side_by_side([dialog], {dialog.name: part}, opened, 1, carrier)
    except BrokenProcessPool:
        skipped = _leave_out(dialog, part, carrier)
        _begun(part).unlink()
    return skipped


def _leave_out(dialog: Dialog, part: Path, carrier: Carrier | None) -> list[SkippedClip]:
    table, skipped = dialog.refused("a decoder crashed")
    write_part(part, table, skipped)
    if carrier is not None:
        carrier.take(part)
    return skipped


def _begun(part: Path) -> Path:
    """The file that is there while a process makes a part, and stays if the process dies."""
    return part.with_name(f"{part.name}.begun")


def write_part(path: Path, table: pa.Table, skipped: Sequence[SkippedClip], own: str = "") -> None:
    """Write a part file; it appears whole or not at all.

    Args:
        path: of the file.
        table: its rows.
        skipped: the clips left out.
        own: what tells this process's unfinished file from others'.
    """
    notes = json.dumps([clip.model_dump() for clip in skipped])
    beside = path.with_name(f"{path.name}{own}.tmp")
    noted = table.replace_schema_metadata({_SKIPPED_KEY: notes})
    with naming(path):
        pq.write_table(
            noted,
            beside,
            compression="none",
            # A dictionary of pictures and sound is tried in vain, and takes most of the time.
            use_dictionary=False,
            write_statistics=False,
            row_group_size=max(1, -(-table.num_rows // _MOST_GROUPS)),
        )
        beside.replace(path)


def read_part(path: Path) -> Part:
    """Read what `write_part` wrote."""
    table = pq.read_table(path, use_threads=False, partitioning=None)
    return table, read_skipped(table.schema)


def read_skipped(schema: pa.Schema) -> list[SkippedClip]:
    """Read the clips left out of a part from its schema."""
    notes = json.loads(schema.metadata[_SKIPPED_KEY])
    return [SkippedClip.model_validate(note) for note in notes]


# Opened when a worker process starts, and closed with it.
_worker = ExitStack()
_worker_extract: Callable[[Any], Part] | None = None
_worker_carrier: Carrier | None = None
# On a cluster's node: what was opened, by what opened it.
_worker_opened: dict[bytes, Callable[[Any], Part]] = {}


def _start_worker(opened: Opened[Any], carrier: Carrier | None) -> None:
    global _worker_extract, _worker_carrier
    end_with_parent()
    _worker_extract = _worker.enter_context(opened())
    _worker_carrier = carrier


def _work(dialog: Dialog, part: Path) -> list[SkippedClip]:
    if _worker_extract is None:
        raise RuntimeError("the worker process was not started by this module")
    return _make_part(dialog, part, _worker_extract, _worker_carrier)


@dataclass(frozen=True)
class _Unit(Generic[D]):
    """All that a node must be told to make one part."""

    dialog: D
    part: Path
    opened: Opened[D]
    carrier: Carrier | None


def _make_there(unit: _Unit[Any]) -> list[SkippedClip]:
    """Make a part on a cluster's node."""
    key = dumps(unit.opened)
    if key not in _worker_opened:
        _worker_opened[key] = _worker.enter_context(unit.opened())
    if unit.carrier is not None:
        unit.carrier.settle()
    unit.part.parent.mkdir(parents=True, exist_ok=True)  # of its own where parts are taken away
    extract = partial(_as_seen, unit.part.name, _worker_opened[key])
    # A worker that was given up, as its node's network was, may still be writing the same part.
    own = f".{os.urandom(4).hex()}"
    skipped = _make_part(unit.dialog, unit.part, extract, unit.carrier, own)
    if unit.carrier is not None:
        unit.carrier.leave(unit.part)
    return skipped


def _as_seen(name: str, extract: Callable[[Any], Part], dialog: Dialog) -> Part:
    """Extract a dialog, if its files are here as the command's machine sees them."""
    if dialog.part_name() != name:
        raise NodeError(
            f"node {node()} sees other files of {dialog.name} (by size or time) than this machine: "
            "put the corpus on a file system that all nodes share, and leave it alone"
        )
    return extract(dialog)


def _make_part(
    dialog: D,
    part: Path,
    extract: Callable[[D], Part],
    carrier: Carrier | None,
    own: str = "",
) -> list[SkippedClip]:
    _begun(part).touch()
    with nullcontext(dialog) if carrier is None else carrier.inputs(dialog) as brought:
        table, skipped = extract(brought)
    write_part(part, table, skipped, own)
    if carrier is not None:
        carrier.take(part)
    _begun(part).unlink(missing_ok=True)
    return skipped
