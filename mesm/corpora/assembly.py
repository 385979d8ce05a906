"""The dialogs' part files to the final Parquet files and the figures of the manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mesm.config.modalities import Modality
from mesm.corpora.manifest import Averages, FaceCounts, SplitCounts
from mesm.corpora.parts import read_part
from mesm.corpora.prepared import SCHEMA
from mesm.corpora.splits import SPLITS
from mesm.corpora.utterances import SkippedClip
from mesm.runs.ordinary import naming

CLIPS_PER_FILE = 512
# Small groups, so that one clip can be read without its whole file.
CLIPS_PER_GROUP = 8
# Numbers and images hardly compress; text does.
COMPRESSED = ("clip_id", "text", "speaker", "dialog")


@dataclass
class Figures:
    """The manifest's figures about the clips written."""

    emotions: Sequence[str]
    labels: dict[str, np.ndarray] = field(init=False)
    clips: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    no_emotion: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    words: np.ndarray = field(init=False)
    seconds: np.ndarray = field(init=False)
    frames: int = 0
    found: int = 0
    clips_without: list[str] = field(default_factory=list)
    without: dict[str, list[str]] = field(default_factory=dict)
    trained: set[Modality] = field(default_factory=set)
    values: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        self.labels = {name: np.zeros(len(self.emotions), np.int64) for name in SPLITS}
        # The last entry is all clips.
        self.words = np.zeros(len(self.emotions) + 1)
        self.seconds = np.zeros(len(self.emotions) + 1)

    def add(self, row: Mapping[str, pa.Scalar], split: str) -> None:
        """Count one clip."""
        labels = np.array(row["labels"].as_py(), np.int64)
        self.clips[split] += 1
        self.labels[split] += labels
        self.no_emotion[split] += int(not labels.any())
        present = np.append(labels, 1)
        self.words += present * len(row["text"].as_py().split())
        self.seconds += present * (row["end"].as_py() - row["start"].as_py())
        found = row["face_found"].as_py()
        self.frames += len(found)
        self.found += sum(found)
        if found and not any(found):
            self.clips_without.append(row["clip_id"].as_py())
        for modality, there in (
            (Modality.TEXT, row["text"].as_py().strip()),
            (Modality.AUDIO, row["spectrogram_columns"].as_py()),
            (Modality.VIDEO, found),
        ):
            if not there:
                self.without.setdefault(modality.content, []).append(row["clip_id"].as_py())
            elif split == "train":
                self.trained.add(modality)
        if split == "train" and row["spectrogram_columns"].as_py():
            values = row["spectrogram"].values.to_numpy().astype(np.float64)
            self.values += values.size
            self.total += float(values.sum())
            self.squares += float(np.square(values).sum())

    def counts(self) -> dict[str, SplitCounts]:
        """Sizes per split."""
        return {
            name: SplitCounts(
                clips=self.clips[name],
                labels=dict(zip(self.emotions, self.labels[name].tolist(), strict=True)),
                no_emotion=self.no_emotion[name],
            )
            for name in SPLITS
        }

    def averages(self) -> dict[str, Averages]:
        """Average length per emotion and over all clips."""
        per_label = sum(self.labels.values(), np.zeros(len(self.emotions), np.int64))
        number = np.maximum(np.append(per_label, sum(self.clips.values())), 1)
        words, seconds = (self.words / number).round(4), (self.seconds / number).round(4)
        return {
            name: Averages(words=float(words[i]), seconds=float(seconds[i]))
            for i, name in enumerate([*self.emotions, "all"])
        }

    def faces(self) -> FaceCounts:
        """How often a face was found."""
        return FaceCounts(frames=self.frames, found=self.found, clips_without=self.clips_without)

    @property
    def modalities(self) -> str:
        """The letters of those that some clip of the training split has."""
        return "".join(modality.letter for modality in Modality if modality in self.trained)

    def mean_and_std(self) -> tuple[float, float]:
        """Mean and standard deviation of the training split's spectrograms; 0 and 1 of no sound."""
        if not self.values:
            return 0.0, 1.0
        mean = self.total / self.values
        return mean, math.sqrt(max(self.squares / self.values - mean * mean, 0.0))


class _SplitWriter:
    """Writes one split's rows, in groups, over files of a known number."""

    def __init__(self, folder: Path, split: str, clips: int) -> None:
        files = max(1, -(-clips // CLIPS_PER_FILE))
        self.paths = [folder / f"{split}-{i:05d}-of-{files:05d}.parquet" for i in range(files)]
        self._writer: pq.ParquetWriter | None = None
        self._file = 0
        self._written = 0
        self._rows: list[pa.Table] = []

    def add(self, row: pa.Table) -> None:
        self._rows.append(row)
        if len(self._rows) == CLIPS_PER_GROUP:
            self._flush()
            if self._written == CLIPS_PER_FILE:
                self._next_file()

    def close(self) -> None:
        self._flush()
        # An empty split still gets its file, so that every reader finds its columns.
        if self._writer is not None or self._file == 0:
            self._close()

    def _flush(self) -> None:
        if self._rows:
            group = pa.concat_tables(self._rows).combine_chunks()
            with naming(self.paths[self._file]):
                self._open().write_table(group, row_group_size=CLIPS_PER_GROUP)
            self._written += len(self._rows)
            self._rows = []

    def _close(self) -> None:
        with naming(self.paths[self._file]):
            self._open().close()

    def _next_file(self) -> None:
        self._close()
        self._writer = None
        self._file += 1
        self._written = 0

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self.paths[self._file],
                SCHEMA,
                compression={n: "zstd" if n in COMPRESSED else "none" for n in SCHEMA.names},
                use_dictionary=False,
                write_statistics=False,
            )
        return self._writer


def collect(parts: Iterable[Path]) -> tuple[set[str], list[SkippedClip]]:
    """Read the names of the clips in the parts, and those left out."""
    clips: set[str] = set()
    skipped: list[SkippedClip] = []
    for part in parts:
        table, left_out = read_part(part)
        clips.update(table["clip_id"].to_pylist())
        skipped.extend(left_out)
    return clips, skipped


def assemble(
    parts: Sequence[Path],
    splits: Mapping[str, str],
    emotions: Sequence[str],
    folder: Path,
    progress: Callable[[int], object],
) -> tuple[list[Path], Figures]:
    """Write the splits' files, reading one part at a time.

    Args:
        parts: the dialogs' files, in the order wanted.
        splits: clip to split.
        emotions: names of the labels.
        folder: where to write; it exists and is empty.
        progress: told the number of clips written since the last call.

    Returns:
        The files written, and the figures of their clips.
    """
    sizes = {name: sum(split == name for split in splits.values()) for name in SPLITS}
    writers = {name: _SplitWriter(folder, name, sizes[name]) for name in SPLITS}
    figures = Figures(emotions)
    for part in parts:
        table = read_part(part)[0].cast(SCHEMA)
        for i in range(table.num_rows):
            row = table.slice(i, 1)
            scalars = {name: row[name][0] for name in row.column_names}
            split = splits[scalars["clip_id"].as_py()]
            writers[split].add(row)
            figures.add(scalars, split)
        progress(table.num_rows)
    for writer in writers.values():
        writer.close()
    return [path for writer in writers.values() for path in writer.paths], figures
