"""Maps with smooth structure, and blocks whose attention keeps about a share p of the sites.

How density is made: every channel of every frame is its own smooth random field (white noise,
averaged over 5x5 neighbours), rectified as maps after a ReLU are. The attention has PyTorch's
initial weights, but its score is scaled until the logits' standard deviation within a frame is
0.01. Attention is then nearly uniform: the nucleus has about a share p of the sites, namely the
sites above a threshold of a smooth field: clusters, not salt and pepper. At p = 0.5 the kept sites
leave 0.36 of the dense pairs at 24x24, 0.34 at 12x12 and 0.27 at 6x6. Each row's actual density is
measured and reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.dense import DenseBlock, attention_logits
from benchmarks.shapes import FRAMES, FRAMES_PER_SAMPLE, QUERY_DIM, Shape

LOGIT_SPREAD = 0.01
BLUR = 5


def smooth_fields(
    frames: int, channels: int, shape: Shape, generator: torch.Generator
) -> Tensor:  # (frames, channels, H, W)
    """White noise averaged over the 5x5 neighbours inside the map, of unit variance inside."""
    noise = torch.randn(frames, channels, shape.height, shape.width, generator=generator)
    mean = F.avg_pool2d(noise, BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)
    return mean * BLUR


def smooth_maps(
    frames: int, shape: Shape, generator: torch.Generator
) -> Tensor:  # (frames, Cin, H, W)
    """Rectified smooth random fields, channels-last float32."""
    fields = smooth_fields(frames, shape.in_channels, shape, generator)
    return torch.relu(fields).contiguous(memory_format=torch.channels_last)


def smooth_mask(
    frames: int, shape: Shape, density: float, generator: torch.Generator
) -> Tensor:  # (frames, H, W) bool
    """The `density` highest sites of a smooth field per frame, so clusters of an exact size."""
    field = smooth_fields(frames, 1, shape, generator).flatten(1)
    kept = field.argsort(dim=1, descending=True)[:, : round(density * shape.sites)]
    mask = torch.zeros(frames, shape.sites, dtype=torch.bool).scatter(1, kept, True)
    return mask.reshape(frames, shape.height, shape.width)


@dataclass
class ConvolutionCase:
    """Maps, the sites at which to convolve the maps, and a weight."""

    maps: Tensor  # (F, Cin, H, W), channels-last
    mask: Tensor  # (F, H, W) bool
    weight: Tensor  # (Cout, Cin, 3, 3)


def convolution_case(
    shape: Shape,
    density: float,
    dtype: torch.dtype,
    frames: int | None = None,
    device: str = "cpu",
) -> ConvolutionCase:
    """A convolution of a shape, at `density` of the sites in smooth clusters.

    Values are drawn on the CPU, so that every device is given the same; frames are by default
    as many as `FRAMES` says.
    """
    frames = FRAMES[device] if frames is None else frames
    generator = torch.Generator().manual_seed(3)
    maps = smooth_maps(frames, shape, generator).to(dtype)
    mask = smooth_mask(frames, shape, density, generator)
    fan_in = 9 * shape.in_channels
    weight = torch.randn(shape.out_channels, shape.in_channels, 3, 3, generator=generator)
    weight = (weight / fan_in**0.5).to(dtype)
    return ConvolutionCase(maps.to(device), mask.to(device), weight.to(device))


@dataclass
class BlockCase:
    """One block, its dense rival and the inputs of both."""

    block: Any
    rival: DenseBlock
    maps: Tensor  # (F, Cin, H, W), channels-last
    query: Tensor  # (B, D)
    lengths: Tensor  # (B,)


def block_case(
    shape: Shape, p: float, dtype: torch.dtype, frames: int | None = None, device: str = "cpu"
) -> BlockCase:
    """A `SparseCrossModalBlock` at p and a `DenseBlock`, with equal convolutions and norms.

    Values are drawn on the CPU, so that every device is given the same; frames are by default
    as many as `FRAMES` says.
    """
    from mesm_ops import SparseCrossModalBlock

    frames = FRAMES[device] if frames is None else frames
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    block = SparseCrossModalBlock(
        shape.in_channels, shape.out_channels, QUERY_DIM, attention_dim=shape.in_channels, p=p
    )
    rival = DenseBlock(shape.in_channels, shape.out_channels)
    with torch.no_grad():
        for sparse, dense in (
            (block.conv1, rival[0]),
            (block.norm1, rival[1]),
            (block.conv2, rival[3]),
            (block.norm2, rival[4]),
        ):
            for name, parameter in sparse.named_parameters():
                dense.get_parameter(name).copy_(parameter)
    samples = max(1, frames // FRAMES_PER_SAMPLE)
    lengths = torch.full((samples,), frames // samples)
    lengths[-1] += frames - int(lengths.sum())
    maps = smooth_maps(frames, shape, generator)
    query = torch.randn(samples, QUERY_DIM, generator=generator)
    flatten_attention(block.attention, maps, query, lengths)
    return BlockCase(
        block.to(device),
        rival.to(device),
        maps.to(dtype).to(device),
        query.to(device),
        lengths.to(device),
    )


@torch.no_grad()
def flatten_attention(attention: nn.Module, maps: Tensor, query: Tensor, lengths: Tensor) -> None:
    """Scale the score's weight until logits spread by `LOGIT_SPREAD` within a frame."""
    logits = attention_logits(attention, maps, query, lengths)
    spread = logits.flatten(1).std(dim=1).mean()
    attention.get_parameter("score.weight").mul_(LOGIT_SPREAD / spread)
