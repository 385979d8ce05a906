"""The costs of units and of what stands around them, measured by the code that prepares corpora."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from mesm.corpora.assembly import Shard, Written, assemble, collect
from mesm.corpora.extraction import Dialog, extractor
from mesm.corpora.miniature.emotions import Layout
from mesm.corpora.parts import Dialog as PartOf
from mesm.corpora.parts import Opened, Part, make_parts, read_part, write_part
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.registry import find_corpus, reader_of
from mesm.corpora.splits import random_split
from mesm.features.extraction import DialogSources
from mesm.features.extraction import extractor as feature_extractor
from mesm.features.sources import find_inputs, find_sources
from mesm.runs.processes import end_with_parent, worker_pool

FACE = 20  # pixels; the default of `mesm prepare`
EMPTY_UNITS = 2000
# Copies of the corpus that are assembled, so that there is more to time; a file holds 512 clips.
MOST_ASSEMBLED = 400


@dataclass(frozen=True)
class Measured:
    """One dialog's costs.

    Attributes:
        clips: how many it has.
        seconds: of clips.
        recorded: seconds of the recording.
        cpu_s: processor time.
        read: bytes of its sound and video.
        write: bytes of its part file.
    """

    clips: int
    seconds: float
    recorded: float
    cpu_s: float
    read: int
    write: int


def dialogs_of(layout: Layout, raw: Path) -> list[Dialog]:
    """The units of `mesm prepare`."""
    found = reader_of(layout, {})(raw)
    groups = groupby(found.utterances, key=lambda u: (u.dialog, u.media))
    return [Dialog(name, found.root, tuple(group), FACE) for (name, _), group in groups]


def measure_units(
    layout: Layout, raw: Path, folder: Path, most: int | None = None
) -> list[Measured]:
    """Make every unit's part once, in this process, and take the processor time of each.

    Args:
        layout: of the corpus.
        raw: the corpus.
        folder: for the parts; emptied first.
        most: how many units; None: all.

    Raises:
        ValueError: a clip cannot be used.
    """
    dialogs = dialogs_of(layout, raw)[:most]
    return [
        Measured(
            len(dialog),
            sum(u.end - u.start for u in dialog.utterances),
            max(u.end for u in dialog.utterances),
            spent,
            _bytes(dialog.utterances[0].media),
            written,
        )
        for dialog, spent, written in _each_made(dialogs, folder, partial(extractor, FACE, "cpu"))
    ]


D = TypeVar("D", bound=PartOf)


def _each_made(
    dialogs: Sequence[D], folder: Path, opened: Opened[D]
) -> Iterator[tuple[D, float, int]]:
    """Make parts in this process; gives each dialog, its processor time and its part's bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts = {dialog.name: folder / dialog.part_name() for dialog in dialogs}
    before = time.process_time()
    for dialog, skipped in make_parts(dialogs, parts, opened, 1):
        spent = time.process_time() - before
        if skipped:
            raise ValueError(f"{folder}: a clip with faults: {skipped[0].line()}")
        yield dialog, spent, parts[dialog.name].stat().st_size
        before = time.process_time()


def _bytes(media: Iterable[Path | None]) -> int:
    return sum(file.stat().st_size for file in {*media} if file is not None)


def units_side_by_side(
    layout: Layout, raw: Path, folder: Path, together: int, repeats: int = 3
) -> list[Measured]:
    """Measure all units in so many processes at once, each of which makes all of them.

    Returns:
        The units with the least of their processor times over processes and repeats: others on the
        machine only add to it.
    """
    every: list[list[Measured]] = []
    for _ in range(repeats):
        with worker_pool(together, end_with_parent) as pool:
            places = [folder / str(number) for number in range(together)]
            # The first unit of a process loads what the others find loaded: made and thrown away.
            warm = [pool.submit(measure_units, layout, raw, place, 1) for place in places]
            for future in warm:
                future.result()
            timed = [pool.submit(measure_units, layout, raw, place) for place in places]
            every += [future.result() for future in timed]
    return [
        replace(same[0], cpu_s=min(one.cpu_s for one in same)) for same in zip(*every, strict=True)
    ]


@contextmanager
def nothing() -> Iterator[Callable[[Any], Part]]:
    """Open what a worker of `mesm prepare` opens, and give what makes an empty part at once."""
    with extractor(FACE, "cpu"):
        yield lambda dialog: dialog.refused("empty")


def _empty(
    dialogs: Sequence[Dialog], count: int, folder: Path, workers: int, repeats: int
) -> dict[str, float]:
    """Make so many empty parts several times; of each number the least is returned."""
    made = [replace(dialogs[i % len(dialogs)], name=f"empty{i}") for i in range(count)]
    parts = {dialog.name: folder / f"{dialog.name}.parquet" for dialog in made}
    rows = []
    for _ in range(repeats):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        head, children, first = time.process_time(), children_cpu(), 0.0
        for _ in make_parts(made, parts, nothing, workers):
            # The clock runs from the first unit on, when a worker has started.
            first = first or time.perf_counter()
        rows.append(
            {
                "wall_s": time.perf_counter() - first,
                "head_cpu_s": time.process_time() - head,
                "workers_cpu_s": children_cpu() - children,
            }
        )
    return {name: min(row[name] for row in rows) for name in rows[0]}


def measure_start(
    layout: Layout, raw: Path, folder: Path, workers: int, repeats: int = 3
) -> dict[str, float]:
    """Start so many workers, at least two, at once.

    Returns:
        start_cpu_s of each worker, and head_cpu_s of the command for all of them.
    """
    found = _empty(dialogs_of(layout, raw), workers, folder, workers, repeats)
    return {
        "start_cpu_s": found["workers_cpu_s"] / workers,
        "head_cpu_s": found["head_cpu_s"],
    }


def measure_pool(
    layout: Layout, raw: Path, folder: Path, empty_units: int = EMPTY_UNITS, repeats: int = 3
) -> dict[str, float]:
    """Two workers' start, and the cost of units without work, through the pool of `mesm prepare`.

    Returns:
        start_cpu_s of a worker, head_cpu_s per unit handed out, worker_cpu_s per empty unit, and
        units per second of the clock.
    """
    dialogs = dialogs_of(layout, raw)
    few = _empty(dialogs, 2, folder, 2, repeats)
    many = _empty(dialogs, empty_units, folder, 2, repeats)
    more = empty_units - 2
    return {
        "start_cpu_s": few["workers_cpu_s"] / 2,
        "head_cpu_s": (many["head_cpu_s"] - few["head_cpu_s"]) / more,
        "worker_cpu_s": (many["workers_cpu_s"] - few["workers_cpu_s"]) / more,
        "units_per_second": empty_units / many["wall_s"],
    }


def measure_listing(layout: Layout, raw: Path, repeats: int = 5) -> float:
    """Processor seconds of the head per unit, before the first: reading lists, naming parts."""
    spent = []
    for _ in range(repeats):
        before = time.process_time()
        dialogs = dialogs_of(layout, raw)
        for dialog in dialogs:
            # Once for the manifest, once for the parts.
            dialog.part_name()
            dialog.part_name()
        spent.append((time.process_time() - before) / len(dialogs))
    return min(spent)


class _Timed:
    """Has files written in this process, and counts its processor time in `cpu_s`."""

    cpu_s = 0.0

    def __call__(
        self, work: Callable[[Shard], Written], shards: Sequence[Shard]
    ) -> Iterator[tuple[Shard, Written]]:
        for shard in shards:
            before = time.process_time()
            written = work(shard)
            self.cpu_s += time.process_time() - before
            yield shard, written


def measure_assembly(
    layout: Layout,
    folder: Path,
    most: int = MOST_ASSEMBLED,
    times_longer: int = 1,
    repeats: int = 5,
) -> dict[str, float]:
    """Processor seconds of the final assembly, of parts that `measure_units` left in a folder.

    Args:
        layout: of the corpus.
        folder: of the parts.
        most: clips; the parts are assembled over and over up to this number.
        times_longer: clips are made so many times longer, by their own faces and sound over again.
        repeats: the least of each step counts, as others on the machine only add to it.

    Returns:
        clips, seconds of clips, and bytes assembled; head_cpu_s of the command's own process, which
        reads names, splits, and adds up figures; files_cpu_s of whoever writes the files.
    """
    parts = sorted(folder.glob("*.parquet"))
    out, longer = folder / "assembled", folder / "longer"
    longer.mkdir(exist_ok=True)
    if times_longer > 1:
        parts = [_lengthened(part, longer / part.name, times_longer) for part in parts]
    once = sum(len(names) for _, names in collect(parts)[0])
    several = parts * max(1, most // once)
    emotions = find_corpus(layout).emotions
    rows = []
    for _ in range(repeats):
        out.mkdir()
        before, timed = time.process_time(), _Timed()
        names, _ = collect(several)
        splits = random_split([clip for _, clips in names for clip in clips], seed=0)
        made, figures = assemble(names, splits, emotions, out, lambda _: None, timed)
        for taken in (figures.counts, figures.averages, figures.faces, figures.mean_and_std):
            taken()
        spent = time.process_time() - before
        rows.append(
            {
                "clips": float(figures.clips),
                "seconds": times_longer * float(figures.seconds[-1]),
                "bytes": float(sum(file.stat().st_size for file in made)),
                "head_cpu_s": spent - timed.cpu_s,
                "files_cpu_s": timed.cpu_s,
            }
        )
        shutil.rmtree(out)
    shutil.rmtree(longer)
    return {name: min(row[name] for row in rows) for name in rows[0]}


def _lengthened(part: Path, out: Path, times: int) -> Path:
    """Write a part whose clips have all that grows with their length so many times."""
    table, skipped = read_part(part)
    rows = table.to_pylist()
    for row in rows:
        for name in ("faces", "face_found", "face_boxes", "face_times", "spectrogram"):
            row[name] = row[name] * times
        row["spectrogram_columns"] *= times
    write_part(out, pa.Table.from_pylist(rows, schema=table.schema), skipped)
    return out


def measure_features(prepared: Path, raw: Path, folder: Path) -> list[Measured]:
    """Make every unit of `mesm features` in this process, and take the processor time of each."""
    inputs = find_inputs(raw, None, None, None)
    root, clips, _ = find_sources(PreparedCorpus.open(prepared), inputs)
    dialogs = [
        DialogSources(name, root, tuple(group), phonet=False, video_step=0.0)
        for name, group in groupby(clips, key=lambda clip: clip.dialog)
    ]
    for _ in _each_made(dialogs, folder, feature_extractor):
        pass  # the first time loads what is found loaded the second
    return [
        Measured(
            len(dialog),
            sum(clip.end - clip.start for clip in dialog.clips),
            max(clip.end for clip in dialog.clips),
            spent,
            _bytes(clip.audio for clip in dialog.clips),
            written,
        )
        for dialog, spent, written in _each_made(dialogs, folder, feature_extractor)
    ]


def children_cpu() -> float:
    """Processor seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def children_of(process: int) -> list[int]:
    """The child processes that a process has just now."""
    try:
        return [*map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]
    except OSError:
        return []


def cpu_of(process: int) -> float | None:
    """Processor seconds of a process without its children; None: it is gone."""
    try:
        # The name before may hold spaces and brackets.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu() -> float:
    """Processor seconds of everybody on this machine since it started, the hypervisor's too.

    Time that the hypervisor gave to others is as lost to us as that of other processes.
    """
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")
