"""The prepared corpus: its Parquet files, and reading them."""

from __future__ import annotations

import difflib
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mesm.config.fold import FoldSettings
from mesm.corpora.manifest import MANIFEST, Manifest, read_manifest
from mesm.corpora.splits import SPLITS
from mesm.inputs.faces import IMAGE_SIZE
from mesm.runs.files import file_name
from mesm.runs.hashes import check_files

MEL_BINS = 128
MEND = "run the same mesm prepare again to mend it"

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("text", pa.string()),
        ("speaker", pa.string()),
        ("dialog", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("labels", pa.list_(pa.int8())),
        ("faces", pa.list_(pa.binary())),
        ("face_found", pa.list_(pa.bool_())),
        ("face_boxes", pa.list_(pa.list_(pa.float32(), 4))),
        ("face_times", pa.list_(pa.float32())),
        ("spectrogram", pa.list_(pa.float32())),
        ("spectrogram_columns", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Clip:
    """One utterance, ready for the models.

    Attributes:
        clip_id: its name.
        text: what is said.
        speaker: who speaks.
        dialog: IEMOCAP dialog or CMU-MOSEI video.
        start: seconds in the dialog.
        end: seconds in the dialog.
        labels: (E,) int8, 0 or 1 per emotion.
        faces: (S, 48, 48, 3) uint8, RGB, one every 0.5 s.
        face_found: (S,) bool; where False the image is the centre of the frame.
        face_boxes: (S, 4) float32, x0, y0, x1, y1: the part of the video's frame that became the
            image, in pixels.
        face_times: (S,) float32, seconds in the dialog.
        spectrogram: (128, T) float32, natural logarithm of the mel power, a column per 12.5 ms.
        split: "train", "valid" or "test".
    """

    clip_id: str
    text: str
    speaker: str
    dialog: str
    start: float
    end: float
    labels: npt.NDArray[np.int8]
    faces: npt.NDArray[np.uint8]
    face_found: npt.NDArray[np.bool_]
    face_boxes: npt.NDArray[np.float32]
    face_times: npt.NDArray[np.float32]
    spectrogram: npt.NDArray[np.float32]
    split: str


class ClipList(Sequence[Clip]):
    """The clips of one split, read from disk when asked for.

    Args:
        files: that hold them, in order.
        split: its name.
        chosen: which of the files' clips are in the split, by number; None: all.
    """

    def __init__(
        self, files: Sequence[Path], split: str, chosen: Sequence[int] | None = None
    ) -> None:
        self._paths = list(files)
        self._split = split
        self._files: dict[int, pq.ParquetFile] = {}
        # File, row group and row in it of each clip.
        self._rows: list[tuple[int, int, int]] = []
        for i, path in enumerate(self._paths):
            with _blamed(path):
                metadata = pq.read_metadata(path)
                schema = metadata.schema.to_arrow_schema()
                lacking = [name for name in SCHEMA.names if name not in schema.names]
                if lacking:
                    raise ValueError(f"no column {', '.join(lacking)}")
            for group in range(metadata.num_row_groups):
                count = metadata.row_group(group).num_rows
                self._rows.extend((i, group, row) for row in range(count))
        self._chosen = chosen
        if chosen is not None:
            self._rows = [self._rows[place] for place in chosen]
        self._latest: tuple[tuple[int, int], pa.Table] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int, /) -> Clip: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Clip]: ...
    def __getitem__(self, index: int | slice, /) -> Clip | list[Clip]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file, group, row = self._rows[index]
        if self._latest is None or self._latest[0] != (file, group):
            # No threads: data loaders fork.
            with _blamed(self._paths[file]):
                table = self._open(file).read_row_group(group, use_threads=False)
            self._latest = ((file, group), table)
        with _blamed(self._paths[file]):
            return _decode(self._latest[1], row, self._split)

    @cached_property
    def clip_ids(self) -> list[str]:
        """The clips' names, in order."""
        return self._column("clip_id")

    @cached_property
    def dialogs(self) -> list[str]:
        """Each clip's dialog or video, in order."""
        return self._column("dialog")

    @cached_property
    def speakers(self) -> list[str]:
        """Each clip's speaker, in order."""
        return self._column("speaker")

    def spectrograms(self) -> Iterator[npt.NDArray[np.float32]]:
        """The values of each clip's spectrogram (128 * T,), in order, read without the pictures."""
        latest: tuple[tuple[int, int], pa.Table] | None = None
        for file, group, row in self._rows:
            with _blamed(self._paths[file]):
                if latest is None or latest[0] != (file, group):
                    opened = self._open(file)
                    table = opened.read_row_group(group, ["spectrogram"], use_threads=False)
                    latest = (file, group), table
                values = latest[1]["spectrogram"][row].values
                yield values.to_numpy(zero_copy_only=False).astype(np.float32)

    def _column(self, name: str) -> list[str]:
        values: list[str] = []
        for i in range(len(self._paths)):
            with _blamed(self._paths[i]):
                names = self._open(i).read(columns=[name])[name].to_pylist()
                values.extend(file_name(value, name) for value in names)
        return values if self._chosen is None else [values[place] for place in self._chosen]

    @cached_property
    def labels(self) -> npt.NDArray[np.int8]:
        """The clips' labels (N, E), read without their pictures."""
        rows: list[list[int]] = []
        for i in range(len(self._paths)):
            with _blamed(self._paths[i]):
                rows.extend(self._open(i).read(columns=["labels"])["labels"].to_pylist())
                if any(len(row) != len(rows[0]) or not set(row) <= {0, 1} for row in rows):
                    raise ValueError("labels other than 0 and 1, or not as many for each clip")
        if self._chosen is not None:
            rows = [rows[place] for place in self._chosen]
        return np.array(rows, dtype=np.int8)

    def _open(self, file: int) -> pq.ParquetFile:
        if file not in self._files:
            self._files[file] = pq.ParquetFile(self._paths[file], memory_map=True)
        return self._files[file]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_latest": None}


class PreparedCorpus:
    """A corpus written by `mesm prepare`.

    Attributes:
        fold: None: its splits are its own; else which fold's they are (`mesm.corpora.folds`).
        content: hash of all that a run reads of it, in whatever fold (`Manifest.identity`).
    """

    fold: FoldSettings | None = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.content = manifest.identity
        self._splits: dict[str, ClipList] = {}

    @classmethod
    def open(cls, path: Path | str) -> PreparedCorpus:
        """Read the manifest and compare the files it names with their hashes.

        Hashes are remembered, see `mesm.runs.hashes.check_files`.

        Raises:
            ValueError: `path` is not a prepared corpus, or not a whole one; says how to make it.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest is None:
            raise ValueError(f"{path} is not a prepared corpus: no {MANIFEST}; run mesm prepare")
        corpus = cls(path, manifest)
        corpus.check()
        return corpus

    @property
    def sound_figures(self) -> tuple[float, float]:
        """Mean and standard deviation of the training split's spectrograms."""
        return self.manifest.spectrogram_mean, self.manifest.spectrogram_std

    def check(self) -> None:
        """Compare every file with its hash in the manifest, where that is not remembered.

        Raises:
            ValueError: a file is missing or differs; names it and the mend.
        """
        check_files(self.path, self.manifest.files, MEND)

    def split(self, name: str) -> ClipList:
        """Give the clips of "train", "valid" or "test"."""
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        if name not in self._splits:
            files = sorted(f for f in self.manifest.files if Path(f).name.startswith(f"{name}-"))
            self._splits[name] = ClipList([self.path / file for file in files], name)
        return self._splits[name]

    def clip(self, clip_id: str) -> Clip:
        """Find a clip by its name.

        Raises:
            ValueError: there is none; names those of similar names.
        """
        if clip_id not in self._places:
            near = difflib.get_close_matches(clip_id, self._places, n=3, cutoff=0.5)
            hint = f"; near are {', '.join(near)}" if near else ""
            raise ValueError(f"{self.path} has no clip {clip_id!r}{hint}")
        split, index = self._places[clip_id]
        return self.split(split)[index]

    def verify(self) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ValueError: a file is missing or differs; names it and the mend.
        """
        check_files(self.path, self.manifest.files, MEND, anew=True)

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        return {
            clip_id: (name, i)
            for name in SPLITS
            for i, clip_id in enumerate(self.split(name).clip_ids)
        }


@contextmanager
def _blamed(file: Path) -> Iterator[None]:
    """Turn whatever a damaged Parquet file raises into one sentence with its name and the mend."""
    try:
        yield
    except (
        pa.ArrowException,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        SyntaxError,
    ) as error:
        said = str(error).partition("\n")[0][:200]
        raise ValueError(f"{file} cannot be read as prepared clips ({said}); {MEND}") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        said = str(error).partition("\n")[0][:200]
        raise ValueError(f"{file} cannot be read as prepared clips ({said}); {MEND}") from error


def _picture(png: bytes) -> npt.NDArray[np.uint8]:
    """Decode a face as `mesm prepare` writes them; a ValueError or OSError for any other picture.

    Depths, palettes and kinds of colour that Pillow would convert are refused: other numbers than
    those of the picture would come out.
    """
    try:
        image = Image.open(io.BytesIO(png), formats=["PNG"])
    except Image.DecompressionBombError as error:
        raise ValueError(f"a face far too large: {error}") from error
    if image.mode != "RGB" or image.size != (IMAGE_SIZE, IMAGE_SIZE):
        width, height = image.size
        raise ValueError(
            f"a face of {width}x{height} pixels, {image.mode}; wanted {IMAGE_SIZE}x{IMAGE_SIZE}, "
            "RGB"
        )
    return np.asarray(image)


def _decode(table: pa.Table, row: int, split: str) -> Clip:
    def numpy(name: str) -> npt.NDArray[Any]:
        values = table[name][row].values
        if isinstance(values.type, pa.FixedSizeListType):
            values = values.flatten()
        if values.null_count:
            return values.to_numpy(zero_copy_only=False)
        # `to_numpy` imports pandas, for nothing.
        if pa.types.is_boolean(values.type):
            return np.array(values.to_pylist(), np.bool_)
        return np.from_dlpack(values)

    images = [_picture(png) for png in table["faces"][row].as_py()]
    columns = table["spectrogram_columns"][row].as_py()
    start, end = table["start"][row].as_py(), table["end"][row].as_py()
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"a clip from {start} s to {end} s")
    if not np.isfinite(numpy("spectrogram")).all():
        raise ValueError("a spectrogram with values that are not finite")
    for name in ("clip_id", "speaker", "dialog"):
        file_name(table[name][row].as_py(), name)
    return Clip(
        **{name: table[name][row].as_py() for name in ("clip_id", "text", "speaker", "dialog")},
        start=start,
        end=end,
        labels=numpy("labels").astype(np.int8),
        faces=np.stack(images) if images else np.empty((0, 48, 48, 3), np.uint8),
        face_found=numpy("face_found").astype(np.bool_),
        face_boxes=numpy("face_boxes").astype(np.float32).reshape(-1, 4),
        face_times=numpy("face_times").astype(np.float32),
        spectrogram=numpy("spectrogram").astype(np.float32).reshape(MEL_BINS, columns),
        split=split,
    )
