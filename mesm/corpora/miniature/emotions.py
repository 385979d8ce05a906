"""The emotions of both corpora and how their labels are spelt on disk."""

from __future__ import annotations

from typing import Final, Literal

Layout = Literal["iemocap", "mosei"]
Modality = Literal["text", "face", "sound"]

LAYOUTS: Final[tuple[Layout, ...]] = ("iemocap", "mosei")
MODALITIES: Final[tuple[Modality, ...]] = ("text", "face", "sound")

EMOTIONS: Final[dict[str, tuple[str, ...]]] = {
    "iemocap": ("angry", "excited", "frustrated", "happy", "neutral", "sad"),
    "mosei": ("angry", "disgusted", "fear", "happy", "sad", "surprised"),
}

# What a modality shows when it has nothing to say.
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
