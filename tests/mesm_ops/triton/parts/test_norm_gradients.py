from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts import persistent
from mesm_ops.triton.parts.layout import TILE, tiles_of
from mesm_ops.triton.parts.norm_gradients import norm_gradient
from mesm_ops.triton.parts.norms import Norm, norm_of
from mesm_ops.triton.parts.reductions import total
from tests.mesm_ops.triton.parts.folding import fold

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
EPS = 1e-3


def number_of(rows: int) -> Tensor:
    return torch.tensor([rows], dtype=torch.int32, device=DEVICE)


def drawn(count: int, channels: int, dtype: torch.dtype, training: bool) -> tuple[Tensor, ...]:
    """Rows and the gradient of the ReLU's output, NaN beyond the count; and a norm's vectors."""
    rows = tiles_of(count + 200) * TILE
    y = (torch.randn(rows, channels) + 0.5).to(dtype).to(DEVICE)
    grad = torch.randn(rows, channels).to(dtype).to(DEVICE)
    y[count:], grad[count:] = torch.nan, torch.nan
    weight, bias = torch.randn(channels, device=DEVICE), torch.randn(channels, device=DEVICE)
    mean, var = torch.full_like(weight, 0.3), torch.full_like(weight, 0.8)
    if training and count:
        mean = y[:count].double().mean(0).float()
        var = y[:count].double().var(0, correction=0).float()
    return y, grad, weight, bias, mean, var


def run(
    count: int, given: tuple[Tensor, ...], training: bool, out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of rows, weight and bias, by the sums that a convolution leaves."""
    y, grad, weight, bias, mean, var = given
    norm = norm_of(weight, bias, EPS)
    fold(norm, mean, var)
    sums = torch.empty(2, y.shape[1], device=DEVICE)
    of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
    partial = sums_of_tiles(grad[:count], y[:count], norm)
    total(partial, number_of(count), norm.var, EPS, sums, of_weight, of_bias)
    norm_gradient(grad, y, number_of(count), norm, sums, out, training=training)
    return out, of_weight, of_bias


def sums_of_tiles(grad: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """A convolution's float32 sums over each tile, and NaN for a tile of padding."""
    g = torch.where(y.float() * norm.scale + norm.shift <= 0, 0, grad.float())
    pairs = zip(g.split(TILE), (y.float() - norm.mean).split(TILE), strict=True)
    parts = [torch.stack([a.sum(0), (a * b).sum(0)]) for a, b in pairs if len(a)]
    return torch.stack([*parts, torch.full((2, y.shape[1]), torch.nan, device=DEVICE)])


def by_autograd(
    count: int, given: tuple[Tensor, ...], training: bool, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The same by torch, with rows in that dtype."""
    y, grad, weight, bias, mean, var = given
    wide = torch.promote_types(dtype, torch.float32)
    leaves = [y[:count].to(dtype), weight.to(wide), bias.to(wide)]
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    running = (mean.to(wide), var.to(wide))
    if dtype != torch.float64:
        z = torch.nn.functional.batch_norm(
            leaves[0], *running, *leaves[1:], training=training, momentum=0.0, eps=EPS
        )
    else:
        if training:
            running = (leaves[0].mean(0), leaves[0].var(0, correction=0))
        z = (leaves[0] - running[0]) * (running[1] + EPS).rsqrt() * leaves[1] + leaves[2]
    return torch.autograd.grad(z.relu(), leaves, grad[:count].to(dtype))


def assert_as_close_as_torch(
    got: tuple[Tensor, ...], usual: tuple[Tensor, ...], wanted: tuple[Tensor, ...]
) -> None:
    for mine, theirs, exact in zip(got, usual, wanted, strict=True):
        error, allowed = (float((t.double() - exact).abs().max()) for t in (mine, theirs))
        assert error <= max(2 * allowed, 2e-6 * float(exact.abs().max()))


@pytest.mark.parametrize(("count", "channels"), [(5, 130), (128, 64), (131, 1), (300, 7)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients(
    dtype: torch.dtype,
    training: bool,
    channels: int,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(persistent, "_MULTIPROCESSORS", 1)  # several tiles for each program
    given = drawn(count, channels, dtype, training)
    got = run(count, given, training, torch.full_like(given[0], 7))
    usual = by_autograd(count, given, training, dtype)
    wanted = by_autograd(count, given, training, torch.float64)
    assert_as_close_as_torch((got[0][:count], *got[1:]), usual, wanted)


@pytest.mark.parametrize("count", [0, 1, 128, 131])
@pytest.mark.parametrize("training", [True, False])
def test_writes_the_last_tile_and_nothing_beyond(count: int, training: bool) -> None:
    given = drawn(count, 9, torch.bfloat16, training)
    out, _, _ = run(count, given, training, torch.full_like(given[0], 7))
    end = tiles_of(count) * TILE
    assert not out[count:end].any()
    assert (out[end:] == 7).all()
    assert out[:count].isfinite().all()
    in_place, _, _ = run(count, given, training, given[1])
    assert torch.equal(in_place[:end], out[:end])
    assert in_place[end:].isnan().all()


def test_of_one_row_nothing_is_left_in_training() -> None:
    given = drawn(1, 5, torch.float32, True)
    out, of_weight, of_bias = run(1, given, True, torch.empty_like(given[0]))
    assert not of_weight.any()
    on = given[3] > 0  # the row is its mean, so the norm's output is the bias
    torch.testing.assert_close(of_bias, torch.where(on, given[1][0], 0))
    torch.testing.assert_close(out[0], torch.zeros_like(out[0]), rtol=0, atol=1e-5)


def test_two_runs_agree_bit_for_bit() -> None:
    given = drawn(300, 20, torch.float32, True)
    one, other = (run(300, given, True, torch.zeros_like(given[0])) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)
