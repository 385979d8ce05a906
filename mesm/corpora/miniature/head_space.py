"""Outlines on a head, before it is turned: laid out one by one, projected to pixels at once.

Head space: u to the right and v down, both in half face widths, the origin between eyes and nose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Points: TypeAlias = npt.NDArray[np.float64]  # (n, 2)
Values: TypeAlias = npt.NDArray[np.float64]  # (n,)
Box: TypeAlias = tuple[float, float, float, float]

_MOST_POINTS = 1024  # of one face, with room


def circle(points: int, turn: float = 2 * np.pi) -> Points:
    """Points on a unit circle, or on part of it with its end."""
    angle = np.linspace(0, turn, points, endpoint=turn < 2 * np.pi)
    return np.stack([np.cos(angle), np.sin(angle)], -1)


class Sheet:
    """Takes a face down in head space, and projects all of it at once: many small calls cost more.

    The arrays that it gives out hold head space until `project` fills them with pixels.
    """

    def __init__(self) -> None:
        self._points = np.empty((_MOST_POINTS, 2))
        self._used = 0
        self.regions: list[tuple[int, Box]] = []

    def line(self, u: npt.ArrayLike, v: npt.ArrayLike) -> Points:
        """Points from left to right and down."""
        u = np.asarray(u)
        points = self._take(len(u))
        points[:, 0], points[:, 1] = u, v
        return points

    def stroke(self, u: float, v: float, *steps: tuple[float, float], side: int = 1) -> Points:
        """Points at steps from a place, each to a side and down."""
        return self.line([u + side * aside for aside, _ in steps], [v + down for _, down in steps])

    def ring(self, u: float, v: float, ru: float, rv: float, unit: Points) -> Points:
        """A unit circle, or part of one, about a place, stretched to two radii."""
        return self.line(u + ru * unit[:, 0], v + rv * unit[:, 1])

    def between(self, u: Values, top: Values, bottom: Values) -> Points:
        """The outline that runs along the top and back along the bottom."""
        count = len(u)
        points = self._take(2 * count)
        points[:count, 0], points[count:, 0] = u, u[::-1]
        points[:count, 1], points[count:, 1] = top, bottom[::-1]
        return points

    def region(self, unit: int, u0: float, v0: float, u1: float, v1: float) -> None:
        """A box of what an action unit moves."""
        self.regions.append((unit, (u0, v0, u1, v1)))

    def project(self, projection: Callable[[Points], Points]) -> None:
        """Turn head space into pixels, in the arrays given out."""
        points = self._points[: self._used]
        points[:] = projection(points)

    def _take(self, count: int) -> Points:
        first, self._used = self._used, self._used + count
        return self._points[first : self._used]
