"""Faces whose halves show two emotions, and sentences that say which half tells the truth.

Text or face alone cannot tell the label: the sentence has no word of feeling, and each of the two
emotions on the face is as likely as the other. Nor can a sum of what both say; the sentence must
choose where on the face to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from mesm.corpora.miniature.emotions import NEUTRAL, mood
from mesm.corpora.miniature.sentences import TOPICS
from mesm.inputs.words import split_words

Half = Literal["upper", "lower"]

HALVES: Final[tuple[Half, ...]] = ("upper", "lower")

# Brows, eyes, cheeks below the eyes and the root of the nose; all other units move mouth and chin.
_UPPER_UNITS: Final = frozenset({1, 2, 4, 5, 6, 7, 9, 43})

# As `action_units.EXPRESSIONS`, but each half alone tells its emotion at 48x48 pixels.
EXPRESSIONS_OF_HALVES: Final[dict[Half, dict[str, dict[int, float]]]] = {
    "upper": {
        NEUTRAL: {},
        "angry": {4: 1.0, 5: 1.0},
        "excited": {1: 0.9, 2: 1.0, 5: 0.6},
        "frustrated": {4: 1.0, 7: 1.0},
        "happy": {6: 1.0},
        "sad": {1: 1.0, 43: 1.0},
        "disgusted": {7: 0.6, 9: 1.0},
        "fear": {1: 1.0, 4: 0.8, 5: 1.0},
        "surprised": {1: 1.0, 2: 1.0, 5: 1.0},
    },
    "lower": {
        NEUTRAL: {},
        "angry": {10: 0.9, 22: 0.9, 25: 1.0},
        "excited": {12: 1.0, 25: 0.9, 26: 0.8},
        "frustrated": {14: 1.0, 17: 1.0, 24: 1.0},
        "happy": {12: 1.0},
        "sad": {15: 1.0, 17: 0.4},
        "disgusted": {10: 1.0, 15: 0.8},
        "fear": {20: 1.0, 25: 0.8},
        "surprised": {25: 0.6, 27: 1.0},
    },
}


def half_of(unit: int) -> Half:
    """The half of the face that an action unit moves."""
    return "upper" if unit in _UPPER_UNITS else "lower"


@dataclass(frozen=True)
class SplitFace:
    """A face of two emotions, shown at once.

    Attributes:
        upper: emotion of brows and eyes.
        lower: emotion of mouth and chin.
        named: the half that the sentence names.
    """

    upper: str
    lower: str
    named: Half

    @classmethod
    def draw(cls, emotion: str, emotions: tuple[str, ...], rng: np.random.Generator) -> SplitFace:
        """A face whose named half shows an emotion, and whose other half another one.

        Args:
            emotion: of the named half.
            emotions: that there are; the other half shows any of the others.
            rng: draws the named half and the other emotion.
        """
        others = [name for name in emotions if name != emotion]
        other = others[rng.integers(len(others))]
        # Both halves are named equally often, whatever they show: so neither is the likelier one.
        if rng.integers(2):
            return cls(emotion, other, "upper")
        return cls(other, emotion, "lower")

    @property
    def expression(self) -> Mapping[int, float]:
        """Intensity of each action unit at the apex, 0 to 1."""
        shown = EXPRESSIONS_OF_HALVES
        return MappingProxyType(shown["upper"][mood(self.upper)] | shown["lower"][mood(self.lower)])


# A sentence names two of a half's four: text encoders learn a few frequent words sooner than many.
_PARTS: Final[dict[Half, tuple[str, ...]]] = {
    "upper": ("my eyes", "my brows", "my forehead", "my eyelids"),
    "lower": ("my mouth", "my lips", "my chin", "my jaw"),
}
_PHRASES: Final = (
    "just look at {part} when I talk about {topic}",
    "watch {part} and you know about {topic}",
    "you can read it from {part} whenever {topic} comes up",
    "{topic} is written all over {part}",
    "if you want to know about {topic}, look at {part}",
    "nothing but {part} will tell you about {topic}",
    "mind {part} while I speak of {topic}",
    "as for {topic}, go by {part}",
    "believe {part} when it comes to {topic}",
    "it shows around {part} when {topic} comes up",
    "turn to {part} while we talk about {topic}",
    "only {part} can say how it went with {topic}",
)


def sentence_about(half: Half, rng: np.random.Generator) -> str:
    """A sentence that names a half of the speaker's face, and has no word of feeling.

    Args:
        half: which one.
        rng: draws words.
    """
    parts = _PARTS[half]
    phrase = _PHRASES[rng.integers(len(_PHRASES))]
    first, second = rng.permutation(len(parts))[:2]
    part, topic = f"{parts[first]} and {parts[second]}", TOPICS[rng.integers(len(TOPICS))]
    text = phrase.format(part=part, topic=topic)
    return text[0].upper() + text[1:] + "."


def words_about_halves() -> set[str]:
    """Every word that `sentence_about` may use."""
    texts = (*TOPICS, *_PARTS["upper"], *_PARTS["lower"], *_PHRASES, "and")
    return {word for text in texts for word in split_words(text.format(part="", topic=""))}
