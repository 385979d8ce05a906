"""Where the block's parts lie in one tensor, and what a tile is; torch alone is needed.

Two tensors keep the backward pass's inputs. Fake tensors must know their sizes, which therefore
follow from shapes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...reference import SparseCrossModalBlock, SparseCrossModalBlockBackward

__all__ = ["TILE", "Layout", "book_layout", "maps_layout", "tiles_of"]

TILE = 128  # rows of a tile; one list per tap holds the neighbours of a tile
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
        if flat.data_ptr() % _ALIGNED:  # a saved tensor may come back anywhere
            flat = flat.clone()
        start, strided = flat.storage_offset(), flat.as_strided
        return {
            name: strided(shape, strides, start + at) for name, shape, strides, at in self._parts
        }


def maps_layout(a: _Block, keeps: bool = True) -> Layout:
    """Return the layout of the parts in the features' dtype: rows by position, then weights.

    Args:
        a: The arguments of the block or of its backward pass.
        keeps: Whether a backward pass follows, which reads the norms' inputs.
    """
    rows, channels = a.features.shape
    positions = tiles_of(rows) * TILE
    middle, out = a.weight1.shape[0], a.weight2.shape[0]
    return Layout(
        a.features.dtype.itemsize,
        {
            "x": (positions, channels),
            "y1": (positions, middle),
            "z1": (positions if keeps else 0, middle),
            "y2": (positions, out),
            "packed1": (9, channels, middle),
            "packed2": (9, middle, out),
            "mapped": (a.map_weight.shape[0], channels),
        },
    )


def book_layout(a: _Block, windows: Any) -> Layout:
    """Return the layout of the int32 and float32 parts: rows, neighbours, vectors of channels.

    Args:
        a: The arguments of the block or of its backward pass.
        windows: The most windows of the pool.
    """
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
            "projected_query": (samples, a.map_weight.shape[0]),
            "scale1": (middle,),
            "shift1": (middle,),
            "scale2": (out,),
            "shift2": (out,),
        },
    )
