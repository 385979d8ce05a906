"""Memory: strides, poison, and input that would be read or written outside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mesm_ops.reference import Selection
from tests.csrc.cpu import calls

HEIGHT, WIDTH = 4, 5


def strided(arg: Any) -> Any:
    """The same values, every second element of a larger buffer."""
    if not isinstance(arg, Tensor) or arg.dim() == 0:
        return arg
    apart = arg.new_empty(*arg.shape, 2)
    apart[..., 0] = arg
    return apart[..., 0]


def strided_cpp(name: str, *args: Any) -> Any:
    return calls.cpp(name, *map(strided, args))


@pytest.mark.parametrize("dtype", list(calls.TOLERANCES))
def test_strides_do_not_matter(dtype: torch.dtype) -> None:
    for shape in calls.SHAPES[:2]:
        plain = calls.all_calls(calls.cpp, shape, dtype)
        apart = calls.all_calls(strided_cpp, shape, dtype)
        for name, value in plain.items():
            assert torch.equal(value, apart[name]), name


def test_what_is_not_written_would_be_seen() -> None:
    assert torch.empty(3).isnan().all()
    results = calls.all_calls(calls.cpp, calls.SHAPES[0], torch.float32)
    assert not any(value.isnan().any() for value in results.values())


def frames(sites: list[int], offsets: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor(sites, dtype=torch.int32), torch.tensor(offsets, dtype=torch.int32)


BAD_FRAMES = {
    "offsets must begin with 0": frames([0, 1, 2], [1, 3]),
    "offsets must not descend": frames([0, 1, 2], [0, 2, 1]),
    "offsets end at 4": frames([0, 1, 2], [0, 4]),
    "sites of frame 0 must ascend": frames([0, 2, 2], [0, 3]),
    "sites of frame 1 must ascend": frames([5, -1, 2], [0, 1, 3]),
    "be from 0 to 19": frames([0, 1, HEIGHT * WIDTH], [0, 3]),
    "sites must have 3 elements": frames([0, 1], [0, 2]),
    "offsets must have frames": frames([0, 1, 2], []),
}


@pytest.mark.parametrize("message", BAD_FRAMES)
def test_bad_frames_are_refused(message: str) -> None:
    sites, offsets = BAD_FRAMES[message]
    x, weight = torch.randn(3, 2), torch.randn(4, 2, 3, 3)
    with pytest.raises(RuntimeError, match="subm_conv2d: .*" + message):
        calls.cpp("subm_conv2d", x, sites, offsets, HEIGHT, WIDTH, weight, None)
    conv = (x, sites, offsets, HEIGHT, WIDTH, weight, True, True, True)
    with pytest.raises(RuntimeError, match="subm_conv2d: .*" + message):
        calls.cpp("subm_conv2d_backward", torch.randn(3, 4), *conv)
    with pytest.raises(RuntimeError, match="sparse_max_pool2d: .*" + message):
        calls.cpp("sparse_max_pool2d", x, sites, offsets, HEIGHT, WIDTH, True)
    if "offsets" in message:
        norm = (*[torch.ones(2)] * 4, True, 1e-5, False)
        with pytest.raises(RuntimeError, match="sparse_batch_norm: .*" + message):
            calls.cpp("sparse_batch_norm", x, offsets, *norm)
        with pytest.raises(RuntimeError, match="top_p_select: .*" + message):
            calls.cpp(
                "top_p_select", x, sites, offsets, torch.zeros(3), 0.5, Selection.WEIGHTED, True
            )


@pytest.mark.parametrize("lengths", [[1, 2], [-1, 3], [2, 1, 0]])
def test_bad_lengths_are_refused(lengths: list[int]) -> None:
    _, offsets = frames([0, 1, 2], [0, 2, 3])
    x, query, weight = torch.randn(3, 2), torch.randn(2, 6), torch.randn(4, 2)
    args = (weight, torch.zeros(4), torch.randn(4, 6), torch.randn(1, 4), torch.zeros(1))
    with pytest.raises(RuntimeError, match="cross_modal_score: lengths must"):
        calls.cpp("cross_modal_score", x, offsets, query, torch.tensor(lengths), *args)


@pytest.mark.parametrize("row", [-2, 3, 2**31 - 1])
def test_rows_of_another_op_are_refused(row: int) -> None:
    argmax = torch.tensor([[row]], dtype=torch.int32)
    with pytest.raises(RuntimeError, match="argmax must be -1 or a row from 0 to 2"):
        calls.cpp("sparse_max_pool2d_backward", torch.ones(1, 1), argmax, 3)
    rows, offsets = frames([row], [0, 3])
    args = (offsets, frames([], [0, 1])[1], rows, torch.ones(3), Selection.WEIGHTED)
    with pytest.raises(RuntimeError, match="rows must be those of top_p_select"):
        calls.cpp("top_p_select_backward", torch.ones(1, 2), torch.ones(3, 2), *args)


def test_float16_is_refused_by_name() -> None:
    sites, offsets = frames([0, 1, 2], [0, 3])
    with pytest.raises(RuntimeError, match="float32, bfloat16 or float64 features, got Half"):
        calls.cpp("sparse_max_pool2d", torch.ones(3, 2).half(), sites, offsets, 4, 5, True)


def test_far_apart_sites_need_no_memory_for_the_map() -> None:
    height = width = 46_000  # one int32 per site of this map would be 8 GB
    sites, offsets = frames([0, 1, width, width + 1, height * width - 1], [0, 5])
    x, weight = torch.ones(5, 1), torch.ones(1, 1, 3, 3)
    out = calls.cpp("subm_conv2d", x, sites, offsets, height, width, weight, None)
    assert out.flatten().tolist() == [4, 4, 4, 4, 1]
    pooled = calls.cpp("sparse_max_pool2d", x, sites, offsets, height, width, True)
    assert pooled[1].tolist() == [0, (height // 2) * (width // 2) - 1]
