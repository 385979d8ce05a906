"""What the CUDA kernels of sparse_cross_modal_block take, and which way they go about it."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

# Frames that one kernel takes at once, or why it takes none, below 0 (a GroupRefusal).
QUERY = (
    "sparse_cross_modal_block_group(Tensor features, int frames, int height, int width, "
    "int middle, int columns, float p, bool weighted) -> int"
)
_SITES = 11_000  # a frame's scores and places lie in shared memory: 99 KB of it or more


def refuses(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    query: Tensor,
    lengths: Tensor | None,
    *rest: Any,
) -> str | None:
    """Why the CUDA kernels, which are for inference, do not take such arguments."""
    if rest[17] or rest[21]:
        return "it is for inference: neither training nor a gradient"
    if features.dtype not in (torch.bfloat16, torch.float16):
        return f"it takes bfloat16, float16 features, got {features.dtype}"
    weight1, weight2 = rest[5], rest[10]
    sizes = (features.shape[1], query.shape[1], weight1.shape[0], weight2.shape[0])
    if any(size % 8 for size in sizes):  # rows are copied 16 bytes at a time
        return f"it takes channels and a query that are multiples of 8, got {sizes}"
    if height * width > _SITES:
        return f"it takes maps of at most {_SITES} sites, got {height} x {width}"
    return None


# By the GroupRefusal of csrc/cuda/sparse_cross_modal_block_plan.cuh.
_NO_GROUP = {
    1: "hard selection, which convolves all of a frame whose scores are NaN",
    2: "channels are no multiples of 64",
    3: "more than 256 channels, whose weights would be read again for every few frames",
    4: "p keeps more rows of a frame than a tile has",
    5: "the kept rows of a frame do not fit into the device's shared memory",
}


def how(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    query: Tensor,
    lengths: Tensor | None,
    *rest: Any,
) -> str:
    """Say whether one kernel runs the block, and if not, why."""
    columns = (rest[5].shape[0], rest[10].shape[0])
    group = torch.ops.mesm_ops_cuda.sparse_cross_modal_block_group
    found = group(features, offsets.shape[0] - 1, height, width, *columns, *rest[15:17])
    if found > 0 and os.environ.get("MESM_OPS_CUDA_BLOCK") == "launches":
        return "a launch for each step: MESM_OPS_CUDA_BLOCK asks for it"
    if found > 0:
        return f"all steps in one kernel, groups of frames at a time ({found})"
    return f"a launch for each step: {_NO_GROUP[-found]}"
