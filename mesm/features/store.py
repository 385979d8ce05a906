"""Reading the features of a prepared corpus, clip by clip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mesm.corpora.folds import FoldedCorpus, Statistic
from mesm.corpora.prepared import PreparedCorpus
from mesm.features.manifest import (
    FILES,
    LEAST_STD,
    STREAMS,
    FeatureManifest,
    check_features,
    features_folder,
    prepared_hash,
    read_features_manifest,
)
from mesm.features.parquet import UNKNOWN, read_words
from mesm.features.statistics import ColumnStatistics

# Clips stay in memory until they take this much; those of IEMOCAP and CMU-MOSEI fit.
CACHE_BYTES = 512 << 20


@dataclass(frozen=True)
class ClipFeatures:
    """The features of one clip.

    No modality is empty: where a clip has no row (no word, or no OpenFace file), it gets one row of
    zeros, which is the training split's mean in audio and video.

    Attributes:
        clip_id: its name.
        words: those of the transcript, in order.
        text: (T, 300) float32, one word vector per word, not normalised; zeros for a word without.
        audio: (Sa, 142) float32, one row per 400 ms, normalised by the training split's mean and
            standard deviation; zeros where nothing could be measured. Features of format 1 have 34.
        video: (Sv, 35) float32, likewise, one row per step.
    """

    clip_id: str
    words: list[str]
    text: npt.NDArray[np.float32]
    audio: npt.NDArray[np.float32]
    video: npt.NDArray[np.float32]


class FeatureStore:
    """The features that `mesm features` wrote beside a prepared corpus.

    Args:
        folder: where they lie.
        manifest: of the features.
        emotions: of the corpus.
        fold: by whose training split they are normalised; None: by the corpus' own.
    """

    def __init__(
        self,
        folder: Path,
        manifest: FeatureManifest,
        emotions: list[str],
        fold: FoldedCorpus | None = None,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.feature_set = manifest.feature_set
        self.dims = {name: manifest.modality(name).dim for name in STREAMS}
        self._emotions = emotions
        self._fold = fold
        self._tables = {name: _ClipTable(folder / FILES[name]) for name in STREAMS}
        self._kept: dict[str, tuple[list[str], npt.NDArray[np.int64], _Matrix, _Matrix]] = {}
        self._bytes = 0

    @classmethod
    def open(cls, corpus: PreparedCorpus) -> FeatureStore:
        """Read the manifest and compare the files that it names with their hashes.

        Raises:
            ValueError: the corpus has no features, not all of them, damaged ones, or features of
                another preparation; says how to make them.
        """
        folder = features_folder(corpus)
        command = f"run mesm features {corpus.path} --raw RAW"
        manifest = read_features_manifest(corpus)
        if manifest is None:
            raise ValueError(f"{corpus.path} has no hand-crafted features; {command}")
        if manifest.prepared != prepared_hash(corpus):
            raise ValueError(f"{folder} was made for another preparation of the corpus; {command}")
        check_features(folder, manifest, f"delete {folder} and {command}")
        fold = corpus if isinstance(corpus, FoldedCorpus) else None
        return cls(folder, manifest, list(corpus.manifest.emotions), fold)

    def clip(self, clip_id: str) -> ClipFeatures:
        """Read the features of a clip.

        Raises:
            ValueError: there is no such clip.
        """
        words, ids, audio, video = self._read(clip_id)
        text = self._vectors[ids]
        text[ids == UNKNOWN] = 0
        return ClipFeatures(
            clip_id=clip_id,
            words=list(words),
            text=_at_least_a_row(text),
            audio=_at_least_a_row(audio.copy()),
            video=_at_least_a_row(video.copy()),
        )

    def emotion_vectors(self) -> npt.NDArray[np.float32]:
        """Word vectors (E, 300) float32 of the emotions' names, in the corpus's order."""
        return self._vectors[[self._words[name] for name in self._emotions]]

    @cached_property
    def figures(self) -> dict[str, Statistic]:
        """Mean and standard deviation per column of audio and video, over the training split."""
        found = {}
        for name in STREAMS[1:]:
            own = self.manifest.modality(name)
            if self._fold is None:
                found[name] = own.mean, own.std
            else:
                found[name] = self._fold.statistic(name, partial(self._count, name, own.dim))
        return found

    def _count(self, name: str, columns: int) -> Statistic:
        assert self._fold is not None
        statistics = ColumnStatistics(columns)
        for clip_id in self._fold.split("train").clip_ids:
            statistics.add(_matrix(self._tables[name].row(clip_id), columns))
        return statistics.mean_and_std()

    def _read(self, clip_id: str) -> tuple[list[str], npt.NDArray[np.int64], _Matrix, _Matrix]:
        if clip_id in self._kept:
            return self._kept[clip_id]
        text = self._tables["text"].row(clip_id)
        ids = text["ids"].values.to_numpy(zero_copy_only=False).astype(np.int64)
        audio, video = (
            _normalise(self._tables[name].row(clip_id), self.figures[name]) for name in STREAMS[1:]
        )
        entry = (text["words"].as_py(), ids, audio, video)
        size = ids.nbytes + audio.nbytes + video.nbytes
        if self._bytes + size <= CACHE_BYTES:
            self._kept[clip_id] = entry
            self._bytes += size
        return entry

    @cached_property
    def _table(self) -> tuple[dict[str, int], npt.NDArray[np.float32]]:
        names, vectors = read_words(self.folder / FILES["words"])
        return {name: i for i, name in enumerate(names)}, vectors

    @property
    def _words(self) -> dict[str, int]:
        return self._table[0]

    @property
    def _vectors(self) -> npt.NDArray[np.float32]:
        return self._table[1]


_Matrix = npt.NDArray[np.float32]


class _ClipTable:
    """Finds a clip's row in a Parquet file by its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: pq.ParquetFile | None = None
        self._latest: tuple[int, pa.Table] | None = None

    def row(self, clip_id: str) -> dict[str, pa.Scalar]:
        if clip_id not in self._places:
            raise ValueError(f"{self._path} has no clip {clip_id!r}")
        group, row = self._places[clip_id]
        if self._latest is None or self._latest[0] != group:
            # No threads: data loaders fork.
            self._latest = group, self._read(group)
        table = self._latest[1]
        return {name: table[name][row] for name in table.column_names}

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        file = self._open()
        places = {}
        for group in range(file.num_row_groups):
            column = self._read(group, ["clip_id"])["clip_id"]
            places.update({clip: (group, row) for row, clip in enumerate(column.to_pylist())})
        return places

    def _read(self, group: int, columns: list[str] | None = None) -> pa.Table:
        try:
            return self._open().read_row_group(group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(_damaged(self._path, error)) from error

    def _open(self) -> pq.ParquetFile:
        if self._file is None:
            try:
                self._file = pq.ParquetFile(self._path, memory_map=True)
                missing = {"clip_id"} - set(self._file.schema_arrow.names)
            except (pa.ArrowException, OSError) as error:
                raise ValueError(_damaged(self._path, error)) from error
            if missing:
                raise ValueError(_damaged(self._path, "no column clip_id"))
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_latest": None}


def _damaged(file: Path, error: object) -> str:
    what = str(error).splitlines()[0]
    return f"{file} is damaged ({what}); delete its folder and run mesm features again"


def _matrix(row: dict[str, pa.Scalar], columns: int) -> npt.NDArray[np.float64]:
    values = row["values"].values.to_numpy(zero_copy_only=False)
    return values.astype(np.float64).reshape(row["rows"].as_py(), columns)


def _normalise(row: dict[str, pa.Scalar], figures: Statistic) -> _Matrix:
    mean, std = np.array(figures[0]), np.array(figures[1])
    matrix = _matrix(row, len(mean))
    normalised = (matrix - mean) / np.where(std > LEAST_STD, std, 1.0)
    return np.nan_to_num(normalised, nan=0.0).astype(np.float32)


def _at_least_a_row(matrix: _Matrix) -> _Matrix:
    return matrix if len(matrix) else np.zeros((1, matrix.shape[1]), np.float32)
