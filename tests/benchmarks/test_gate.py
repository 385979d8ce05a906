"""The gate is only worth something if a wrong result turns it red."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.dense import masked_block, nucleus, pooled_mask
from benchmarks.gate import (
    RedGate,
    check_block,
    check_conv2d,
    check_conv2d_gradients,
    error_line,
    relative_error,
)
from benchmarks.inputs import BlockCase, block_case, smooth_maps, smooth_mask
from benchmarks.shapes import Shape
from mesm_ops import SparseFeatureMaps, subm_conv2d

SHAPE = Shape(8, 16, 8, 6)


@pytest.fixture
def case() -> BlockCase:
    return block_case(SHAPE, 0.5, torch.float32, frames=4)


@pytest.mark.parametrize("train", [False, True])
def test_green_for_the_block_as_it_is(case: BlockCase, train: bool) -> None:
    assert check_block(case, torch.float32, train) < 1e-3


def test_green_in_bfloat16() -> None:
    check_block(block_case(SHAPE, 0.5, torch.bfloat16, frames=4), torch.bfloat16, train=True)


def _spoil(case: BlockCase, name: str, change: Callable[[Any], Any]) -> None:
    right = getattr(case.block, name)
    # Set past the module, so that calls of the block itself find it too.
    object.__setattr__(case.block, name, lambda *inputs: change(right(*inputs)))


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_red_for_wrong_values(case: BlockCase, factor: float) -> None:
    def change(x: SparseFeatureMaps) -> SparseFeatureMaps:
        return SparseFeatureMaps(x.features * factor, x.sites, x.offsets, x.height, x.width)

    _spoil(case, "forward", change)
    with pytest.raises(RedGate, match="value is off"):
        check_block(case, torch.float32, train=False)


def test_red_for_wrong_sites(case: BlockCase) -> None:
    right = case.block.forward

    def keep_more(*inputs: Any) -> Any:
        case.block.p = 0.9
        try:
            return right(*inputs)
        finally:
            case.block.p = 0.5

    object.__setattr__(case.block, "forward", keep_more)
    with pytest.raises(RedGate, match="kept or dropped wrongly"):
        check_block(case, torch.float32, train=False)


def test_red_for_a_wrong_gradient(case: BlockCase) -> None:
    # The referee reads the same parameter after it, so only the sparse run is spoilt.
    calls = iter([1.1, 1.0])
    case.block.conv2.weight.register_hook(lambda grad: next(calls) * grad)
    with pytest.raises(RedGate, match=r"conv2\.weight is off"):
        check_block(case, torch.float32, train=True)


def test_convolution_gate() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = smooth_maps(2, SHAPE, generator)
    mask = smooth_mask(2, SHAPE, 0.5, generator)
    weight = torch.randn(16, 8, 3, 3, generator=generator)
    out = subm_conv2d(SparseFeatureMaps.from_dense(maps, mask), weight).to_dense()
    assert check_conv2d(out, maps, mask, weight) < 1e-5
    with pytest.raises(RedGate):
        check_conv2d(out.roll(1, dims=3), maps, mask, weight)


def test_gradient_gate_of_a_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = smooth_maps(2, SHAPE, generator).requires_grad_()
    mask = smooth_mask(2, SHAPE, 0.5, generator)
    weight = torch.randn(16, 8, 3, 3, generator=generator).requires_grad_()
    out = subm_conv2d(SparseFeatureMaps.from_dense(maps, mask), weight).to_dense()
    upstream = torch.randn(out.shape, generator=generator)
    grads = torch.autograd.grad(out, [maps, weight], upstream)
    found = dict(zip(("input", "weight"), grads, strict=True))
    inputs = (upstream, maps, mask, weight)
    assert check_conv2d_gradients(found, *inputs) < 1e-5
    for name in found:
        with pytest.raises(RedGate, match=f"the {name}'s gradient is off"):
            check_conv2d_gradients(found | {name: 1.1 * found[name]}, *inputs)


def test_relative_error_of_nan_is_infinite() -> None:
    assert relative_error(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")


def test_nucleus_by_hand() -> None:
    logits = torch.tensor([[[0.4, 0.3], [0.2, 0.1]]]).log()
    assert nucleus(logits, 0.5).tolist() == [[[True, True], [False, False]]]
    assert nucleus(logits, 0.4).tolist() == [[[True, False], [False, False]]]
    assert nucleus(logits, 1.0).all()


def test_referee_with_every_site_kept_is_the_dense_block(case: BlockCase) -> None:
    case.block.eval()
    case.rival.eval()
    case.block.attention.selection = "hard"
    kept = torch.ones(4, SHAPE.height, SHAPE.width, dtype=torch.bool)
    with torch.no_grad():
        ours = masked_block(case.block, case.maps, case.query, case.lengths, kept)
        assert relative_error(ours, case.rival(case.maps)) < 1e-4
    assert pooled_mask(kept).all()


@pytest.mark.parametrize("p", [0.3, 0.5, 0.9])
def test_maps_keep_a_share_of_about_p_in_clusters(p: float) -> None:
    case = block_case(Shape(16, 8, 24, 24), p, torch.float32, frames=8)
    mask = case.block.attend(case.maps, case.query, case.lengths).mask()
    assert abs(float(mask.float().mean()) - p) < 0.02
    # In salt and pepper, a kept site's right neighbour is kept with probability p.
    together = float((mask[:, :, 1:] & mask[:, :, :-1]).float().mean()) / p
    assert together > p + 0.3 * (1 - p)


def test_an_error_is_one_line_even_without_a_message() -> None:
    assert error_line(RedGate("off by 1\nmore")) == "red gate: off by 1"
    assert error_line(KeyError()) == "KeyError"
