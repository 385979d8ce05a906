"""Where the block's parts lie in one tensor, and what a tile is; torch alone is needed.

What the backward pass needs is kept in two tensors, whose sizes must be known where nothing runs:
they follow from shapes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...reference import SparseCrossModalBlock, SparseCrossModalBlockBackward

__all__ = ["TILE", "Layout", "book_layout", "maps_layout", "tiles_of"]

TILE = 128  # rows whose neighbours lie in one list a tap
_SCHEDULE_ROWS = 64  # fewest rows of a chunk of `parts.schedule`
_ALIGNED = 16  # bytes at which a part begins, for wide loads and for TMA

_Block = SparseCrossModalBlock | SparseCrossModalBlockBackward


def tiles_of(rows: Any) -> Any:
    """Return how many tiles hold so many rows."""
    return -(-rows // TILE)


class Layout:
    """Where parts of given shapes lie in a flat tensor of one dtype."""

    def __init__(self, itemsize: int, shapes: Mapping[str, tuple[Any, ...]]) -> None:
        each = max(1, _ALIGNED // itemsize)
        self._parts: list[tuple[str, tuple[Any, ...], tuple[Any, ...], Any]] = []
        self.size: Any = 0
        for name, shape in shapes.items():
            strides: tuple[Any, ...] = ()
            size: Any = 1
            for length in reversed(shape):
                strides = (size, *strides)
                size = size * length
            self._parts.append((name, shape, strides, self.size))
            self.size = self.size + size + -size % each

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the parts of a tensor of `size` elements, by name."""
        strided = flat.as_strided
        return {name: strided(shape, strides, at) for name, shape, strides, at in self._parts}


def maps_layout(a: _Block, keeps: bool = True) -> Layout:
    """Return the layout of what has the features' dtype: rows by position, then weights."""
    rows, channels = a.features.shape
    places = tiles_of(rows) * TILE
    middle, out = a.weight1.shape[0], a.weight2.shape[0]
    return Layout(
        a.features.dtype.itemsize,
        {
            "x": (places, channels),
            "y1": (places, middle),
            "z1": (places if keeps else 0, middle),
            "y2": (places, out),
            "packed1": (9, channels, middle),
            "packed2": (9, middle, out),
            "mapped": (a.map_weight.shape[0], channels),
        },
    )


def book_layout(a: _Block, windows: Any) -> Layout:
    """Return the layout of what is int32 or float32: who is where, and vectors of channels."""
    rows, samples = a.features.shape[0], a.query.shape[0]
    tiles = tiles_of(rows)
    middle, out = a.weight1.shape[0], a.weight2.shape[0]
    chunks = -(-rows // _SCHEDULE_ROWS) + samples
    return Layout(
        4,
        {
            "lists": (tiles, 9, TILE),
            "masks": (tiles,),
            "place": (rows,),
            "windows": (windows, 4),
            "window_of": (tiles * TILE,),
            "schedule": (4 * chunks + samples + 1,),
            "asked": (samples, a.map_weight.shape[0]),
            "scale1": (middle,),
            "shift1": (middle,),
            "scale2": (out,),
            "shift2": (out,),
        },
    )
