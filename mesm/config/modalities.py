"""Which of text (t), audio (a) and video (v) a model looks at."""

from __future__ import annotations

ALL = "tav"


def parse_modalities(modalities: str) -> str:
    """The letters in the order t, a, v.

    Raises:
        ValueError: not a non-empty subset of the letters t, a, v, each at most once.
    """
    letters = set(modalities)
    if not letters or not letters <= set(ALL) or len(letters) != len(modalities):
        raise ValueError(
            f"modalities must be one of tav, ta, tv, va, t, a, v (in any order), got {modalities!r}"
        )
    return "".join(letter for letter in ALL if letter in letters)
