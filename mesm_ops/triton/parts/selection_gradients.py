# mypy: allow-untyped-defs
"""The selection's gradient: from kept rows, in the order of the convolutions, to candidate rows.

A program takes a frame. First the program stores the position of each kept row at its candidate
row, in memory that no other program touches.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .sizes import block_of, cdiv, programs_of

__all__ = ["grad_attention", "scatter_kept_rows"]

_BLOCK = 512  # rows at a time where no channels are read
_PADDING_PROGRAMS = 128  # the most programs that write padding


def grad_attention(
    grad_x: Tensor,
    features: Tensor,
    offsets: Tensor,
    rows: Tensor,
    kept_offsets: Tensor,
    place: Tensor,
    attention: Tensor,
    grad_logits: Tensor,
    position_of: Tensor,
    factor: Tensor | None,
    moments: Tensor | None = None,
) -> None:
    """Write the gradient of the logits through the softmax of each frame.

    With a the attention of a candidate and m = <gradient of x, x> of a kept row, otherwise 0, a
    logit's gradient is m - a * (the frame's sum of m). For features scaled by candidates * a this
    gradient is the softmax's; for unscaled features, the straight-through gradient of the scores by
    which rows were selected.

    Args:
        grad_x: (T * 128, C) in features' dtype, in the order of positions.
        features: (N, C).
        offsets: (F + 1,) int32.
        rows: (N,) int32, the candidate row of each kept row.
        kept_offsets: (F + 1,) int32.
        place: (N,) int32, the position of each kept row.
        attention: (N,) float32.
        grad_logits: (N,) float32, written; not in padding, as the two that follow.
        position_of: (N,) int32, written: the position of each candidate row, -1 if not kept.
        factor: (N,) float32, written: the scale of kept features, 0 in other rows; None: features
            were not scaled.
        moments: (parts, T * 128) float32, of which m is the sum over parts; None: computed here.
    """
    frames, channels = offsets.shape[0] - 1, features.shape[1]
    if frames:
        block_c = min(block_of(channels), 256)
        launch(
            _grad_attention_kernel,
            (frames,),
            *(grad_x, features, offsets, rows, kept_offsets, place, attention, grad_logits),
            *(position_of, factor, moments, grad_x.shape[0]),
            PARTS=0 if moments is None else len(moments),
            C=channels,
            TILE=8192 // block_c,
            BLOCK_C=block_c,
            BLOCK=_BLOCK,
            num_warps=8,
        )


def scatter_kept_rows(
    grad_x: Tensor,
    offsets: Tensor,
    rows: Tensor,
    kept_offsets: Tensor,
    place: Tensor,
    position_of: Tensor,
    grad_features: Tensor,
) -> None:
    """Write the gradient of features that were selected and not scaled.

    Args:
        grad_x: (T * 128, C), as all that follow in `grad_attention`.
        offsets: (F + 1,) int32.
        rows: (N,) int32.
        kept_offsets: (F + 1,) int32.
        place: (N,) int32.
        position_of: (N,) int32, scratch.
        grad_features: (N, C), written: zero in rows that were not kept and in padding.
    """
    number, channels = grad_features.shape
    frames = offsets.shape[0] - 1
    if number:
        block_c = min(block_of(channels), 256)
        tile = 4096 // block_c
        # Few frames of many rows are split; each part takes the kept rows among its own rows.
        parts = max(1, min(programs_of(offsets.device, 8) // max(frames, 1), number // tile // 4))
        paddings = min(_PADDING_PROGRAMS, cdiv(number, tile))
        launch(
            _scatter_kernel,
            (frames * parts + paddings,),
            *(grad_x, offsets, rows, kept_offsets, place, position_of, grad_features),
            *(number, frames, parts, paddings),
            C=channels,
            TILE=tile,
            BLOCK_C=block_c,
            BLOCK=_BLOCK,
            num_warps=4,
        )


@triton.jit(do_not_specialize=["capacity"])
def _grad_attention_kernel(
    grad_x,
    features,
    offsets,
    rows,
    kept_offsets,
    place,
    attention,
    grad_logits,
    position_of,
    factor,
    moments,
    capacity,
    PARTS: tl.constexpr,
    C: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    frame = tl.program_id(0)
    begin, end = tl.load(offsets + frame), tl.load(offsets + frame + 1)
    kept_begin, kept_end = tl.load(kept_offsets + frame), tl.load(kept_offsets + frame + 1)
    candidates = (end - begin).to(tl.float32)
    lane, c = tl.arange(0, TILE), tl.arange(0, BLOCK_C)[None, :]
    for start in range(begin, end, BLOCK):
        row = start + tl.arange(0, BLOCK)
        tl.store(position_of + row, tl.full((BLOCK,), -1, tl.int32), row < end)
    tl.debug_barrier()

    total = tl.zeros((TILE,), tl.float32)
    for start in range(kept_begin, kept_end, TILE):
        there = start + lane < kept_end
        row = tl.load(rows + start + lane, there, 0)
        position = tl.load(place + start + lane, there, 0)
        moment = tl.zeros((TILE,), tl.float32)
        if moments is None:
            x_rows = features + row.to(tl.int64)[:, None] * C
            g_rows = grad_x + position.to(tl.int64)[:, None] * C
            for some in tl.static_range(0, C, BLOCK_C):
                mask = there[:, None] & (some + c < C)
                x = tl.load(x_rows + some + c, mask, 0.0)
                g = tl.load(g_rows + some + c, mask, 0.0)
                moment += tl.sum(x.to(tl.float32) * g.to(tl.float32), 1)
            if factor is not None:
                moment *= candidates * tl.load(attention + row, there, 0.0)
        else:
            for part in tl.static_range(PARTS):
                at = moments + part * capacity.to(tl.int64) + position
                moment += tl.load(at, there, 0.0)
        tl.store(position_of + row, position, there)
        tl.store(grad_logits + row, moment, there)
        total += moment
    pull = tl.sum(total, 0)
    tl.debug_barrier()

    for start in range(begin, end, BLOCK):
        row = start + tl.arange(0, BLOCK)
        there = row < end
        attended = tl.load(attention + row, there, 0.0)
        kept = tl.load(position_of + row, there, -1) >= 0
        moment = tl.load(grad_logits + row, kept, 0.0)
        tl.store(grad_logits + row, moment - attended * pull, there)
        if factor is not None:
            tl.store(factor + row, tl.where(kept, candidates * attended, 0.0), there)


@triton.jit(do_not_specialize=["number", "frames", "parts", "paddings"])
def _scatter_kernel(
    grad_x,
    offsets,
    rows,
    kept_offsets,
    place,
    position_of,
    grad_features,
    number,
    frames,
    parts,
    paddings,
    C: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    lane, c = tl.arange(0, TILE), tl.arange(0, BLOCK_C)[None, :]
    if program < frames * parts:
        frame, part = program // parts, program % parts
        begin, end = tl.load(offsets + frame), tl.load(offsets + frame + 1)
        kept_begin, kept_end = tl.load(kept_offsets + frame), tl.load(kept_offsets + frame + 1)
        share = tl.cdiv(end - begin, parts)
        begin += share * part
        end = tl.minimum(begin + share, end)
        for start in range(begin, end, BLOCK):
            row = start + tl.arange(0, BLOCK)
            tl.store(position_of + row, tl.full((BLOCK,), -1, tl.int32), row < end)
        tl.debug_barrier()
        for start in range(kept_begin, kept_end, BLOCK):
            kept = start + tl.arange(0, BLOCK)
            row = tl.load(rows + kept, kept < kept_end, -1)
            position = tl.load(place + kept, kept < kept_end, 0)
            tl.store(position_of + row, position, (row >= begin) & (row < end))
        tl.debug_barrier()
        for start in range(begin, end, TILE):
            row = start + lane
            position = tl.load(position_of + row, row < end, -1)
            g_rows = grad_x + position.to(tl.int64)[:, None] * C
            out = grad_features + row.to(tl.int64)[:, None] * C
            for some in tl.static_range(0, C, BLOCK_C):
                g = tl.load(g_rows + some + c, (position >= 0)[:, None] & (some + c < C), 0.0)
                tl.store(out + some + c, g, (row < end)[:, None] & (some + c < C))
    else:
        zeros = tl.zeros((TILE, BLOCK_C), grad_features.dtype.element_ty)
        begin = tl.load(offsets + frames) + (program - frames * parts) * TILE
        for start in range(begin, number, paddings * TILE):
            row = start + lane
            out = grad_features + row.to(tl.int64)[:, None] * C
            for some in tl.static_range(0, C, BLOCK_C):
                tl.store(out + some + c, zeros, (row < number)[:, None] & (some + c < C))
