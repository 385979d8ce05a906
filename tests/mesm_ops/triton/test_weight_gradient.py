"""The parts that a weight gradient is summed in; its values are in test_subm_conv2d.py too."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton import weight_gradient as module
from mesm_ops.triton.rulebook import rules_of
from tests import oracle
from tests.mesm_ops.cases import assert_close, make_case, rows_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(("programs", "least"), [(9, 512), (9 * 7, 16), (9 * 100, 1)])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.6, 1.0])
def test_equals_autograd_in_any_number_of_parts(
    programs: int, least: int, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROGRAMS", programs)
    monkeypatch.setattr(module, "_ROWS_AT_LEAST", least)
    case = make_case(3, 5, 9, 7, density, torch.float32, padding=6)
    weight = torch.zeros(4, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(len(case.x.sites), 4)
    grad[case.rows :] = torch.nan
    out = rows_of(oracle.conv(case.maps, case.mask, weight), case.mask)
    out.backward(grad[: case.rows].double())

    x = case.x
    rules = rules_of(x.sites.to(DEVICE), x.offsets.to(DEVICE), x.height, x.width)
    got = module.weight_gradient(x.features.to(DEVICE), grad.to(DEVICE), rules)
    assert_close(got.cpu(), weight.grad, "grad of weight")
    again = module.weight_gradient(x.features.to(DEVICE), grad.to(DEVICE), rules)
    assert torch.equal(got, again)


@pytest.mark.parametrize(("channels", "block"), [(1, 16), (40, 64), (128, 128), (512, 128)])
def test_block(channels: int, block: int) -> None:
    assert module.block(channels) == block
