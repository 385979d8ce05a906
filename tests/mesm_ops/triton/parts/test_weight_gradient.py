"""The plain Triton weight gradient over rows in sorted order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mesm_ops.triton.parts.finish import finish
from mesm_ops.triton.parts.reductions import total
from mesm_ops.triton.parts.tiles import TILE
from mesm_ops.triton.parts.weight_gradient import room_for_tap_tiles, tap_tiles, weight_gradient
from tests.mesm_ops.triton.parts import rules as reference
from tests.mesm_ops.triton.parts.rules import make_rules
from tests.mesm_ops.triton.parts.test_convolution import DEVICE, DTYPES, on_device

SUMS = 1e-5  # float32 sums of up to a few hundred products


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cin", "cout"), [(64, 128), (5, 3), (40, 72)])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_equals_the_products(dtype: torch.dtype, cin: int, cout: int, density: float) -> None:
    rng = np.random.default_rng(cin + cout)
    rules = make_rules(6, 7, 9, density, rng)
    x, grad = (torch.from_numpy(rules.filled(c, rng)).to(dtype) for c in (cin, cout))
    x[rules.rows :] = torch.nan  # no list names them
    book = on_device(rules)
    out = torch.full((cout, cin, 3, 3), torch.nan, device=DEVICE)
    finish(weight_gradient(x.to(DEVICE), grad.to(DEVICE), book, tap_tiles(book), out))
    want = reference.weight_gradient(rules, x.double().numpy(), grad.double().numpy())
    error = np.abs(out.flatten(2).cpu().numpy() - want).max()
    assert error <= SUMS * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("beside", [False, True])
def test_tap_tiles(beside: bool) -> None:
    rng = np.random.default_rng(0)
    rules = make_rules(60, 7, 9, 0.2, rng)
    book = on_device(rules)
    if beside:  # in the launch that adds up a norm's sums
        found, counts = room_for_tap_tiles(book)
        partial, var = torch.randn(3, 2, 11, device=DEVICE), torch.ones(11, device=DEVICE)
        sums, made = torch.empty_like(partial[0]), torch.empty(2, 11, device=DEVICE)
        total(partial, None, var, 0.0, sums, made[1], made[0], book, (found, counts))
        torch.testing.assert_close(made, partial.sum(0))
    else:
        found, counts = tap_tiles(book)
    for tap in range(9):
        has = np.nonzero(rules.masks[: rules.tiles] >> tap & 1)[0]
        assert int(counts[tap]) == len(has)
        assert found[tap, : len(has)].tolist() == has.tolist()
    assert TILE * rules.tiles >= rules.rows
