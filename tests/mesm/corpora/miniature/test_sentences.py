from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from mesm.corpora.miniature.emotions import EMOTIONS, RECITED
from mesm.corpora.miniature.sentences import sentence

FREE = [layout for layout in EMOTIONS if layout not in RECITED]
ALL = sorted({emotion for layout in FREE for emotion in EMOTIONS[layout]})


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def test_several_hundred_distinct_sentences_per_emotion():
    rng = np.random.default_rng(0)
    for emotion in ALL:
        assert len({sentence((emotion,), rng) for _ in range(600)}) > 400


def test_vocabulary_is_not_trivial():
    rng = np.random.default_rng(0)
    seen = Counter(w for e in ALL for _ in range(300) for w in words(sentence((e,), rng)))
    assert len(seen) > 250


@pytest.mark.parametrize("layout", FREE)
def test_words_hint_at_the_emotion(layout):
    rng = np.random.default_rng(0)
    emotions = EMOTIONS[layout]
    counts = {
        e: Counter(w for _ in range(300) for w in words(sentence((e,), rng))) for e in emotions
    }

    def guess(text):
        scores = {
            e: sum(np.log((c[w] + 0.5) / (c.total() + 100)) for w in words(text))
            for e, c in counts.items()
        }
        return max(scores, key=scores.get)

    right = [guess(sentence((e,), rng)) == e for e in emotions for _ in range(50)]
    assert np.mean(right) > 0.95


def test_two_emotions_give_two_clauses():
    rng = np.random.default_rng(1)
    assert all(" and " in sentence(("happy", "sad"), rng) for _ in range(20))
