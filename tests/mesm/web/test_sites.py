"""Faces and spectrogram with kept sites, as pictures in the page itself."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mesm.web.sites import LEAST_ROOM, data_uri, percent, sites
from mesm.web.studio import Studio, View


@pytest.fixture(scope="module")
def view(own_mesm: Path, films: Path) -> View:
    studio = Studio.load(own_mesm, device="cpu")
    return studio.view(studio.read(films / "film0.mp4", "so happy"), 0)


def images(drawn: str) -> list[Image.Image]:
    parts = drawn.split('src="data:image/png;base64,')[1:]
    return [Image.open(io.BytesIO(base64.b64decode(part.split('"')[0]))) for part in parts]


def test_face_and_sound_have_their_input_and_three_blocks(view: View) -> None:
    drawn = sites(view, 0)
    assert drawn.count("<img") == 8
    assert sites(view, 2).count("chosen") == 2
    assert view.attention is not None
    shown = images(drawn)
    faces = view.looked.pieces[0].faces
    strip = np.asarray(shown[0])
    assert strip.shape == (48, max(len(faces), LEAST_ROOM) * 50 - 2, 4)
    for place, face in enumerate(faces):
        np.testing.assert_array_equal(strip[:, 50 * place : 50 * place + 48, :3], face)
    # Red is on the kept sites, and nowhere else.
    for number, found in enumerate(view.attention.blocks["face"], 1):
        row = np.asarray(shown[number])[..., :3].astype(int)[:, :48]
        red = row[..., 0] > row[..., 2] + 20
        side = 48 // found.kept.shape[1]
        np.testing.assert_array_equal(red, found.kept[0].repeat(side, 0).repeat(side, 1))


def test_what_is_missing_is_not_drawn(view: View) -> None:
    assert view.attention is not None
    piece = view.looked.pieces[0]
    mute = replace(piece, spectrogram=piece.spectrogram[:, :0])
    blind = replace(mute, faces=np.empty((0, 48, 48, 3), np.uint8))
    blocks = {"face": view.attention.blocks["face"]}
    half = replace(view, looked=replace(view.looked, pieces=[mute]))
    half = replace(half, attention=replace(view.attention, blocks=blocks))
    assert sites(half, 0).count("<img") == 4
    none = replace(half, looked=replace(view.looked, pieces=[blind]))
    assert "words alone" in sites(replace(none, attention=None), 0)


def test_a_picture_comes_back_as_it_was() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    (again,) = images(f'<img src="{data_uri(picture)}">')
    np.testing.assert_array_equal(np.asarray(again), picture)
    assert percent(0.034) == "3.4 %"
    assert percent(0.34) == "34 %"
