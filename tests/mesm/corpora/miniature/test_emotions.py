"""The writer's names are those that the rest of the miniature, and the readers, know."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from mesm.corpora import iemocap, mosei
from mesm.corpora.miniature.action_units import EXPRESSIONS
from mesm.corpora.miniature.emotions import (
    EMOTIONS,
    IEMOCAP_CODES,
    LAYOUTS,
    MODALITIES,
    MOSEI_COLUMNS,
    NEUTRAL,
    RECITED,
    Layout,
    mood,
)
from mesm.corpora.miniature.prosody import PROSODY
from mesm.corpora.miniature.sentences import sentence

ALL = {emotion for emotions in EMOTIONS.values() for emotion in emotions}


def test_the_types_name_what_the_tuples_hold():
    assert get_args(Layout) == LAYOUTS == tuple(EMOTIONS)
    assert MODALITIES == ("text", "face", "sound")


def test_readers_know_every_spelling():
    assert tuple(IEMOCAP_CODES[emotion] for emotion in EMOTIONS["iemocap"]) == iemocap.LABELS
    assert tuple(MOSEI_COLUMNS[emotion] for emotion in EMOTIONS["mosei"]) == mosei.ANSWERS


def test_face_and_voice_show_every_emotion_and_neutral():
    moods = {mood(emotion) for emotion in ALL} | {NEUTRAL}
    assert set(EXPRESSIONS) == moods
    assert set(PROSODY) == moods


def test_moods_of_a_corpus_differ_and_are_their_own():
    for emotions in EMOTIONS.values():
        moods = [mood(emotion) for emotion in emotions]
        assert len(set(moods)) == len(emotions)
        assert [mood(name) for name in moods] == moods


SAID = {e for layout, names in EMOTIONS.items() if layout not in RECITED for e in names}


@pytest.mark.parametrize("emotion", sorted(SAID | {NEUTRAL}))
def test_there_are_words_for_every_emotion(emotion):
    rng = np.random.default_rng(0)
    assert len({sentence((emotion,), rng) for _ in range(20)}) > 10
