from __future__ import annotations

import math

import pytest

from mesm.corpora.miniature.action_units import EXPRESSIONS, NAMES, VISIBLE
from mesm.corpora.miniature.emotions import mood
from mesm.corpora.miniature.halves import EXPRESSIONS_OF_HALVES, HALVES


@pytest.fixture(params=["iemocap", "mosei", "meld", "ravdess", "crema_d"])
def corpus(request):
    return request.getfixturevalue(request.param)


def test_clips_have_one_frame_per_half_second(corpus):
    for truth in corpus.good:
        count = math.ceil((truth["end"] - truth["start"]) / 0.5 - 1e-9)
        times = [frame["time"] for frame in truth["frames"]]
        expected = [truth["start"] + 0.5 * i for i in range(count)]
        assert times == pytest.approx(expected, abs=1e-3)


def test_regions_lie_in_the_face_box(corpus):
    regions = 0
    for truth in corpus.good:
        for frame in truth["frames"]:
            left, top, right, bottom = frame["face_box"]
            assert bottom - top >= 100
            for unit in frame["action_units"]:
                assert unit["name"] == NAMES[unit["au"]]
                assert VISIBLE <= unit["intensity"] <= 1
                assert unit["regions"]
                for x0, y0, x1, y1 in unit["regions"]:
                    regions += 1
                    assert left - 2 <= x0 < x1 <= right + 2
                    assert top - 2 <= y0 < y1 <= bottom + 2
    assert regions > 50


def test_regions_are_tight(corpus):
    shares = []
    for truth in corpus.good:
        for frame in truth["frames"]:
            left, top, right, bottom = frame["face_box"]
            boxes = [box for unit in frame["action_units"] for box in unit["regions"]]
            area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in {tuple(b) for b in boxes})
            shares.append(area / ((right - left) * (bottom - top)))
    assert max(shares) < 0.3


def test_action_units_are_those_of_what_the_face_signals(corpus):
    seen = 0
    for truth in corpus.good:
        signalled = truth["signalled"]["face"]
        emotions = signalled.split("+") if signalled else []
        allowed = {unit for emotion in emotions for unit in EXPRESSIONS[mood(emotion)]}
        shown = {unit["au"] for frame in truth["frames"] for unit in frame["action_units"]}
        assert shown <= allowed
        if len(emotions) == 1:
            strong = {unit for unit, peak in EXPRESSIONS[mood(emotions[0])].items() if peak >= 0.5}
            assert strong <= shown
            seen += len(strong)
    assert seen > 5


def test_the_speaker_is_on_his_side(iemocap):
    for truth in iemocap.good:
        on_left = truth["clip_id"][-4] == truth["dialog"][5]
        for frame in truth["frames"]:
            assert (frame["face_box"][2] <= 240) == on_left
            assert (frame["face_box"][0] >= 240) != on_left


def test_sound_cues_lie_in_the_clip_and_below_nyquist(corpus):
    cues = 0
    for truth in corpus.good:
        for cue in truth["sound"]:
            cues += 1
            assert truth["start"] <= cue["start"] < cue["end"] <= truth["end"] + 1e-3
            assert 0 < cue["low_hz"] < cue["high_hz"] <= 8000
        if truth["signalled"]["sound"] in (None, "neutral"):
            assert truth["sound"] == []
        else:
            assert truth["sound"]
    assert cues > 5


def test_signals_fit_the_hints(corpus):
    for truth in corpus.truths:
        own = "+".join(truth["emotions"]) or "neutral"
        for modality, hint in truth["hints"].items():
            signalled = truth["signalled"][modality]
            if hint == "true":
                assert signalled == own
            elif hint == "missing":
                assert signalled is None
            else:
                assert signalled not in {*own.split("+"), None}


def test_the_named_half_is_told_and_the_half_of_every_unit(where):
    named = set()
    for truth in where.truths:
        halves = truth["where"]
        named.add(halves["named"])
        assert truth["emotions"] == [halves[halves["named"]]]
        assert truth["signalled"] == {"text": None, "face": truth["emotions"][0], "sound": None}
        assert truth["sound"] == []
        shown = {half: set() for half in HALVES}
        for frame in truth["frames"]:
            for unit in frame["action_units"]:
                shown[unit["half"]].add(unit["au"])
        for half, units in shown.items():
            strong = {
                unit
                for unit, peak in EXPRESSIONS_OF_HALVES[half][halves[half]].items()
                if peak >= 0.5
            }
            assert strong <= units <= set(EXPRESSIONS_OF_HALVES[half][halves[half]])
    assert named == set(HALVES)


def test_the_default_variant_says_nothing_of_halves(iemocap):
    for truth in iemocap.truths:
        assert "where" not in truth
        assert all("half" not in u for f in truth["frames"] for u in f["action_units"])
