"""PyTorch's dense block, the rival; and the sparse block computed densely, the referee.

The referee knows nothing of how the sparse ops work: it convolves whole maps and masks the
result. A latency is only compared after the sparse result agreed with it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseBlock(nn.Sequential):
    """Two (3x3 convolution, batch norm, ReLU) and a 2x2 max-pool, channels-last."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def attention_logits(
    attention: Any, maps: Tensor, query: Tensor, lengths: Tensor | None
) -> Tensor:  # (F, H, W)
    """Logits of Eq. 2 at every site: score · tanh(map_proj(maps) + query_proj(query)).

    Args:
        attention: has `map_proj`, `query_proj` and `score`, as `CrossModalAttention`.
        maps: (F, C, H, W).
        query: (B, D).
        lengths: (B,) frames per sample; None: one query per frame.
    """
    projected = query @ attention.query_proj.weight.T
    if lengths is not None:
        projected = projected.repeat_interleave(lengths, dim=0)
    weight = attention.map_proj.weight[:, :, None, None]
    mapped = F.conv2d(maps, weight, attention.map_proj.bias)
    hidden = torch.tanh(mapped + projected[:, :, None, None])
    scores: Tensor = torch.einsum("fkhw,k->fhw", hidden, attention.score.weight[0].to(hidden.dtype))
    return (scores + attention.score.bias).float()


def nucleus(logits: Tensor, p: float) -> Tensor:  # (F, H, W) bool
    """Keep a site while the attention mass strictly before it, in sorted order, is below p."""
    flat = logits.flatten(1).double().softmax(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    mass = flat.gather(1, order)
    kept = (mass.cumsum(1) - mass < p) | torch.tensor(p >= 1)
    return torch.zeros_like(kept).scatter(1, order, kept).reshape(logits.shape)


def masked_block(
    block: Any,
    maps: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    kept: Tensor,
    candidates: Tensor | None = None,
) -> Tensor:  # (F, Cout, H//2, W//2)
    """The sparse block's value at the given kept sites, by whole maps and masks.

    Args:
        block: a `SparseCrossModalBlock`; only its parameters, mode and selection are read.
        maps: (F, C, H, W).
        query: (B, D).
        lengths: (B,) or None.
        kept: (F, H, W) bool, the selected sites.
        candidates: (F, H, W) bool, the sites that attention could choose from; None: all.
    """
    mask = kept[:, None]
    out = maps * mask
    if block.attention.selection == "weighted":
        logits = attention_logits(block.attention, maps, query, lengths)
        candidates = torch.ones_like(kept) if candidates is None else candidates
        logits = logits.masked_fill(~candidates, -torch.inf)
        attention = logits.flatten(1).softmax(1).reshape_as(logits)
        weight = attention * candidates.sum((1, 2), keepdim=True)
        out = (out * weight[:, None]).to(maps.dtype)
    for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2)):
        out = F.conv2d(out, conv.weight, padding=1)
        out = torch.relu(_masked_batch_norm(norm, out, kept)) * mask
    # After a ReLU zero is the least value, so inactive zeros never beat an active site.
    return F.max_pool2d(out, 2)


def pooled_mask(kept: Tensor) -> Tensor:  # (F, H//2, W//2) bool
    """Pooled sites with a kept input site."""
    return F.max_pool2d(kept.float(), 2) > 0


def _masked_batch_norm(norm: Any, maps: Tensor, kept: Tensor) -> Tensor:
    """Batch norm over the kept sites only; the running statistics stay unchanged."""
    mean, var = norm.running_mean, norm.running_var
    if norm.training:
        var, mean = torch.var_mean(maps.permute(0, 2, 3, 1)[kept].float(), dim=0, correction=0)
    scale = (norm.weight / torch.sqrt(var + norm.eps))[:, None, None]
    shifted = (maps.float() - mean[:, None, None]) * scale + norm.bias[:, None, None]
    return shifted.to(maps.dtype)


def masked_conv2d(maps: Tensor, mask: Tensor, weight: Tensor) -> Tensor:  # (F, Cout, H, W)
    """A submanifold convolution by whole maps: zero inactive sites before and after convolving."""
    return F.conv2d(maps * mask[:, None], weight, padding=1) * mask[:, None]
