"""The emotions of both corpora and how their labels are spelt on disk."""

from __future__ import annotations

from typing import Final, Literal

from mesm.config.modalities import Modality
from mesm.corpora.registry import CORPORA

Layout = Literal["iemocap", "mosei"]
Variant = Literal["hints", "where"]

LAYOUTS: Final[tuple[Layout, ...]] = ("iemocap", "mosei")
VARIANTS: Final[tuple[Variant, ...]] = ("hints", "where")
# In the order in which their hints are drawn.
MODALITIES: Final = tuple(m.cue for m in (Modality.TEXT, Modality.VIDEO, Modality.AUDIO))

EMOTIONS: Final = {layout: CORPORA[layout].emotions for layout in LAYOUTS}

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
