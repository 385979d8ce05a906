"""An independent definition of the ops, on dense maps with masks.

Imports torch alone and nothing of the library. Slow and obvious; gradients by autograd.
Everywhere: maps (F, C, H, W), mask (F, H, W) bool, True where a site is active.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Attention(NamedTuple):
    map_weight: Tensor  # (k, C)
    map_bias: Tensor  # (k,)
    query_weight: Tensor  # (k, D)
    score_weight: Tensor  # (1, k)
    score_bias: Tensor  # (1,)


class ConvNorm(NamedTuple):
    weight: Tensor  # (Cout, Cin, 3, 3)
    norm_weight: Tensor  # (Cout,)
    norm_bias: Tensor
    running_mean: Tensor
    running_var: Tensor


def spread(query: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the query of each frame."""
    if lengths is None:
        return query
    return torch.cat([q.expand(n, -1) for q, n in zip(query, lengths.tolist(), strict=True)])


def score(maps: Tensor, query: Tensor, lengths: Tensor | None, attention: Attention) -> Tensor:
    """Return the logits of all sites, active or not: (F, H, W)."""
    projected = F.conv2d(maps, attention.map_weight[:, :, None, None], attention.map_bias)
    asked = F.linear(spread(query, lengths), attention.query_weight)
    hidden = torch.tanh(projected + asked[:, :, None, None])
    logits = F.conv2d(hidden, attention.score_weight[:, :, None, None], attention.score_bias)
    return logits[:, 0]


def nucleus(attention: list[float], p: float) -> list[bool]:
    """Return which sites of one frame are kept, given the masses of its candidates in order."""
    if any(a != a for a in attention) or p >= 1:
        return [True] * len(attention)
    keep = [False] * len(attention)
    before = 0.0
    for i in sorted(range(len(attention)), key=lambda i: (-attention[i], i)):
        if before >= p:
            break
        keep[i] = True
        before += attention[i]
    return keep


def select(
    maps: Tensor, mask: Tensor, logits: Tensor, p: float, selection: str
) -> tuple[Tensor, Tensor]:
    """Return the selected maps and their mask."""
    outs, masks = [torch.empty_like(maps[:0])], [mask[:0]]
    for frame, candidates, logit in zip(maps, mask, logits, strict=True):
        attention = logit[candidates].softmax(0)
        keep = torch.tensor(nucleus(attention.tolist(), p), dtype=torch.bool)
        kept = torch.zeros_like(candidates).masked_scatter(candidates, keep)
        scale = torch.ones_like(attention)
        if selection == "weighted":
            scale = attention * len(attention)
        elif selection == "straight_through":  # one, with the gradient of the weight's logarithm
            logs = logit[candidates].log_softmax(0)
            scale = 1 + (logs - logs.detach())
        factor = torch.zeros_like(logit).masked_scatter(candidates, scale)
        outs.append(torch.where(kept, frame * factor, 0)[None])
        masks.append(kept[None])
    return torch.cat(outs), torch.cat(masks)


def conv(maps: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the submanifold convolution: dense, of masked maps, masked again."""
    here = mask[:, None]
    return torch.where(here, F.conv2d(torch.where(here, maps, 0), weight, bias, padding=1), 0)


def batch_norm(
    maps: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised maps and the mean and (biased) variance used."""
    rows = maps.permute(0, 2, 3, 1)[mask]
    mean, var = running_mean, running_var
    if training and len(rows):
        mean, var = rows.mean(0), rows.var(0, correction=0)
    elif training:
        mean, var = torch.zeros_like(mean), torch.zeros_like(var)
    shape = (1, -1, 1, 1)
    out = (maps - mean.view(shape)) / (var.view(shape) + eps).sqrt()
    out = out * weight.view(shape) + bias.view(shape)
    return torch.where(mask[:, None], out.relu() if relu else out, 0), mean, var


def max_pool(maps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pooled maps and their mask."""
    filled = torch.where(mask[:, None], maps, -torch.inf)
    active = F.max_pool2d(mask[:, None].double(), 2)[:, 0] > 0
    return torch.where(active[:, None], F.max_pool2d(filled, 2), 0), active


def block(
    maps: Tensor,
    mask: Tensor,
    query: Tensor,
    lengths: Tensor | None,
    attention: Attention,
    stages: tuple[ConvNorm, ...],
    p: float,
    selection: str,
    training: bool,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a block's maps, their mask, and the mask the attention kept."""
    logits = score(maps, query, lengths, attention)
    maps, kept = select(maps, mask, logits, p, selection)
    for stage in stages:
        maps = conv(maps, kept, stage.weight)
        maps, _, _ = batch_norm(
            maps,
            kept,
            stage.norm_weight,
            stage.norm_bias,
            stage.running_mean,
            stage.running_var,
            training,
            eps,
            relu=True,
        )
    pooled, active = max_pool(maps, kept)
    return pooled, active, kept


def pairs(mask: Tensor) -> int:
    """Count the active input-output pairs of a 3 x 3 submanifold convolution."""
    active = {tuple(site) for site in mask.nonzero().tolist()}
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return sum((f, y + dy, x + dx) in active for f, y, x in active for dy, dx in steps)


FIRST_TO_MISS = (
    0,
    2,
    6,
    8,
    1,
    3,
    5,
    7,
    4,
)  # of a kernel: corners, sides, the middle


def gray_words() -> list[tuple[bool, ...]]:
    """The reflected Gray code of nine bits by its definition: reflect and prefix."""
    words: list[tuple[bool, ...]] = [()]
    for _ in FIRST_TO_MISS:
        words = [(False, *word) for word in words] + [(True, *word) for word in reversed(words)]
    return words


PLACES = {word: place for place, word in enumerate(gray_words())}


def patterns(table: Tensor) -> list[int]:
    """Each row's place in the Gray code, from a table of neighbours (rows, 9), -1: none."""
    return [PLACES[tuple(has[o] for o in FIRST_TO_MISS)] for has in (table >= 0).tolist()]


def ranks(table: Tensor, offsets: Tensor, chunk: int, chunks: int) -> tuple[list[int], Tensor]:
    """Rank rows among those of their pattern in each chunk of a frame's rows, and count them.

    Returns:
        For each row pattern * chunk + its equals before it; and of each chunk, (frames * chunks,
        512 + 16), the rows of each pattern, then those with a neighbour at each offset.
    """
    found: list[int] = []
    frames = len(offsets) - 1
    counts = torch.zeros(frames * chunks, 512 + 16, dtype=torch.int32)
    ends = offsets.tolist()
    for frame in range(frames):
        begin, end = ends[frame : frame + 2]
        for i, pattern in enumerate(patterns(table[begin:end])):
            line = counts[frame * chunks + i // chunk]
            found.append(pattern * chunk + int(line[pattern]))
            line[pattern] += 1
            line[512:521] += table[begin + i] >= 0
    return found, counts
