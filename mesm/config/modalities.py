"""Text, audio and video, and how each is called where: one vocabulary for all of mesm."""

from __future__ import annotations

from enum import Enum
from typing import Literal

# Spectrograms as the models see them: see `mesm.inputs.spectrograms.chunk`.
Sound = Literal["log", "log1p"]


class Modality(Enum):
    """One of the three, in the order in which models and tables name them.

    Attributes:
        letter: in a model's `modalities`, such as "tav".
        media: as MESM's settings, checkpoints and attention call it; faces stand for the video.
        stream: as hand-crafted features and their files call it.
        cue: as a miniature corpus' ground truth calls what it planted.
        content: as manifests and messages call what a clip has or lacks.
    """

    TEXT = ("t", "text", "text", "text", "text")
    AUDIO = ("a", "audio", "audio", "sound", "sound")
    VIDEO = ("v", "face", "video", "face", "pictures")

    def __init__(self, letter: str, media: str, stream: str, cue: str, content: str) -> None:
        self.letter, self.media, self.stream, self.cue = letter, media, stream, cue
        self.content = content


# MESM's attention looks at these: everything but the text.
ATTENDED = (Modality.VIDEO, Modality.AUDIO)
ALL = "".join(modality.letter for modality in Modality)


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


def attended(modalities: str) -> list[str]:
    """Which of "face" and "audio" are among the letters of a model's modalities."""
    return [modality.media for modality in ATTENDED if modality.letter in modalities]
