"""Recurrent and attention layers written out for one clip, from torch's parameters alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def lstm(module: nn.LSTM, x: Tensor, layer: int = 0, backward: bool = False) -> Tensor:
    """One direction of one layer over (T, d), step by step: (T, hidden), in the clip's order."""
    end = f"l{layer}" + ("_reverse" if backward else "")
    wx, wh = getattr(module, f"weight_ih_{end}"), getattr(module, f"weight_hh_{end}")
    bias = getattr(module, f"bias_ih_{end}") + getattr(module, f"bias_hh_{end}")
    h = c = x.new_zeros(wh.shape[1])
    steps = []
    for step in x.flip(0) if backward else x:
        i, f, g, o = (wx @ step + wh @ h + bias).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        steps.append(h)
    found = torch.stack(steps)
    return found.flip(0) if backward else found


def attend(module: nn.MultiheadAttention, queries: Tensor, seen: Tensor) -> Tensor:
    """Multi-head attention of (T, d) to (S, d)."""
    dim, heads = module.embed_dim, module.num_heads
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    q, k, v = (
        x @ weight.T + bias
        for x, weight, bias in zip((queries, seen, seen), weights, biases, strict=True)
    )
    width = dim // heads
    found = [
        torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(width), dim=1) @ v[:, part]
        for part in (slice(head * width, (head + 1) * width) for head in range(heads))
    ]
    return module.out_proj(torch.cat(found, dim=1))


def positions(length: int, dim: int) -> Tensor:
    """Sine and cosine in turns, of place / 10000^(2i/dim)."""
    table = torch.zeros(length, dim)
    for place in range(length):
        for column in range(dim):
            angle = place / 10000 ** (column // 2 * 2 / dim)
            table[place, column] = math.cos(angle) if column % 2 else math.sin(angle)
    return table
