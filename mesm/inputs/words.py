"""Sentences to words, as GloVe's vectors were trained on them."""

from __future__ import annotations

import re

# Letters and digits, with apostrophes, hyphens and points only between them.
_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
# The endings that the Penn Treebank splits off: can't -> ca n't, she's -> she 's.
_CONTRACTION = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ll|ve))", re.IGNORECASE)


def split_words(text: str) -> list[str]:
    """Split a transcript into words.

    Punctuation is dropped, letters keep their case, contractions are split as in the Penn Treebank
    ("can't" to "ca" and "n't"), because GloVe's training text was.

    Args:
        text: any text; may give no word at all.
    """
    words: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group().replace("’", "'")
        parts = _CONTRACTION.fullmatch(word)
        words.extend(parts.groups() if parts else (word,))
    return words
