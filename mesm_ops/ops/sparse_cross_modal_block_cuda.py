"""Which arguments the CUDA kernels of sparse_cross_modal_block take, and how they compute them."""

from __future__ import annotations

import os

import torch

from ..reference import SparseCrossModalBlock

__all__ = ["how", "refuses"]

_SITES = 11_000  # a frame's scores and compacted rows must fit into 99 KB of shared memory


def refuses(a: SparseCrossModalBlock) -> str | None:
    """Return why the CUDA kernels, which are for inference, do not take such arguments."""
    if a.training or a.keep:
        return "it is for inference: neither training nor a gradient"
    if a.features.dtype not in (torch.bfloat16, torch.float16):
        return f"it takes bfloat16, float16 features, got {a.features.dtype}"
    sizes = (a.features.shape[1], a.query.shape[1], a.weight1.shape[0], a.weight2.shape[0])
    if any(size % 8 for size in sizes):  # rows are copied 16 bytes at a time
        return f"it takes channels and a query that are multiples of 8, got {sizes}"
    if a.height * a.width > _SITES:
        return f"it takes maps of at most {_SITES} sites, got {a.height} x {a.width}"
    return None


# Indexed by GroupRefusal in csrc/cuda/sparse_cross_modal_block_plan.cuh.
_NO_GROUP = {
    1: "hard selection, which convolves all of a frame whose scores are NaN",
    2: "channels are no multiples of 64",
    3: "more than 256 channels, whose weights would be read again for every few frames",
    4: "p keeps more rows of a frame than a tile has",
    5: "the kept rows of a frame do not fit into the device's shared memory",
}


def how(a: SparseCrossModalBlock) -> str:
    """Say whether one kernel runs the block, and if not, why."""
    shape = (a.offsets.shape[0] - 1, a.height, a.width, a.weight1.shape[0], a.weight2.shape[0])
    group = torch.ops.mesm_ops_cuda.sparse_cross_modal_block_group
    found = group(a.features, *shape, a.p, a.selection.scales)
    if found > 0 and os.environ.get("MESM_OPS_CUDA_BLOCK") == "launches":
        return "a launch for each step: MESM_OPS_CUDA_BLOCK asks for it"
    if found > 0:
        return f"all steps in one kernel, groups of frames at a time ({found})"
    return f"a launch for each step: {_NO_GROUP[-found]}"
