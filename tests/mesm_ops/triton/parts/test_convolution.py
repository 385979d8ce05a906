"""The plain Triton convolution over a rulebook, in all ways that the block and the op call it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mesm_ops.triton.parts.convolution import Epilogue, convolve, partial_rows
from mesm_ops.triton.parts.norms import norm_of
from mesm_ops.triton.parts.reductions import combine
from mesm_ops.triton.parts.rulebook import Rulebook
from mesm_ops.triton.parts.tiles import TILE
from tests.mesm_ops.cases import TOLERANCES
from tests.mesm_ops.triton.parts.rules import Rules, convolved, make_rules

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SUMS = 1e-4  # float32 sums of up to a thousand values


def on_device(rules: Rules) -> Rulebook:
    lists, masks = (torch.from_numpy(t).to(DEVICE) for t in (rules.lists, rules.masks))
    return Rulebook(
        lists, masks, torch.tensor([rules.rows], dtype=torch.int32, device=DEVICE), None
    )


def close(got: torch.Tensor, want: np.ndarray, dtype: torch.dtype) -> bool:
    error = np.abs(got.double().cpu().numpy() - want).max(initial=0)
    return bool(error <= 2 * TOLERANCES[dtype][0] * max(1.0, np.abs(want).max(initial=0)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("epilogue", list(Epilogue))
@pytest.mark.parametrize(("cin", "cout"), [(64, 128), (5, 3), (40, 72)])
def test_equals_the_products(
    dtype: torch.dtype, transposed: bool, epilogue: Epilogue, cin: int, cout: int
) -> None:
    rng = np.random.default_rng(cin + cout)
    rules = make_rules(7, 7, 9, 0.5, rng)
    shape = (9, cout, cin) if transposed else (9, cin, cout)
    weight = torch.from_numpy(rng.standard_normal(shape) * 0.1).to(dtype)
    x, before = (torch.from_numpy(rules.filled(c, rng)).to(dtype) for c in (cin, cout))
    x[rules.rows :] = torch.nan  # no list names them
    scale = torch.from_numpy(rng.standard_normal(cout).astype(np.float32))
    shift = torch.from_numpy(rng.standard_normal(cout).astype(np.float32) * 0.2)
    middle = torch.from_numpy(rng.standard_normal(cout).astype(np.float32))
    out = torch.full((len(x), cout), torch.nan, dtype=dtype, device=DEVICE)
    size = partial_rows(len(x), torch.device(DEVICE))
    partial = torch.full((size, 2, cout), torch.nan, device=DEVICE)
    written = convolve(
        *(x.to(DEVICE), on_device(rules), weight.to(DEVICE), out),
        transposed=transposed,
        epilogue=epilogue,
        scale=scale.to(DEVICE),
        shift=shift.to(DEVICE),
        middle=middle.to(DEVICE),
        before=before.to(DEVICE),
        partial=partial,
    )
    want = convolved(rules, x.double().numpy(), weight.double().numpy(), transposed)
    if epilogue == Epilogue.NORM:
        want = np.maximum(want * scale.numpy() + shift.numpy(), 0)
    assert close(out[: rules.rows], want, dtype)
    assert not out[rules.rows : rules.tiles * TILE].any()
    assert out[rules.tiles * TILE :].isnan().all()
    seen = out[: rules.rows].double().cpu()
    if epilogue == Epilogue.MOMENTS:
        norm = norm_of(torch.ones(cout, device=DEVICE), torch.zeros(cout, device=DEVICE), 1e-5)
        number = torch.tensor([rules.rows], dtype=torch.int32, device=DEVICE)
        combine(partial, written.number, number, norm, centred=written.centred)
        assert (norm.mean.cpu() - seen.mean(0)).abs().max() <= SUMS
        assert (norm.var.cpu() - seen.var(0, correction=0)).abs().max() <= SUMS
    if epilogue == Epilogue.NORM_SUMS:
        compared = before[: rules.rows].double()
        seen = torch.where(compared * scale + shift <= 0, 0, seen)
        sums = [seen.sum(0), (seen * (compared - middle)).sum(0)]
        for got, wanted in zip(partial[: written.number].sum(0).cpu(), sums, strict=True):
            assert (got - wanted).abs().max() <= SUMS * wanted.abs().max().clamp(min=1)


@pytest.mark.parametrize("density", [0.0, 0.01, 1.0])
def test_no_few_and_all_sites(density: float) -> None:
    rng = np.random.default_rng(1)
    rules = make_rules(2, 5, 5, density, rng)
    x = torch.from_numpy(rules.filled(16, rng))
    weight = torch.from_numpy(rng.standard_normal((9, 16, 8)).astype(np.float32))
    out = torch.full((len(x), 8), torch.nan, device=DEVICE)
    convolve(x.to(DEVICE), on_device(rules), weight.to(DEVICE), out)
    assert close(out[: rules.rows], convolved(rules, x.numpy(), weight.numpy(), False), x.dtype)
