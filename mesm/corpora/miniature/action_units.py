"""Facial action units: which ones an emotion moves, and how they rise and fall over a clip.

Numbers and names follow the Facial Action Coding System (Ekman, Friesen and Hager, 2002); the
combinations are its emotion prototypes, chosen so that no two emotions share one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mesm.corpora.miniature.emotions import NEUTRAL

NAMES: Final[dict[int, str]] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    22: "lip funneler",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    43: "eye closure",
}

# Intensity of each action unit at the apex, 0 to 1.
EXPRESSIONS: Final[dict[str, dict[int, float]]] = {
    NEUTRAL: {},
    "angry": {4: 1.0, 5: 0.9, 10: 0.8, 22: 0.8, 25: 0.9},
    "excited": {1: 0.9, 2: 0.9, 5: 0.5, 12: 1.0, 25: 0.8, 26: 0.6},
    "frustrated": {4: 0.9, 7: 0.9, 14: 0.9, 17: 0.9, 24: 1.0},
    "happy": {6: 1.0, 12: 1.0, 25: 0.4},
    "sad": {1: 1.0, 4: 0.4, 15: 1.0, 17: 0.3, 43: 0.5},
    "disgusted": {7: 0.6, 9: 1.0, 10: 1.0, 15: 0.6},
    "fear": {1: 1.0, 2: 0.5, 4: 0.5, 5: 1.0, 20: 1.0, 25: 0.7},
    "surprised": {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.6, 27: 1.0},
    # No prototype of the coding system: a relaxed face, with a faint smile and heavy lids.
    "calm": {12: 0.5, 43: 0.6},
}

# Weaker than this, an action unit is motion but no sign of an emotion.
VISIBLE: Final = 0.3

ONSET: Final = 0.3
OFFSET: Final = 0.25
# The face starts a little before the voice, so that the first sampled frame shows something.
LEAD: Final = 0.2


@dataclass(frozen=True)
class _Episode:
    start: float
    end: float
    peaks: Mapping[int, float]

    def strength(self, time: float) -> float:
        rise = (time - self.start) / ONSET
        fall = (self.end - time) / OFFSET
        x = float(min(max(min(rise, fall), 0.0), 1.0))
        return x * x * (3 - 2 * x)


class ExpressionTrack:
    """Intensity of every action unit as a function of time, for one clip."""

    def __init__(
        self,
        expressions: Sequence[Mapping[int, float]],
        start: float,
        end: float,
        rng: np.random.Generator,
    ) -> None:
        """Plan onset, apex and offset.

        Args:
            expressions: shown one after the other, each the intensity of its action units at the
                apex; none is a neutral face.
            start: of the utterance, in seconds.
            end: of the utterance, in seconds.
            rng: varies the apex intensities by up to 12 %.
        """
        edges = np.linspace(start - LEAD, end + 0.1, max(len(expressions), 1) + 1)
        self._episodes = [
            _Episode(
                float(edges[i]),
                float(edges[i + 1]),
                {
                    unit: min(1.0, peak * float(rng.uniform(0.88, 1.12)))
                    for unit, peak in expression.items()
                },
            )
            for i, expression in enumerate(expressions)
        ]

    def at(self, time: float) -> dict[int, float]:
        """Intensities (0 to 1) of the action units in motion at a time in seconds."""
        out: dict[int, float] = {}
        for episode in self._episodes:
            strength = episode.strength(time)
            if strength > 0:
                for unit, peak in episode.peaks.items():
                    out[unit] = max(out.get(unit, 0.0), peak * strength)
        return out
