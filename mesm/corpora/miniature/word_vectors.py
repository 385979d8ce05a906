"""Writes synthetic word vectors for the words of the miniature corpus, in GloVe's format.

They are random numbers, not GloVe's. As in real vectors, words that are said in one mood lie near
each other and near the name of the emotion; all other words lie anywhere.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from mesm.corpora.miniature.emotions import EMOTIONS, NEUTRAL, Layout, Variant, mood
from mesm.corpora.miniature.halves import words_about_halves
from mesm.corpora.miniature.sentences import emotions_of_words
from mesm.inputs.words import split_words

FILE: Final = "glove.txt.gz"
DIM: Final = 300
_LENGTH: Final = 0.35  # deviation of a component, about that of GloVe's
_MOOD: Final = 0.55  # a word's share of its emotion's direction
_NAME: Final = 0.9  # an emotion's name's
# Real vectors lack some words, too.
_LEFT_OUT: Final = frozenset({"lease"})


def write_word_vectors(
    root: Path,
    seed: int,
    variant: Variant = "hints",
    layout: Layout = "iemocap",
    texts: Iterable[str] = (),
) -> None:
    """Write the file: one line per word, sorted, gzip without a time stamp.

    Args:
        root: of the corpus.
        seed: of the corpus; the numbers drawn here have a stream of their own.
        variant: of the corpus; decides which words there are.
        layout: of the corpus, whose emotions' names get vectors too.
        texts: that its speakers recite; their words have no mood.
    """
    rng = np.random.default_rng([seed, 5])
    words = emotions_of_words()
    if variant == "where":
        words |= {word: frozenset[str]() for word in words_about_halves() - words.keys()}
    recited = {word for text in texts for word in split_words(text)}
    words |= {word: frozenset[str]() for word in recited - words.keys()}
    named = {mood(name) for name in EMOTIONS[layout]}
    emotions = sorted(named.union(*words.values()))
    directions = {emotion: rng.normal(0, _LENGTH, DIM) for emotion in emotions}
    names = {name: frozenset({mood(name)}) for name in (*emotions, *EMOTIONS[layout])}
    lines = []
    for word, moods in sorted({**words, **names}.items()):
        share, own = (_NAME if word in names else _MOOD), rng.normal(0, _LENGTH, DIM)
        vector = own
        # A word of several moods says nothing, and neutral words have nothing in common.
        said_in = next(iter(moods)) if len(moods) == 1 else NEUTRAL
        if said_in != NEUTRAL or word == NEUTRAL:
            vector = share * directions[said_in] + (1 - share**2) ** 0.5 * own
        if word not in _LEFT_OUT:
            lines.append(f"{word} " + " ".join(f"{value:.4f}" for value in vector))
    text = "".join(line + "\n" for line in lines).encode()
    (root / FILE).write_bytes(gzip.compress(text, mtime=0))
