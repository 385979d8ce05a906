from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts import persistent
from mesm_ops.triton.parts.layout import TILE, tiles_of
from mesm_ops.triton.parts.norm_pool import (
    norm_pool,
    norm_pool_gradient,
    norm_pool_parts,
    norm_pool_sums,
)
from mesm_ops.triton.parts.norms import Norm, norm_of
from mesm_ops.triton.parts.reductions import total
from tests.mesm_ops.triton.parts.folding import fold

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
EPS = 1e-3
Shape = tuple[int, int, int, float]  # frames, height, width, density
CASES: list[tuple[Shape, int]] = [  # and channels
    ((3, 7, 9, 0.5), 130),
    ((2, 8, 8, 1.0), 64),  # 128 rows, one tile
    ((5, 6, 11, 0.1), 5),
    ((7, 8, 10, 0.7), 64),
]
WITHOUT_WINDOWS: list[tuple[Shape, int]] = [((1, 1, 5, 1.0), 9), ((4, 3, 3, 0.0), 9)]


@dataclass
class Rows:
    """Kept rows in some order and their windows, as the selection leaves them."""

    count: int
    windows: Tensor  # (M, 4)
    window_of: Tensor  # (T * TILE,)
    out_count: int
    rows: int  # T * TILE

    @property
    def number(self) -> Tensor:
        return torch.tensor([self.count], dtype=torch.int32, device=DEVICE)

    @property
    def out_number(self) -> Tensor:
        return torch.tensor([self.out_count], dtype=torch.int32, device=DEVICE)


def make_rows(frames: int, height: int, width: int, density: float) -> Rows:
    mask = torch.rand(frames, height, width) < density
    count = int(mask.sum())
    position = torch.full(mask.shape, -1)
    position[mask] = torch.randperm(count)
    rows = tiles_of(count + 150) * TILE
    window_of = torch.full((rows,), 10**9)
    window_of[:count] = -1
    windows = []
    for frame in position:
        for y in range(0, height - 1, 2):
            for x in range(0, width - 1, 2):
                four = frame[y : y + 2, x : x + 2].flatten()
                for slot, row in enumerate(four.tolist()):
                    if row >= 0:
                        window_of[row] = 4 * len(windows) + slot
                if four.max() >= 0:
                    windows.append(four)
    senseless = torch.full((9, 4), 10**9)  # of padding, not read
    return Rows(
        count,
        torch.cat([*(four[None] for four in windows), senseless]).int().to(DEVICE),
        window_of.int().to(DEVICE),
        len(windows),
        rows,
    )


def norm(channels: int, exact: bool = False) -> Norm:
    """A norm of given statistics; if exact, scale and shift are powers of two or zero."""
    if exact:
        scale = torch.tensor([1.0, -0.5, 2.0]).repeat(channels)[:channels]
        shift = torch.tensor([0.5, -0.0]).repeat(channels)[:channels]
        empty = torch.empty(channels, device=DEVICE)
        return Norm(empty, empty, empty, empty, scale.to(DEVICE), shift.to(DEVICE), EPS)
    weight, bias, mean = (torch.randn(channels, device=DEVICE) for _ in range(3))
    var = torch.rand(channels, device=DEVICE) + 0.5
    made = norm_of(weight, bias, EPS)
    fold(made, mean, var)
    return made


def poisoned(rows: Rows, channels: int, dtype: torch.dtype) -> Tensor:
    y = torch.randn(rows.rows, channels).to(dtype)
    y[rows.count :] = torch.nan
    return y.to(DEVICE)


def pooled(z: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Maxima and their slots: a later row wins if greater, or if the first NaN."""
    windows = rows.windows[: rows.out_count].long()
    best = torch.full((rows.out_count, z.shape[1]), -1.0, dtype=torch.float64, device=z.device)
    slots = torch.full_like(best, 255, dtype=torch.uint8)
    for slot in range(4):
        row = windows[:, slot]
        value = z[row.clamp(min=0)].double()
        better = (value > best) | (value.isnan() & ~best.isnan())
        better &= (row >= 0)[:, None]
        best, slots = torch.where(better, value, best), torch.where(better, slot, slots)
    return best.to(z.dtype), slots


@pytest.mark.parametrize(("shape", "channels"), CASES + WITHOUT_WINDOWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pool_of_the_norm(
    dtype: torch.dtype,
    channels: int,
    shape: Shape,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(persistent, "_MULTIPROCESSORS", 1)  # several tiles for each program
    rows, used = make_rows(*shape), norm(channels, exact=True)
    y = poisoned(rows, channels, dtype)
    y[torch.rand(y.shape, device=DEVICE) < 0.1] = torch.nan
    y[torch.rand(y.shape, device=DEVICE) < 0.02] = torch.inf
    y[torch.rand(y.shape, device=DEVICE) < 0.2] = 1.0  # equals
    y[torch.rand(y.shape, device=DEVICE) < 0.2] = 0.0  # of which some become -0.0
    y[rows.count :] = torch.nan
    wanted, slots = pooled((y.float() * used.scale + used.shift).relu().to(dtype), rows)
    out = torch.full((len(rows.windows), channels), torch.nan, device=DEVICE).to(dtype)
    argmax = torch.full_like(out, 77, dtype=torch.uint8)
    norm_pool(y, rows.windows, rows.out_number, used, out, argmax)
    end = rows.out_count
    torch.testing.assert_close(out[:end], wanted, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(argmax[:end], slots)
    assert not out[end:].any()
    assert (argmax[end:] == 77).all()
    other = torch.full_like(out, torch.nan)
    norm_pool(y, rows.windows, rows.out_number, used, other, None)
    torch.testing.assert_close(other, out, rtol=0, atol=0, equal_nan=True)


def gradients(
    grad_out: Tensor,
    argmax: Tensor,
    y: Tensor,
    rows: Rows,
    used: Norm,
    training: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, ...]:
    """The gradients of y, weight and bias by autograd, the pool taking the argmax's rows."""
    wide = torch.promote_types(dtype, torch.float32)
    leaves = [y[: rows.count].to(dtype), used.weight.to(wide), used.bias.to(wide)]
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    running = (used.mean.to(wide), used.var.to(wide))
    if dtype != torch.float64:
        z = torch.nn.functional.batch_norm(
            leaves[0], *running, *leaves[1:], training=training, momentum=0.0, eps=EPS
        )
    else:
        if training:
            running = (leaves[0].mean(0), leaves[0].var(0, correction=0))
        z = (leaves[0] - running[0]) * (running[1] + EPS).rsqrt() * leaves[1] + leaves[2]
    winners = rows.windows[: rows.out_count].long().gather(1, argmax[: rows.out_count].long())
    out = z.relu().gather(0, winners)
    return torch.autograd.grad(out, leaves, grad_out[: rows.out_count].to(dtype))


def run(
    grad_out: Tensor, argmax: Tensor, y: Tensor, rows: Rows, used: Norm, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    channels = y.shape[1]
    partial = torch.full((norm_pool_parts(grad_out), 2, channels), torch.nan, device=DEVICE)
    norm_pool_sums(grad_out, argmax, y, rows.windows, rows.out_number, used, partial)
    sums = torch.empty(2, channels, device=DEVICE)
    of_weight, of_bias = torch.empty_like(used.weight), torch.empty_like(used.bias)
    total(partial, None, used.var, EPS, sums, of_weight, of_bias)
    out = torch.full_like(y, 7)
    norm_pool_gradient(
        grad_out, argmax, y, rows.window_of, rows.number, used, sums, out, training=training
    )
    return out, of_weight, of_bias


def drawn(
    rows: Rows, channels: int, dtype: torch.dtype, training: bool
) -> tuple[Tensor, Tensor, Tensor, Norm]:
    """Return the gradient of a pool's output, the argmax, the norm's input rows and the norm."""
    y, used = poisoned(rows, channels, dtype), norm(channels)
    if training:
        mean = y[: rows.count].double().mean(0).float()
        var = y[: rows.count].double().var(0, correction=0).float()
        fold(used, mean, var)
    out = torch.empty(len(rows.windows), channels, device=DEVICE).to(dtype)
    argmax = torch.full_like(out, 77, dtype=torch.uint8)
    norm_pool(y, rows.windows, rows.out_number, used, out, argmax)
    grad_out = torch.randn(out.shape).to(dtype).to(DEVICE)
    grad_out[rows.out_count :] = torch.nan
    return grad_out, argmax, y, used


@pytest.mark.parametrize(("shape", "channels"), CASES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients(
    dtype: torch.dtype,
    training: bool,
    channels: int,
    shape: Shape,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(persistent, "_MULTIPROCESSORS", 1)
    rows = make_rows(*shape)
    grad_out, argmax, y, used = drawn(rows, channels, dtype, training)
    given = (grad_out, argmax, y, rows, used, training)
    got = run(*given)
    usual, wanted = (gradients(*given, wide) for wide in (dtype, torch.float64))
    for mine, theirs, exact in zip((got[0][: rows.count], *got[1:]), usual, wanted, strict=True):
        error, allowed = (float((t.double() - exact).abs().max()) for t in (mine, theirs))
        assert error <= max(2 * allowed, 2e-6 * float(exact.abs().max()))
    end = tiles_of(rows.count) * TILE
    assert not got[0][rows.count : end].any()
    assert (got[0][end:] == 7).all()


@pytest.mark.parametrize(("shape", "channels"), WITHOUT_WINDOWS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_without_a_window(shape: Shape, channels: int, training: bool) -> None:
    rows = make_rows(*shape)
    y, used = poisoned(rows, channels, torch.bfloat16), norm(channels)
    grad_out = torch.full((len(rows.windows), channels), torch.nan, device=DEVICE).bfloat16()
    argmax = torch.full_like(grad_out, 77, dtype=torch.uint8)
    out, of_weight, of_bias = run(grad_out, argmax, y, rows, used, training)
    assert not of_weight.any()
    assert not of_bias.any()
    end = tiles_of(rows.count) * TILE
    assert not out[:end].any()
    assert (out[end:] == 7).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_runs_agree_bit_for_bit(dtype: torch.dtype) -> None:
    rows = make_rows(6, 9, 9, 0.5)
    given = drawn(rows, 20, dtype, True)
    one, other = (run(*given[:3], rows, given[3], True) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)
