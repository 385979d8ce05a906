"""Per frame: a = softmax(logits); keep the most attended sites until their mass reaches p.

A site is kept if the mass strictly before it, in descending order of attention and then ascending
order of sites, is < p. A kept feature is multiplied by candidates × a if weighted (Dai et al.,
2021, Eq. 2 to 4; the weight, which is 1 under uniform attention, is this library's).
"""

from __future__ import annotations

import torch
from torch import Tensor


def top_p_select(
    features: Tensor,  # (N, C)
    sites: Tensor,  # (N,)
    offsets: Tensor,  # (F + 1,)
    logits: Tensor,  # (N,)
    p: float,
    weighted: bool,
    trim: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the kept features, sites and offsets, their input rows, and the attention (N,)."""
    rows = features.shape[0]
    keep, attention = _nucleus(offsets, logits, p)

    kept_before = torch.cat([offsets.new_zeros(1), keep.cumsum(0, dtype=torch.int32)])  # (N + 1,)
    out_offsets = kept_before[offsets]
    # Each kept row writes its number at its place; all others write to one spare place.
    place = torch.where(keep, kept_before[:-1], rows).long()
    number = torch.arange(rows, device=features.device, dtype=torch.int32)
    source = torch.full((rows + 1,), -1, device=features.device, dtype=torch.int32)
    source = source.scatter(0, place, number)[: int(out_offsets[-1]) if trim else rows]

    real = source >= 0
    row = source.clamp(min=0)
    out = features[row]
    if weighted:
        out = (out.to(logits.dtype) * _scale(offsets, attention)[row, None]).to(features.dtype)
    out = torch.where(real[:, None], out, 0)
    return out, torch.where(real, sites[row], 0), out_offsets, source, attention


def top_p_select_backward(
    grad_out: Tensor,  # (N_out, C)
    features: Tensor,
    offsets: Tensor,
    out_offsets: Tensor,
    rows: Tensor,  # (N_out,)
    attention: Tensor,  # (N,)
    weighted: bool,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of features and logits."""
    real = rows >= 0
    row = rows.clamp(min=0)
    target = torch.where(real, rows, features.shape[0]).long()  # padding: one spare row
    grad = torch.where(real[:, None], grad_out, 0)
    grad_features = features.new_zeros(features.shape[0] + 1, features.shape[1])
    if not weighted:
        grad_features = grad_features.index_copy(0, target, grad)[:-1]
        return grad_features, torch.zeros_like(attention)

    wide = grad.to(attention.dtype)
    scaled = (wide * _scale(offsets, attention)[row, None]).to(features.dtype)
    grad_features = grad_features.index_copy(0, target, scaled)[:-1]

    # The softmax's gradient: a * (g - sum over the frame of a * g), g the gradient of a.
    frame = _frame_of_row(offsets, attention)
    candidates = offsets.diff().to(attention.dtype)
    candidates = torch.cat([candidates, candidates.new_zeros(1)])[frame]
    moment = (features[row].to(attention.dtype) * wide).sum(1) * candidates[row]
    moment = torch.where(real, moment, 0)
    grad_attention = attention.new_zeros(attention.shape[0] + 1).index_copy(0, target, moment)[:-1]
    pull = attention.new_zeros(offsets.shape[0]).index_add(0, frame, attention * grad_attention)
    return grad_features, attention * (grad_attention - pull[frame])


def _nucleus(offsets: Tensor, logits: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return which rows are kept, (N,) bool, and the attention, (N,)."""
    rows, counts = logits.shape[0], offsets.diff()
    # On a GPU, to ask for the longest frame would be to wait for the device.
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

    flat = row.flatten()  # what is no candidate writes to one spare row
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
