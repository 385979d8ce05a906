"""Per frame: a = softmax(logits); keep the most attended sites until their mass reaches p.

A site is kept if the mass strictly before it, in descending order of attention and then ascending
order of sites, is < p. A kept feature is multiplied by candidates × a if the selection is weighted
(Dai et al., 2021, Eq. 2 to 4; the weight w, which is 1 under uniform attention, is this library's).

A straight-through selection leaves features as they are, as the original does, and takes as the
logits' gradient that of features times w / w, where the divisor counts as a constant: the loss to
first order where kept features are scaled by a little more or less than 1. With s the product
<gradient, feature> of a kept site and 0 elsewhere, that is s - a × (the frame's sum of s).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor


class Selection(IntEnum):
    """How kept features leave the selection, and whether the logits learn from them.

    The ops pass the number. The two properties are independent, and formulas and kernels read the
    properties alone, so that a selection may learn without scaling.
    """

    HARD = 0
    WEIGHTED = 1
    STRAIGHT_THROUGH = 2

    @property
    def scales(self) -> bool:
        """Whether a kept feature is multiplied by candidates × attention."""
        return self is Selection.WEIGHTED

    @property
    def learns(self) -> bool:
        """Whether the logits get a gradient."""
        return self is not Selection.HARD


class TopPSelect(NamedTuple):
    """The arguments of `top_p_select`."""

    features: Tensor  # (N, C)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    logits: Tensor  # (N,)
    p: float
    selection: Selection
    trim: bool  # return no padding rows, so that M depends on values


class TopPSelectResult(NamedTuple):
    """The results of `top_p_select`: M rows."""

    features: Tensor  # (M, C), zero in padding
    sites: Tensor  # (M,)
    offsets: Tensor  # (F + 1,)
    rows: Tensor  # (M,) int32, the input row of each kept site; -1 in padding
    attention: Tensor  # (N,), zero in padding; the logits' dtype


class TopPSelectBackward(NamedTuple):
    """The arguments of `top_p_select_backward`."""

    grad_out: Tensor  # (M, C)
    features: Tensor  # (N, C)
    offsets: Tensor  # (F + 1,)
    out_offsets: Tensor  # (F + 1,); from here on the results of the forward pass
    rows: Tensor  # (M,)
    attention: Tensor  # (N,)
    selection: Selection


class TopPSelectGradients(NamedTuple):
    """The gradients of the arguments of these names, in their shapes and dtypes."""

    features: Tensor
    logits: Tensor  # zero unless the selection learns


def top_p_select(a: TopPSelect) -> TopPSelectResult:
    """Keep the most attended sites of each frame."""
    rows = a.features.shape[0]
    keep, attention = _nucleus(a.offsets, a.logits, a.p)

    kept_before = torch.cat([a.offsets.new_zeros(1), keep.cumsum(0, dtype=torch.int32)])  # (N + 1,)
    out_offsets = kept_before[a.offsets]
    # Stream compaction: a kept row scatters its number to its output row, all others to a spare.
    compacted = torch.where(keep, kept_before[:-1], rows).long()
    number = torch.arange(rows, device=a.features.device, dtype=torch.int32)
    source = torch.full((rows + 1,), -1, device=a.features.device, dtype=torch.int32)
    source = source.scatter(0, compacted, number)[: int(out_offsets[-1]) if a.trim else rows]

    real = source >= 0
    row = source.clamp(min=0)
    out = a.features[row]
    if a.selection.scales:
        scale = _scale(a.offsets, attention)[row, None]
        out = (out.to(a.logits.dtype) * scale).to(a.features.dtype)
    return TopPSelectResult(
        features=torch.where(real[:, None], out, 0),
        sites=torch.where(real, a.sites[row], 0),
        offsets=out_offsets,
        rows=source,
        attention=attention,
    )


def top_p_select_backward(a: TopPSelectBackward) -> TopPSelectGradients:
    """Return the gradients; padding rows take no part in them."""
    real = a.rows >= 0
    row = a.rows.clamp(min=0)
    target = torch.where(real, a.rows, a.features.shape[0]).long()  # padding: one spare row
    wide = torch.where(real[:, None], a.grad_out, 0).to(a.attention.dtype)
    grad = wide
    if a.selection.scales:
        grad = wide * _scale(a.offsets, a.attention)[row, None]
    grad_features = a.features.new_zeros(a.features.shape[0] + 1, a.features.shape[1])
    grad_features = grad_features.index_copy(0, target, grad.to(a.features.dtype))[:-1]
    if not a.selection.learns:
        return TopPSelectGradients(grad_features, torch.zeros_like(a.attention))

    frame = _frame_of_row(a.offsets, a.attention)
    moment = (a.features[row].to(a.attention.dtype) * wide).sum(1)
    if a.selection.scales:
        candidates = a.offsets.diff().to(a.attention.dtype)
        candidates = torch.cat([candidates, candidates.new_zeros(1)])[frame]
        moment = moment * candidates[row]
    moment = torch.where(real, moment, 0)
    spare = a.attention.new_zeros(a.attention.shape[0] + 1)
    of_site = spare.index_copy(0, target, moment)[:-1]
    pull = a.attention.new_zeros(a.offsets.shape[0])
    if a.selection.scales:
        # The softmax's gradient: a * (g - sum over the frame of a * g), g the gradient of a.
        pull = pull.index_add(0, frame, a.attention * of_site)
        return TopPSelectGradients(grad_features, a.attention * (of_site - pull[frame]))
    # The gradient of the logarithm of the softmax: s - a * (the frame's sum of s).
    pull = pull.index_add(0, frame, of_site)
    return TopPSelectGradients(grad_features, of_site - a.attention * pull[frame])


def _nucleus(offsets: Tensor, logits: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return which rows are kept, (N,) bool, and the attention, (N,)."""
    rows, counts = logits.shape[0], offsets.diff()
    # On a GPU, reading the longest frame's length would wait for the device.
    on_cpu = logits.device.type == "cpu"
    longest = (int(counts.max()) if counts.shape[0] else 0) if on_cpu else rows
    column = torch.arange(longest, device=logits.device, dtype=torch.int32)
    candidate = column < counts[:, None]  # (F, longest)
    row = torch.where(candidate, offsets[:-1, None] + column, rows).long()

    padded = torch.cat([logits, logits.new_full((1,), -torch.inf)])
    attention = padded[row].softmax(dim=1)
    order = attention.masked_fill(~candidate, -1).sort(dim=1, descending=True, stable=True)
    mass = order.values.to(torch.float64).cumsum(dim=1)
    before = torch.cat([mass.new_zeros(mass.shape[0], 1), mass], dim=1)[:, :-1]
    keep = torch.zeros_like(candidate).scatter(1, order.indices, (before < p) | (p >= 1))
    keep = keep | (attention.isnan() & candidate).any(dim=1, keepdim=True)

    flat = row.flatten()  # entries beyond a frame's candidates write to one spare row
    keep = torch.zeros_like(padded, dtype=torch.bool).scatter(0, flat, keep.flatten())[:-1]
    attention = torch.zeros_like(padded).scatter(0, flat, attention.flatten())[:-1]
    return keep, attention


def _scale(offsets: Tensor, attention: Tensor) -> Tensor:
    """Return candidates × attention for each row."""
    candidates = torch.cat([offsets.diff(), offsets.new_zeros(1)])
    return candidates[_frame_of_row(offsets, attention)].to(attention.dtype) * attention


def _frame_of_row(offsets: Tensor, attention: Tensor) -> Tensor:
    row = torch.arange(attention.shape[0], device=offsets.device, dtype=torch.int32)
    return torch.bucketize(row, offsets[1:], right=True)
