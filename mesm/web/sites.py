"""Faces and spectrogram of a piece with the sites that each block keeps, as pictures in HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from mesm.analysis.attention_rows import shown_faces, spectrogram_row
from mesm.analysis.planted import no_regions
from mesm.inference.pieces import Piece
from mesm.plots.panels import kept_overlay, to_grey
from mesm.web.studio import View

MOST_FACES, LEAST_ROOM = 8, 5
# Columns of a spectrogram's picture: wider ones are thinned out.
MOST_COLUMNS = 1600
_GAP = 2
Picture = npt.NDArray[np.uint8]


def sites(view: View, block: int) -> str:
    """The piece as the model sees it, and below that what each block keeps of it, in red.

    Args:
        view: of a piece; a run that is no MESM keeps nothing, and the piece alone is shown.
        block: which is pointed out, 1 to 3; 0: all of them alike.
    """
    parts = []
    piece = view.looked.pieces[view.place]
    if len(piece.faces):
        parts.append(_figure("Face, a picture every half second", _face_rows(view), block, False))
    if piece.spectrogram.shape[1]:
        rows = _sound_rows(view)
        parts.append(_figure("Sound: low notes below, time to the right", rows, block, True))
    if not parts:
        return '<section class="mesm sites"><p>There are words alone: nothing to see.</p></section>'
    head = "Where it looks" if view.attention is not None else "As the model sees it"
    key = ""
    if view.attention is not None:
        key = '<p class="small"><span class="red"></span> kept: convolutions run here alone</p>'
    return f'<section class="mesm sites"><h3>{head}</h3>{key}{"".join(parts)}</section>'


def _face_rows(view: View) -> list[tuple[str, Picture]]:
    piece = view.looked.pieces[view.place]
    shown = shown_faces(len(piece.faces), MOST_FACES)
    rows = [(_face_note(piece, shown), _strip([piece.faces[place] for place in shown]))]
    blocks = () if view.attention is None else view.attention.blocks.get("face", ())
    for number, found in enumerate(blocks, 1):
        images = [_bytes(kept_overlay(piece.faces[p], found.kept[p])) for p in shown]
        rows.append((_kept_note(number, found.kept), _strip(images)))
    return rows


def _face_note(piece: Piece, shown: Sequence[int]) -> str:
    lost = sum(not piece.face_found[place] for place in shown)
    return f"input; {lost} without a face" if lost else "input"


def _sound_rows(view: View) -> list[tuple[str, Picture]]:
    piece = view.looked.pieces[view.place]
    real = piece.spectrogram.shape[1]
    step = -(-real // MOST_COLUMNS)
    heat = colormaps["magma"](to_grey(piece.spectrogram))[..., :3]
    rows = [("input", _bytes(heat[::-1, ::step]))]
    blocks = [] if view.attention is None else view.attention.blocks.get("audio", [])
    if blocks:
        row = spectrogram_row(piece, blocks, no_regions(), "")
        for number, kept in enumerate(row.kept, 1):
            drawn = kept_overlay(row.image, kept)[::-1, :real:step]
            rows.append((_kept_note(number, blocks[number - 1].kept), _bytes(drawn)))
    return rows


def _kept_note(number: int, kept: npt.NDArray[np.bool_]) -> str:
    return f"block {number} keeps {percent(float(kept.mean()))}"


def percent(share: float) -> str:
    """A share in percent, small ones with a decimal."""
    return f"{100 * share:.{1 if share < 0.1 else 0}f} %"


def _figure(title: str, rows: Sequence[tuple[str, Picture]], block: int, wide: bool) -> str:
    lines = []
    for number, (note, picture) in enumerate(rows):
        kind = " chosen" if block and number == block else ""
        kind += " wide" if wide else ""
        lines.append(
            f'<div class="seen{kind}"><span>{note}</span>'
            f'<img src="{data_uri(picture)}" alt="{title}: {note}"></div>'
        )
    return f"<figure><figcaption>{title}</figcaption>{''.join(lines)}</figure>"


def _strip(images: Sequence[npt.NDArray[np.uint8]]) -> Picture:
    """Images side by side, with room for several, so that one alone is not blown up."""
    height, width = images[0].shape[:2]
    room = max(len(images), LEAST_ROOM)
    canvas = np.zeros((height, room * (width + _GAP) - _GAP, 4), np.uint8)
    for place, image in enumerate(images):
        left = place * (width + _GAP)
        canvas[:, left : left + width, :3] = image
        canvas[:, left : left + width, 3] = 255
    return canvas


def _bytes(picture: npt.NDArray[Any]) -> Picture:
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def data_uri(picture: Picture) -> str:
    """A picture (H, W, 3 or 4) as PNG inside an address, so that no file of it is left."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
