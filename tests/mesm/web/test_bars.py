"""Predictions and costs as they are drawn: nothing that a clip brings becomes HTML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mesm import Pipeline
from mesm.inference.results import NO_FACE
from mesm.web.about import details, head
from mesm.web.bars import costs, course, flop_text, trouble, verdict
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
    assert "are reckoned" in paid
    for name, shares in view.cost.kept.items():
        assert f'"kept-{name}">{100 * sum(shares) / 3:.1f} %' in paid


def test_each_remark_is_made_once_and_can_be_followed(view: View) -> None:
    silent = replace(view.prediction, text=None, missing=("text",), faces=0, notes=(NO_FACE,))
    one = replace(view, looked=replace(view.looked, predictions=[silent]))
    drawn = verdict(one)
    assert "type what is said" in drawn
    assert "found in 0 of" in drawn
    assert "No face found" not in drawn
    looked = replace(view.looked, predictions=[silent] * 2, pieces=view.looked.pieces * 2)
    drawn = verdict(replace(view, looked=looked))  # a typed text is refused there
    assert "upload the recording&#x27;s subtitles" in drawn
    assert "type what is said" not in drawn


def test_units() -> None:
    assert flop_text(12_345_678) == "12.35 MFLOP"
    assert flop_text(1.5e9) == "1.50 GFLOP"
    assert flop_text(12) == "12 FLOP"
