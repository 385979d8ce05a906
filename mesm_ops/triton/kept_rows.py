# mypy: allow-untyped-defs
"""What top_p_select returned, once more from the rows that it kept."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["kept_rows"]

_ROWS, _BLOCK_C = 64, 64


def kept_rows(
    features: Tensor, sites: Tensor, offsets: Tensor, rows: Tensor, attention: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return features and sites of the rows that were kept, zero in padding.

    Args:
        features: (N, C).
        sites: (N,) int32.
        offsets: (F + 1,) int32, of features.
        rows: (M,) int32, each kept row's place in features; -1: padding.
        attention: (N,) float32, by which and by the frame's candidates features are multiplied;
            None: they are not.

    Returns:
        (M, C) in features' dtype, and (M,) int32.
    """
    number, channels, frames = rows.shape[0], features.shape[1], offsets.shape[0] - 1
    out, out_sites = features.new_empty(number, channels), torch.empty_like(rows)
    if number:
        weighted = attention is not None
        _kept_rows_kernel[(triton.cdiv(number, _ROWS), triton.cdiv(channels, _BLOCK_C))](
            *(features, sites, offsets, rows, attention if weighted else features, out, out_sites),
            *(number, frames, frames.bit_length(), channels, weighted, _ROWS, _BLOCK_C),
        )
    return out, out_sites


@triton.jit(do_not_specialize=["number", "frames", "steps"])
def _kept_rows_kernel(
    features,
    sites,
    offsets,
    rows,
    attention,
    out,
    out_sites,
    number,
    frames,
    steps,  # bits of frames
    channels,
    WEIGHTED: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.load(rows + place, mask=place < number, other=-1)
    real = row >= 0
    mask = real[:, None] & (c < channels)[None, :]
    x = tl.load(features + row[:, None].to(tl.int64) * channels + c[None, :], mask, 0.0)
    if tl.program_id(1) == 0:
        site = tl.load(sites + row, mask=real, other=0)
        tl.store(out_sites + place, site, mask=place < number)
    if WEIGHTED:
        # The frame: how many frames end at the row or before it.
        low = row * 0
        high = low + frames
        for _ in range(steps):
            middle = (low + high) // 2
            searching = real & (low < high)
            end = tl.load(offsets + middle + 1, mask=searching, other=0)
            low, high = (
                tl.where(searching & (end <= row), middle + 1, low),
                tl.where(searching & (end > row), middle, high),
            )
        candidates = tl.load(offsets + low + 1, mask=real, other=0)
        candidates -= tl.load(offsets + low, mask=real, other=0)
        scale = candidates.to(tl.float32) * tl.load(attention + row, mask=real, other=0.0)
        x = (x.to(tl.float32) * scale[:, None]).to(x.dtype)
    mask = (place < number)[:, None] & (c < channels)[None, :]
    tl.store(out + place[:, None] * channels + c[None, :], x, mask=mask)
