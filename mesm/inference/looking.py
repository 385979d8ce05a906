"""The sites that a MESM keeps of a piece, block by block, and their costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mesm.analysis.attention_rows import face_row, shorten, shown_faces, spectrogram_row
from mesm.analysis.attention_trace import BlockAttention, trace_attention
from mesm.analysis.costs import FlopTally, dense_flops_per_frame
from mesm.analysis.planted import SECONDS_PER_COLUMN, no_regions
from mesm.config.p import BlockP, p_text
from mesm.inference.pieces import Piece
from mesm.inference.pipeline import Pipeline
from mesm.inference.recording import printable
from mesm.inference.results import Prediction
from mesm.inputs.faces import IMAGE_SIZE
from mesm.inputs.spectrograms import CHUNK_COLUMNS
from mesm.models import MESM
from mesm.plots.attention import draw_faces, draw_spectrogram
from mesm.plots.panels import enlarge
from mesm.plots.style import save_png

MOST_FACES = 8


@dataclass(frozen=True)
class Attention:
    """The attention over a piece.

    Attributes:
        piece: what was looked at.
        p: share of the attention mass that was kept.
        blocks: by "face" and "audio", as far as the model looks at them and they are there, the
            three blocks over the S faces or the chunks.
    """

    piece: Piece
    p: BlockP
    blocks: dict[str, list[BlockAttention]]

    def kept_shares(self) -> dict[str, list[float]]:
        """Per modality and block the kept sites over all sites, mean over the frames."""
        return {
            name: [float(block.kept.mean()) for block in blocks]
            for name, blocks in self.blocks.items()
        }

    def kept_by_all(self) -> npt.NDArray[np.bool_]:
        """(S, 48, 48): the pixels of each face whose sites every block kept."""
        kept = np.ones((len(self.piece.faces), IMAGE_SIZE, IMAGE_SIZE), np.bool_)
        for block in self.blocks.get("face", ()):
            kept &= np.stack([enlarge(k, IMAGE_SIZE, IMAGE_SIZE).astype(bool) for k in block.kept])
        return kept


def check_looks(pipeline: Pipeline) -> MESM:
    """The run's model where it is a MESM.

    Raises:
        ValueError: it is not; says what a picture would show.
    """
    model = pipeline.trained.model
    if not isinstance(model, MESM):
        raise ValueError(
            f"{pipeline.trained.path}: is {pipeline.trained.title}, and kept sites are MESM's; "
            "name a MESM run, or leave the pictures out"
        )
    return model


def look(pipeline: Pipeline, piece: Piece, p: BlockP | None = None) -> Attention:
    """Run the extractors on a piece and keep each block's attention.

    Args:
        pipeline: of a MESM.
        piece: what it looks at.
        p: another p than the run's own.

    Raises:
        ValueError: the run is no MESM, or p is not in (0, 1].
    """
    model = check_looks(pipeline)
    own: BlockP = pipeline.trained.settings.p  # type: ignore[attr-defined]
    with pipeline.at_p(p):
        traced = trace_attention(model, pipeline.batch([piece]))
    there = {"face": len(piece.faces) > 0, "audio": piece.spectrogram.shape[1] > 0}
    blocks = {name: found for name, found in traced.items() if there[name]}
    return Attention(piece, own if p is None else p, blocks)


def flops(pipeline: Pipeline, piece: Piece, p: BlockP | None = None) -> tuple[float, float]:
    """FLOPs of the feature extraction of a piece, and those of dense convolutions as wide.

    Two per multiply-accumulate.

    Args:
        pipeline: of FE2E or MESM.
        piece: what is counted on.
        p: another p than a MESM's own.

    Raises:
        ValueError: p is given for a run that is no MESM, or is not in (0, 1].
    """
    tally = FlopTally()
    model = pipeline.trained.model
    with pipeline.at_p(p):
        tally.count(model, pipeline.batch([piece]))
    frames = {
        "face": len(piece.faces),
        "audio": -(-piece.spectrogram.shape[1] // CHUNK_COLUMNS),
    }
    dense = sum(frames[name] * count for name, count in dense_flops_per_frame(model).items())
    return tally.per_clip(1)["total"], float(dense)


def draw_piece(
    attention: Attention, prediction: Prediction, folder: Path, name: str
) -> Sequence[Path]:
    """Draw the faces and the spectrogram of a piece with kept sites per block.

    Args:
        attention: of the piece.
        prediction: likewise.
        folder: where to; made if need be.
        name: the pictures' names begin so.

    Returns:
        The pictures: NAME-faces.png and NAME-spectrograms.png, where there is something to show.
    """
    piece = attention.piece
    found = ", ".join(f"{n} {100 * v:.0f} %" for n, v in prediction.probabilities.items())
    title = f"{printable(piece.file.name)} · {piece.start:.1f} s to {piece.end:.1f} s · p = "
    title += f"{p_text(attention.p)}\n{shorten(found)}"
    if piece.text and piece.text.strip():
        title += f"\n“{shorten(' '.join(piece.text.split()), 60)}”"
    written = []
    faces, audio = attention.blocks.get("face"), attention.blocks.get("audio")
    if faces:
        rows = [
            face_row(piece, faces, place, no_regions())
            for place in shown_faces(len(piece.faces), MOST_FACES)
        ]
        written.append(save_png(draw_faces(rows, title), folder / f"{name}-faces.png"))
    if audio:
        row = spectrogram_row(piece, audio, no_regions(), title)
        figure = draw_spectrogram(row, CHUNK_COLUMNS, SECONDS_PER_COLUMN)
        written.append(save_png(figure, folder / f"{name}-spectrograms.png"))
    return written
