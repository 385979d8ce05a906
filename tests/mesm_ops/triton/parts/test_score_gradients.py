"""Properties of both ways through the rows, and the choice of blocks."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.score_gradients import inside_blocks, product_blocks
from tests.mesm_ops.triton.parts.selections import check_gradients, draw_selection, plan_of


@pytest.mark.parametrize("one_pass", [True, False])
def test_gradients_are_in_the_dtype_of_what_they_are_of(one_pass: bool) -> None:
    shape = ((3, 16, 4, 5), 0.8, [2, 1], 16, 6)
    case = draw_selection(*shape, torch.bfloat16, parameters=torch.float32)
    found = case.run("weighted", plan=plan_of(case, one_pass, 1))
    for name, gradient in found.items():
        assert gradient.dtype == (torch.bfloat16 if name == "features" else torch.float32)
        if name not in ("features", "logits"):
            # As autograd would: the gradient of the parameter's cast to bfloat16, cast back.
            assert torch.equal(gradient, gradient.bfloat16().float()), name


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_one_site_or_none(density: float, one_pass: bool) -> None:
    case = draw_selection((1, 2, 1, 1), density, None, 4, 3, torch.bfloat16, padding=2)
    check_gradients(case, "weighted", plan_of(case, one_pass, 1))


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("lengths", [None, [0, 0]])
def test_without_frames(lengths: list[int] | None, one_pass: bool) -> None:
    case = draw_selection((0, 3, 2, 2), 1.0, lengths, 2, 3, torch.bfloat16, padding=4)
    found = case.run("weighted", plan=plan_of(case, one_pass, 1))
    del found["logits"]
    assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("one_pass", [True, False])
def test_two_runs_agree_bit_for_bit(one_pass: bool) -> None:
    case = draw_selection((4, 64, 7, 9), 0.8, [1, 3], 64, 9, torch.bfloat16)
    plan = plan_of(case, one_pass, 1)
    one, other = (case.run("weighted", plan=plan) for _ in range(2))
    real = {"logits": case.real}
    for name, gradient in one.items():
        n = real.get(name)
        assert torch.equal(gradient[:n], other[name][:n]), name


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["weighted", "straight_through"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("channels", "size"), [(64, 24), (128, 12), (256, 6)])
def test_benchmark_channels(channels: int, size: int, dtype: torch.dtype, how: str) -> None:
    shape = (96, channels, size, size)
    case = draw_selection(shape, 0.9, [32, 0, 7, 57], channels, 768, dtype)
    check_gradients(case, how, None)


@pytest.mark.parametrize("capability", [8, 9, 10, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_blocks_are_what_a_product_takes(dtype: torch.dtype, capability: int) -> None:
    for channels in (1, 16, 64, 100, 200, 256, 512):
        for k in (1, 33, 128, 512):
            given = (dtype, channels, k, capability)
            for *blocks, warps, stages in (inside_blocks(*given), product_blocks(*given)):
                assert all(block >= 16 and block & (block - 1) == 0 for block in blocks)
                assert warps in (4, 8)
                assert stages >= 1
            rows, block_c, depth, _, stages = product_blocks(*given)
            # Every GPU has so much shared memory.
            assert stages * (rows + block_c) * depth * dtype.itemsize <= 96 << 10
