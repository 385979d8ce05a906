"""The dialogs' part files to the final Parquet files, each of which any process can write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mesm.corpora.figures import Facts, Figures, fact_type, facts_of
from mesm.corpora.parts import read_skipped
from mesm.corpora.prepared import SCHEMA
from mesm.corpora.splits import SPLITS
from mesm.corpora.utterances import SkippedClip
from mesm.runs.hashes import sha256
from mesm.runs.ordinary import naming

CLIPS_PER_FILE = 512
# Small groups, so that one clip can be read without its whole file.
CLIPS_PER_GROUP = 8
# Numbers and images hardly compress; text does.
COMPRESSED = ("clip_id", "text", "speaker", "dialog")


@dataclass(frozen=True)
class Shard:
    """One file of a prepared corpus, not yet written; sent to other processes.

    Attributes:
        file: to write; its folder exists.
        rows: in their order, as parts and the rows wanted of each.
        emotions: how many labels a clip has.
        train: whether its clips train.
    """

    file: Path
    rows: tuple[tuple[Path, tuple[int, ...]], ...]
    emotions: int
    train: bool


@dataclass(frozen=True)
class Written:
    """A file that is written: its hash, and the facts of its clips."""

    sha256: str
    facts: Facts


# Writes shards, in any order and in whichever processes.
Each = Callable[
    [Callable[[Shard], Written], Sequence[Shard]],
    Iterable[tuple[Shard, Written]],
]


def one_by_one(
    work: Callable[[Shard], Written], shards: Sequence[Shard]
) -> Iterator[tuple[Shard, Written]]:
    """Write shards in this process."""
    for shard in shards:
        yield shard, work(shard)


def collect(parts: Iterable[Path]) -> tuple[list[tuple[Path, list[str]]], list[SkippedClip]]:
    """Read the names of the clips of each part, and those left out, and nothing else."""
    rows: list[tuple[Path, list[str]]] = []
    skipped: list[SkippedClip] = []
    for part in parts:
        with naming(part), pq.ParquetFile(part) as file:
            rows.append((part, file.read(["clip_id"], use_threads=False)["clip_id"].to_pylist()))
            skipped.extend(read_skipped(file.schema_arrow))
    return rows, skipped


def assemble(
    rows: Sequence[tuple[Path, Sequence[str]]],
    splits: Mapping[str, str],
    emotions: Sequence[str],
    folder: Path,
    progress: Callable[[int], object],
    each: Each = one_by_one,
) -> tuple[dict[Path, str], Figures]:
    """Write the splits' files; the bytes do not depend on who writes them, and when.

    Args:
        rows: the dialogs' files, in the order wanted, and the clips of each.
        splits: clip to split.
        emotions: names of the labels.
        folder: where to write; it exists and is empty.
        progress: told the number of clips written since the last call.
        each: has the files written.

    Returns:
        The files written with their hashes, and the figures of their clips.
    """
    names = [clip for _, clips in rows for clip in clips]
    placed = np.array([SPLITS.index(splits[name]) for name in names], np.int64)
    owners = np.repeat(np.arange(len(rows)), [len(clips) for _, clips in rows])
    places = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(c)) for _, c in rows)])
    numbers: dict[Path, npt.NDArray[np.int64]] = {}
    shards = []
    for number, split in enumerate(SPLITS):
        own = np.flatnonzero(placed == number)
        # An empty split still gets its file, so that every reader finds its columns.
        count = max(1, -(-len(own) // CLIPS_PER_FILE))
        for i in range(count):
            file = folder / f"{split}-{i:05d}-of-{count:05d}.parquet"
            numbers[file] = own[i * CLIPS_PER_FILE : (i + 1) * CLIPS_PER_FILE]
            pieces = tuple(
                (rows[int(part)][0], tuple(places[list(chosen)].tolist()))
                for part, chosen in groupby(numbers[file], key=owners.__getitem__)
            )
            shards.append(Shard(file, pieces, len(emotions), split == "train"))
    facts = np.zeros(len(names), fact_type(len(emotions)))
    hashes = dict.fromkeys(numbers, "")
    for shard, written in each(write_shard, shards):
        hashes[shard.file] = written.sha256
        facts[numbers[shard.file]] = written.facts
        progress(len(written.facts))
    return hashes, Figures(emotions, names, [SPLITS[number] for number in placed], facts)


def write_shard(shard: Shard) -> Written:
    """Write one file of a prepared corpus; it appears whole or not at all."""
    # A worker that was given up may still be writing the same file.
    beside = shard.file.with_name(f"{shard.file.name}.{os.urandom(4).hex()}.tmp")
    facts = [np.zeros(0, fact_type(shard.emotions))]
    with naming(shard.file):
        with pq.ParquetWriter(
            beside,
            SCHEMA,
            compression={n: "zstd" if n in COMPRESSED else "none" for n in SCHEMA.names},
            use_dictionary=False,
            write_statistics=False,
        ) as writer:
            for group in _groups(shard.rows):
                writer.write_table(group, row_group_size=CLIPS_PER_GROUP)
                facts.append(facts_of(group, shard.emotions, shard.train))
        beside.replace(shard.file)
        return Written(sha256(shard.file), np.concatenate(facts))


def _groups(rows: Iterable[tuple[Path, Sequence[int]]]) -> Iterator[pa.Table]:
    """Read rows, one part at a time, and give as many at a time as a group has."""
    held: list[pa.Table] = []
    room = CLIPS_PER_GROUP
    for part, wanted in rows:
        table = _read(part, np.array(wanted))
        while len(table):
            held.append(table.slice(0, room))
            table, room = table.slice(room), room - len(held[-1])
            if not room:
                yield pa.concat_tables(held).combine_chunks()
                held, room = [], CLIPS_PER_GROUP
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _read(part: Path, wanted: npt.NDArray[np.int64]) -> pa.Table:
    """Read rows of a part, and of other rows only those in the same groups of the file."""
    with naming(part), pq.ParquetFile(part, memory_map=True) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = np.unique(np.searchsorted(ends, wanted, side="right"))
        table = file.read_row_groups(groups.tolist(), use_threads=False).cast(SCHEMA)
    there = np.concatenate([np.arange(ends[group] - sizes[group], ends[group]) for group in groups])
    return table if len(there) == len(wanted) else table.take(np.searchsorted(there, wanted))
