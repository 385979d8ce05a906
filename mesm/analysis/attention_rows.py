"""The sites that a MESM keeps of a clip's faces and sound, as rows of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mesm.analysis.attention_trace import BlockAttention
from mesm.analysis.planted import Regions
from mesm.inputs.spectrograms import CHUNK_COLUMNS
from mesm.plots.panels import Row


class Media(Protocol):
    """The faces and the sound of a clip, as `mesm.corpora.prepared.Clip` has them."""

    @property
    def start(self) -> float:
        """Seconds."""

    @property
    def faces(self) -> NDArray[np.uint8]:
        """(S, 48, 48, 3), RGB."""

    @property
    def face_found(self) -> NDArray[np.bool_]:
        """(S,)."""

    @property
    def face_times(self) -> NDArray[Any]:
        """(S,), seconds."""

    @property
    def spectrogram(self) -> NDArray[np.float32]:
        """(128, T)."""


def face_row(media: Media, blocks: Sequence[BlockAttention], place: int, regions: Regions) -> Row:
    """One face with every block's attention and kept sites.

    Args:
        media: whose face.
        blocks: over the clip's faces.
        place: which face.
        regions: outlined.
    """
    seconds = float(media.face_times[place]) - media.start
    found = "" if media.face_found[place] else "\nno face found"
    return Row(
        image=media.faces[place],
        attention=[block.attention[place] for block in blocks],
        kept=[block.kept[place] for block in blocks],
        regions=regions,
        label=f"{seconds:.1f} s{found}",
    )


def spectrogram_row(
    media: Media, blocks: Sequence[BlockAttention], cues: Regions, title: str
) -> Row:
    """The chunks' maps side by side; the spectrogram filled up to whole chunks with NaN."""
    bins, columns = media.spectrogram.shape
    chunks = len(blocks[0].kept)
    image = np.full((bins, chunks * CHUNK_COLUMNS), np.nan, dtype=np.float32)
    image[:, :columns] = media.spectrogram
    return Row(
        image=image,
        attention=[np.concatenate(list(block.attention), axis=1) for block in blocks],
        kept=[np.concatenate(list(block.kept), axis=1) for block in blocks],
        regions=cues,
        label=title,
    )


def shorten(text: str, most: int = 90) -> str:
    """A text that fits a title."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def shown_faces(count: int, most: int) -> list[int]:
    """The places of at most so many faces, evenly over the clip, its first and last among them."""
    places: list[int] = np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
    return places
