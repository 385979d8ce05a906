"""Which arguments the CUDA kernels of the block take, and which way they say they go."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps
from mesm_ops.ops.sparse_cross_modal_block import _arguments
from mesm_ops.ops.sparse_cross_modal_block_cuda import how, refuses


@pytest.mark.parametrize(
    ("dtype", "sizes", "change", "reason"),
    [
        (torch.bfloat16, (8, 16, 24), {}, None),
        (torch.float32, (8, 16, 24), {}, "it takes bfloat16, float16 features, got torch.float32"),
        (torch.bfloat16, (8, 16, 24), {"training": True}, "it is for inference: neither"),
        (torch.bfloat16, (8, 16, 24), {"grad": True}, "it is for inference: neither"),
        (torch.float16, (8, 12, 24), {}, r"multiples of 8, got \(8, 24, 12, 12\)"),
        (torch.float16, (8, 16, 20), {}, r"multiples of 8, got \(8, 20, 16, 16\)"),
        (torch.float16, (8, 16, 24), {"height": 5501}, "at most 11000 sites, got 5501 x 2"),
    ],
)
def test_what_the_cuda_kernels_refuse(
    dtype: torch.dtype, sizes: tuple[int, int, int], change: dict[str, int], reason: str | None
) -> None:
    channels, out, query_dim = sizes
    with torch.device("meta"):
        block = SparseCrossModalBlock(channels, out, query_dim, 4).to(dtype)
        block.train(bool(change.get("training"))).requires_grad_(bool(change.get("grad")))
        maps = torch.empty(2, channels, change.get("height", 2), 2, dtype=dtype)
        query = torch.empty(2, query_dim, dtype=dtype)
        x = SparseFeatureMaps.from_dense(maps)
        stages = (
            (block.conv1.weight, block.norm1.parameter_tuple(x)),
            (block.conv2.weight, block.norm2.parameter_tuple(x)),
        )
        attention = block.attention.parameter_tuple()
        args = _arguments(x, query, None, attention, stages, 0.5)
    found = refuses(args)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(reason, found), found


@pytest.mark.parametrize(
    ("found", "asked", "said"),
    [
        (2, None, "all steps in one kernel, groups of frames at a time (2)"),
        (2, "launches", "a launch for each step: MESM_OPS_CUDA_BLOCK asks for it"),
        (-1, None, "a launch for each step: hard selection"),
        (-3, None, "a launch for each step: more than 256 channels"),
        (-5, "launches", "a launch for each step: the kept rows of a frame do not fit"),
    ],
)
def test_explain_tells_which_way_the_cuda_kernels_go(
    monkeypatch: pytest.MonkeyPatch, found: int, asked: str | None, said: str
) -> None:
    """What the shared library would answer is given here; it takes a GPU to ask it."""
    given: list[tuple[Any, ...]] = []

    def group(*args: Any) -> int:
        given.append(args)
        return found

    namespace = SimpleNamespace(sparse_cross_modal_block_group=group)
    monkeypatch.setattr(torch.ops, "mesm_ops_cuda", namespace)
    monkeypatch.delenv("MESM_OPS_CUDA_BLOCK", raising=False)
    if asked:
        monkeypatch.setenv("MESM_OPS_CUDA_BLOCK", asked)
    block = SparseCrossModalBlock(8, 16, 24, 4)
    x = SparseFeatureMaps.from_dense(torch.randn(3, 8, 4, 6))
    stages = (
        (block.conv1.weight, block.norm1.parameter_tuple(x)),
        (block.conv2.weight, block.norm2.parameter_tuple(x)),
    )
    attention = block.attention.parameter_tuple()
    args = _arguments(x, torch.randn(3, 24), None, attention, stages, 0.3)
    assert how(args).startswith(said)
    assert given[0][1:] == (3, 4, 6, 16, 16, 0.3, True)
