"""A figure of a real recording against the one that is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Check:
    """A stage of a recording: its worst difference, and the largest that is right."""

    recording: str
    stage: str
    worst: float
    bound: float

    @property
    def right(self) -> bool:
        """Whether the difference is within its bound; NaN is not."""
        return self.worst <= self.bound

    def line(self) -> str:
        """The check in words."""
        verdict = "ok" if self.right else "WRONG"
        figures = f"{self.worst:9.2g} <= {self.bound:g}"
        return f"{self.recording:26s} {self.stage:24s} {figures} {verdict}"


def worst(found: ArrayLike, wanted: ArrayLike, least: float = 1.0) -> float:
    """The largest difference as a share of the value or of `least`; absolute where that is 0.

    Infinite where shapes or gaps differ.
    """
    got, right = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if got.shape != right.shape or (np.isnan(got) != np.isnan(right)).any():
        return float("inf")
    scale = np.maximum(np.abs(right), least) if least else 1.0
    return float(np.nanmax(np.abs(got - right) / scale, initial=0.0))
