"""Where things of different lifetimes lie in one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Use", "share_room"]

_ALIGNED = 512  # bytes, as torch's allocator for GPUs


class Use(NamedTuple):
    """So many bytes from one step to another, both included."""

    size: int
    first: int
    last: int


def share_room(uses: Sequence[Use]) -> tuple[list[int], int]:
    """Return where each use begins, and how many bytes there are; uses at one time do not overlap.

    The largest are placed first, each at the first gap that has room.
    """
    begins = [0] * len(uses)
    placed: list[int] = []
    for number in sorted(range(len(uses)), key=lambda number: -uses[number].size):
        use, begin = uses[number], 0
        for other in sorted(placed, key=lambda other: begins[other]):
            apart = uses[other].last < use.first or use.last < uses[other].first
            if apart or begins[other] + uses[other].size <= begin:
                continue
            if begin + use.size <= begins[other]:
                break
            end = begins[other] + uses[other].size
            begin = end + -end % _ALIGNED
        begins[number] = begin
        placed.append(number)
    return begins, max((b + use.size for b, use in zip(begins, uses, strict=True)), default=0)
