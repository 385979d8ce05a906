"""p for one block or for all; costs counted and timed."""

from __future__ import annotations

from pathlib import Path

from mesm import Pipeline
from mesm.config.p import BlockP
from mesm.inference.looking import flops, look
from mesm.web.costs import least_p, measure, p_of_blocks, p_shown
from tests.mesm.inference.test_looking import piece_of


def test_p_of_blocks() -> None:
    both: BlockP = {"face": [0.7, 0.5, 0.5], "audio": 0.3}
    assert p_of_blocks(0.5, 0, 0.2) == p_of_blocks(both, 0, 0.2) == 0.2
    assert p_of_blocks(0.5, 2, 0.2) == [0.5, 0.2, 0.5]
    assert p_of_blocks([0.7, 0.6, 0.5], 3, 0.2) == [0.7, 0.6, 0.2]
    assert p_of_blocks(both, 1, 0.2) == {"face": [0.2, 0.5, 0.5], "audio": [0.2, 0.3, 0.3]}
    assert p_shown(0.5, 0) == p_shown(0.5, 3) == 0.5
    assert p_shown([0.7, 0.6, 0.5], 2) == p_shown([0.7, 0.6, 0.5], 0) == 0.6
    assert p_shown(both, 1) == 0.5
    assert least_p(0.5) == least_p(both) == 0.1
    assert least_p([0.7, 0.5, 0.04]) == 0.04
    assert least_p(0.001) == p_shown(0.001, 0) == 0.01
    assert both == {"face": [0.7, 0.5, 0.5], "audio": 0.3}


def test_costs_are_those_of_the_analysis(own_mesm: Path, own_single: Path, films: Path) -> None:
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    piece = piece_of(pipeline, films / "film0.mp4", "so happy")
    attention = look(pipeline, piece, 0.2)
    found = measure(pipeline, piece, 0.2, attention)
    assert (found.flops, found.dense_flops) == flops(pipeline, piece, 0.2)
    assert found.kept == attention.kept_shares()
    assert found.milliseconds > 0
    dense = measure(Pipeline.from_pretrained(own_single, "cpu"), piece)
    assert dense.flops == dense.dense_flops
    assert not dense.kept
