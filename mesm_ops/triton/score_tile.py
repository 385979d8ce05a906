# mypy: allow-untyped-defs
"""What the forward and the backward pass of cross_modal_score do alike to a tile of rows."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["block_of", "project", "tanh_and_slope", "tile_of"]


def block_of(size: int) -> int:
    """Return the block that takes a size: a power of two, of which tl.dot takes no less than 16."""
    return max(16, triton.next_power_of_2(size))


def tile_of(rows: int, samples: int, most: int) -> int:
    """Return the rows of a tile: few where samples have few, so that tiles are not empty."""
    each = rows // max(samples, 1)
    return min(most, max(16, triton.next_power_of_2(each) // 2))


@triton.jit
def tanh_and_slope(x):
    """Return tanh(x) and 1 - tanh(x)^2; the exponential cannot overflow."""
    e = tl.exp(-2.0 * tl.abs(x))
    share = 1.0 / (1.0 + e)
    tanh = (1.0 - e) * share
    return tl.where(x < 0, -tanh, tanh), 4.0 * e * share * share


@triton.jit
def project(
    x_rows, map_weight, real, column, channels, k, FLIP: tl.constexpr, PRECISION: tl.constexpr,
    TILE: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Return rows of features @ map_weight[column].T, (TILE, BLOCK_K); (BLOCK_K, TILE) if FLIP."""
    row = tl.arange(0, TILE)
    total = tl.zeros((BLOCK_K, TILE) if FLIP else (TILE, BLOCK_K), tl.float32)
    for first in range(0, channels, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        some = (c < channels)[None, :]
        place = x_rows + row[:, None] * channels + c[None, :]
        x = tl.load(place, mask=real[:, None] & some, other=0.0)
        place = map_weight + column[:, None] * channels + c[None, :]
        w = tl.load(place, mask=(column < k)[:, None] & some, other=0.0).to(x.dtype)
        if FLIP:
            total = tl.dot(w, tl.trans(x), total, input_precision=PRECISION)
        else:
            total = tl.dot(x, tl.trans(w), total, input_precision=PRECISION)
    return total
