"""Predictions and costs as they are drawn: nothing that a clip brings becomes HTML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mesm import Pipeline
from mesm.web.about import details, head
from mesm.web.bars import costs, course, flop_text, trouble, verdict
from mesm.web.sites import percent, sites
from mesm.web.studio import Studio, View


@pytest.fixture(scope="module")
def studio(own_mesm: Path) -> Studio:
    return Studio.load(own_mesm, device="cpu")


@pytest.fixture(scope="module")
def view(studio: Studio, films: Path) -> View:
    return studio.view(studio.read(films / "film0.mp4", "<i>so</i> happy"), 0)


def test_names_and_words_are_escaped(studio: Studio, view: View) -> None:
    odd = replace(view, looked=replace(view.looked, name="<script>.mp4"))
    for drawn in (verdict(odd), trouble("<script>.mp4 is bad")):
        assert "<script>" not in drawn
        assert "&lt;script&gt;.mp4" in drawn
    assert "&lt;i&gt;so&lt;/i&gt; happy" in verdict(view)
    own = replace(studio.pipeline.trained.preprocessing, title="<b>Mine</b>", synthetic=True)
    trained = replace(studio.pipeline.trained, preprocessing=own, notes=("<u>note",))
    pipeline = Pipeline.__new__(Pipeline)
    pipeline.trained = trained
    told = Studio(pipeline, None, studio.limits)
    assert "&lt;b&gt;Mine&lt;/b&gt;" in head(told)
    assert "drawn faces" in head(told)
    assert "On people, its answers mean nothing" in head(told)
    assert "must not be used to judge people" in " ".join(head(studio).split())
    assert "&lt;u&gt;note" in details(told)


def test_figures_are_the_views(view: View) -> None:
    drawn = verdict(view)
    for name, value in view.prediction.probabilities.items():
        assert f'<b data-emotion="{name}">{100 * value:.1f} %</b>' in drawn
    assert course(view) == ""
    paid = costs(view, "MESM")
    assert flop_text(view.cost.flops) in paid
    assert "dense, reckoned" in paid
    for name, shares in view.cost.kept.items():
        assert f'"kept-{name}">{100 * sum(shares) / 3:.1f} %' in paid
    assert sites(view, 0).count("<img") == 8
    assert sites(view, 2).count("chosen") == 2


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


def test_units() -> None:
    assert flop_text(12_345_678) == "12.35 MFLOP"
    assert flop_text(1.5e9) == "1.50 GFLOP"
    assert flop_text(12) == "12 FLOP"
    assert percent(0.034) == "3.4 %"
    assert percent(0.34) == "34 %"
