"""How much a block keeps, from which its costs follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.gate import autocast
from benchmarks.inputs import BlockCase
from benchmarks.kept import kept_by
from benchmarks.shapes import QUERY_DIM, Shape


@dataclass(frozen=True)
class Sizes:
    """A block's shape and how much of its maps is kept."""

    shape: Shape
    frames: int
    samples: int
    query_dim: int
    kept: int  # rows that the selection keeps
    pairs: int  # active input–output pairs of a 3x3 kernel on them
    pooled: int  # active sites after the pool
    itemsize: int = 2

    @property
    def rows(self) -> int:
        """Rows before the selection, all sites of all frames; padded tensors keep as many."""
        return self.frames * self.shape.sites

    @property
    def pooled_rows(self) -> int:
        """Rows of the pool's output, padding included."""
        return self.frames * (self.shape.height // 2) * (self.shape.width // 2)

    def at(self, frames: int) -> Sizes:
        """The same densities with another number of frames."""
        scale = frames / self.frames
        names = ("samples", "kept", "pairs", "pooled")
        scaled = {name: round(getattr(self, name) * scale) for name in names}
        return replace(self, frames=frames, **scaled)


def sizes_of(kept: Tensor, shape: Shape, samples: int, itemsize: int) -> Sizes:
    """Sizes for maps that are kept where a mask (F, H, W) says; waits for the device."""
    active = kept.double()[:, None]
    window = active.new_ones(1, 1, 3, 3)
    pairs = int((active * torch.nn.functional.conv2d(active, window, padding=1)).sum())
    return Sizes(
        shape=shape,
        frames=kept.shape[0],
        samples=samples,
        query_dim=QUERY_DIM,
        kept=int(kept.sum()),
        pairs=pairs,
        pooled=int(torch.nn.functional.max_pool2d(active, 2).sum()),
        itemsize=itemsize,
    )


def block_sizes(case: BlockCase, shape: Shape, dtype: torch.dtype) -> Sizes:
    """Sizes of a case's block: the sites that the block itself keeps, under autocast to `dtype`."""
    with autocast(dtype, case.maps.device.type):
        kept = kept_by(case.block, case.maps, case.query, case.lengths)
    return sizes_of(kept, shape, case.lengths.shape[0], dtype.itemsize)
