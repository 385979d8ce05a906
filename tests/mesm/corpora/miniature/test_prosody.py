"""Manners of speaking: what a synthesiser may rely on, and what tells emotions apart."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from mesm.corpora.miniature.emotions import NEUTRAL
from mesm.corpora.miniature.prosody import PROSODY, Shape, accent_shape
from mesm.corpora.miniature.speech import SAMPLE_RATE

SPOKEN = [emotion for emotion in PROSODY if emotion != NEUTRAL]
X = np.linspace(0, 1, 101)


@pytest.mark.parametrize("emotion", PROSODY)
def test_values_are_in_their_ranges(emotion):
    manner = PROSODY[emotion]
    assert -1 <= manner.tension <= 1
    for share in (manner.breath, manner.accents, manner.creak, manner.smile):
        assert 0 <= share <= 1
    assert 0 < manner.attack <= 1
    assert manner.tempo > 0
    assert min(manner.pause, manner.jitter, manner.tremor) >= 0


def test_neutral_has_nothing_to_find():
    manner = PROSODY[NEUTRAL]
    assert manner.cue is None
    assert manner.breath_cue is None
    assert (manner.pitch, manner.swing, manner.energy, manner.tension) == (0, 0, 0, 0)


@pytest.mark.parametrize("emotion", SPOKEN)
def test_every_emotion_has_accents_in_a_band_that_can_be_heard(emotion):
    manner = PROSODY[emotion]
    assert manner.cue is not None
    assert manner.accents > 0
    low, high = manner.band
    if manner.cue == "pitch":
        # Its band follows from the pitch, which must move for it.
        assert (low, high) == (0, 0)
        assert abs(manner.swing) >= 2
    else:
        assert 0 < low < high <= SAMPLE_RATE / 2


@pytest.mark.parametrize("emotion", SPOKEN)
def test_a_breath_has_a_band_and_nothing_else_has(emotion):
    manner = PROSODY[emotion]
    low, high = manner.breath_band
    if manner.breath_cue is None:
        assert (low, high) == (0, 0)
    else:
        assert manner.breath_cue in {"sigh", "gasp", "laugh"}
        assert 0 < low < high <= SAMPLE_RATE / 2


@pytest.mark.parametrize("emotion", SPOKEN)
def test_a_fall_falls_and_a_rise_rises(emotion):
    manner = PROSODY[emotion]
    moved = manner.swing * accent_shape(manner.shape, X)
    assert moved[0] == 0
    if manner.shape == "fall":
        assert (np.diff(moved) < 0).all()
    elif manner.shape == "rise":
        assert (np.diff(moved) > 0).all()
    else:
        assert np.ptp(moved) > 0


def test_no_two_manners_share_the_accents_and_the_breath():
    signs = [(manner.shape, manner.cue, manner.breath_cue) for manner in PROSODY.values()]
    assert len(set(signs)) == len(signs)


@pytest.mark.parametrize(
    ("shape", "at_quarters"),
    [
        ("flat", (0, 0, 0, 0, 0)),
        ("rise", (0, 0.25, 0.5, 0.75, 1)),
        ("fall", (0, 0.25, 0.5, 0.75, 1)),
        ("arch", (0, 0.5**0.5, 1, 0.5**0.5, 0)),
        ("wave", (0, 1, 0, -1, 0)),
    ],
)
def test_shapes(shape, at_quarters):
    x = np.linspace(0, 1, 5)
    np.testing.assert_allclose(accent_shape(shape, x), at_quarters, atol=1e-12)


def test_every_shape_is_used():
    assert {manner.shape for manner in PROSODY.values()} == set(get_args(Shape))
