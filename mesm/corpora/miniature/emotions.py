"""The emotions of the corpora, how their labels are spelt on disk, and the moods they stand for."""

from __future__ import annotations

from typing import Final, Literal

from mesm.config.modalities import Modality
from mesm.corpora.registry import CORPORA

Layout = Literal["iemocap", "mosei", "meld", "ravdess", "crema_d"]
Variant = Literal["hints", "where"]

LAYOUTS: Final[tuple[Layout, ...]] = ("iemocap", "mosei", "meld", "ravdess", "crema_d")
# Their speakers say sentences that were given to them, which cannot say where to look.
RECITED: Final[tuple[Layout, ...]] = ("ravdess", "crema_d")
VARIANTS: Final[tuple[Variant, ...]] = ("hints", "where")
# In the order in which their hints are drawn.
MODALITIES: Final = tuple(m.cue for m in (Modality.TEXT, Modality.VIDEO, Modality.AUDIO))

EMOTIONS: Final[dict[Layout, tuple[str, ...]]] = {
    layout: CORPORA[layout].emotions for layout in LAYOUTS
}

# The emotion of a modality without a hint.
NEUTRAL: Final = "neutral"

IEMOCAP_CODES: Final[dict[str, str]] = {
    "angry": "ang",
    "excited": "exc",
    "frustrated": "fru",
    "happy": "hap",
    "neutral": "neu",
    "sad": "sad",
}

MOSEI_COLUMNS: Final[dict[str, str]] = {
    "angry": "Answer.anger",
    "disgusted": "Answer.disgust",
    "fear": "Answer.fear",
    "happy": "Answer.happiness",
    "sad": "Answer.sadness",
    "surprised": "Answer.surprise",
}

_MOODS: Final[dict[str, str]] = {
    "anger": "angry",
    "disgust": "disgusted",
    "fearful": "fear",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}


def mood(emotion: str) -> str:
    """The name that an emotion has for face, voice and words, whatever its corpus calls it."""
    return _MOODS.get(emotion, emotion)
