"""The sites that are kept of a piece, against a walk of the model; FLOPs; pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner

from mesm import Pipeline
from mesm.cli import app
from mesm.inference.cutting import Words, cut
from mesm.inference.looking import check_looks, draw_piece, flops, look
from mesm.inference.pieces import Piece
from mesm.inference.recording import open_recording


def piece_of(pipeline: Pipeline, file: Path, text: str) -> Piece:
    recording = open_recording(file)
    (piece,) = pipeline.read(recording, cut(recording, Words(text)))
    return piece


def test_kept_sites_costs_and_pictures(own_mesm: Path, films: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    piece = piece_of(pipeline, films / "film0.mp4", "so happy")
    found = look(pipeline, piece)
    with torch.inference_mode():
        kept = check_looks(pipeline).kept_sites(pipeline.batch([piece]))
    for name, blocks in kept.items():
        for mine, maps in zip(found.blocks[name], blocks, strict=True):
            np.testing.assert_array_equal(mine.kept, maps.mask().numpy())
    assert found.kept_by_all().shape == (4, 48, 48)
    assert found.kept_by_all().mean() <= min(found.kept_shares()["face"]) + 1e-9
    few = look(pipeline, piece, 0.1)
    assert few.p == 0.1
    for name, shares in found.kept_shares().items():
        assert few.kept_shares()[name][0] < shares[0]
    (sparse, dense), (sparser, same) = flops(pipeline, piece), flops(pipeline, piece, 0.1)
    assert 0 < sparser < sparse
    assert same == dense > 0
    (prediction,) = pipeline.predict([piece])
    drawn = draw_piece(found, prediction, tmp_path / "new", "film0-000")
    assert [file.name for file in drawn] == ["film0-000-faces.png", "film0-000-spectrograms.png"]
    for file in drawn:
        assert min(Image.open(file).size) > 100


def test_what_is_not_there_is_not_drawn(own_mesm: Path, films: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    piece = piece_of(pipeline, films / "film0.mp4", "so happy")
    silent = replace(piece, spectrogram=piece.spectrogram[:, :0])
    found = look(pipeline, silent)
    assert list(found.blocks) == ["face"]
    (prediction,) = pipeline.predict([silent])
    assert [file.name for file in draw_piece(found, prediction, tmp_path, "x")] == ["x-faces.png"]


def test_a_run_that_keeps_nothing_is_refused(own_single: Path, films: Path, tmp_path: Path) -> None:
    words = ["predict", own_single, films / "film0.mp4", "--pictures", tmp_path / "seen"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 2
    assert "is FE2E, and kept sites are MESM's" in done.stderr
    assert not (tmp_path / "seen").exists()
