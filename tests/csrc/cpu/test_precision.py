"""How far sums and functions of the kernels are from float64."""

from __future__ import annotations

import math

import pytest
import torch

from mesm_ops.reference import Selection
from tests.csrc.cpu import calls


@pytest.mark.parametrize("channels", [5, 67])
def test_norm_over_many_rows(channels: int) -> None:
    rows, offsets = 100_000, torch.tensor([0, 100_000], dtype=torch.int32)
    x, grad = (torch.randn(rows, channels) + 1000 for _ in range(2))
    ones = torch.ones(channels)
    args = (offsets, ones, 0 * ones)
    _, mean, var = calls.cpp("sparse_batch_norm", x, *args, ones, ones, True, 1e-5, False)
    back = (grad, x, *args, mean, var, True, 1e-5, False)
    _, grad_weight, grad_bias = calls.cpp("sparse_batch_norm_backward", *back)

    wide, pull = x.double(), grad.double()
    # One float32 sum of all rows, 1e8, would be off by up to 4 per addition, its mean by 1e-2 or
    # more. The mean here is that of float64, rounded: 1000 has 2^-14 between neighbours.
    torch.testing.assert_close(mean.double(), wide.mean(0), rtol=0, atol=2**-15 * 1.01)
    torch.testing.assert_close(var.double(), wide.var(0, correction=0), rtol=3e-7, atol=0)
    torch.testing.assert_close(grad_bias.double(), pull.sum(0), rtol=3e-7, atol=0)
    terms = pull * (wide - mean.double()) / (var.double() + 1e-5).sqrt()
    assert ((grad_weight.double() - terms.sum(0)).abs() <= 3e-7 * terms.abs().sum(0)).all()


def nucleus(attention: torch.Tensor, p: float) -> list[int]:
    """The nucleus by definition, on the rounded attention: in order, one sum in double."""
    order = sorted(range(len(attention)), key=lambda i: (-float(attention[i]), i))
    kept, before = [], 0.0
    for i in order:
        if not before < p:
            break
        kept.append(i)
        before += float(attention[i])
    return sorted(kept)


def draw_frames(kind: str, lengths: list[int], dtype: torch.dtype) -> torch.Tensor:
    logits = torch.randn(sum(lengths), dtype=torch.float64)
    if kind == "ties":
        logits = logits.mul(2).round()
    elif kind == "uniform":
        logits = logits * 0 + 3
    elif kind == "far apart":  # down to an attention of 0, through the smallest numbers there are
        logits = logits * 40
    elif kind == "one and a long tail":  # the cut lies in the last of the buckets
        logits = torch.where(torch.arange(len(logits)) % 7 == 0, logits + 3, logits - 7)
    return logits.to(dtype)


@pytest.mark.parametrize("kind", ["plain", "ties", "uniform", "far apart", "one and a long tail"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nucleus_is_exact_and_softmax_rounded_once(kind: str, dtype: torch.dtype) -> None:
    lengths = [1, 2, 4, 0, 15, 16, 33, 100, 577, 1500]
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    logits = draw_frames(kind, lengths, dtype)
    x = torch.zeros(len(logits), 1, dtype=dtype)
    sites = torch.cat([torch.arange(n) for n in lengths]).int()
    frames = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))

    def select(p: float) -> tuple[torch.Tensor, list[list[int]]]:
        args = (x, sites, offsets.int(), logits, p, Selection.HARD, True)
        _, _, _, rows, attention = calls.cpp("top_p_select", *args)
        return attention, [rows[(rows >= a) & (rows < b)].sub(a).tolist() for a, b in frames]

    attention, _ = select(0.5)
    unit = torch.finfo(dtype).eps / 2  # half a unit in the last place, of the least such number
    for a, b in frames:
        exact = logits[a:b].double().softmax(0)
        # In float64 two sums of up to 1500 terms differ by their rounding.
        bound = exact * unit * (1.02 if dtype == torch.float32 else 64) + 2**-150
        assert ((attention[a:b].double() - exact).abs() <= bound).all()

    shares = [1e-300, 1e-9, 0.1, 0.5, 0.8, 0.999, 1 - 1e-9, 1 - 2**-53]
    for a, b in frames:  # where the mass hits p exactly, and on either side of it
        mass = attention[a:b].double().sort(descending=True).values.cumsum(0).tolist()
        for hit in {mass[len(mass) * i // 8] for i in range(8)} if mass else ():
            shares += [math.nextafter(hit, 0), hit, math.nextafter(hit, 2)]
    for p in shares:
        if not 0 < p < 1:
            continue
        for (a, b), kept in zip(frames, select(p)[1], strict=True):
            assert kept == nucleus(attention[a:b], p), (a, b, p)


@pytest.mark.parametrize("channels", [3, 64, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_of_the_attention(channels: int, dtype: torch.dtype) -> None:
    x, grad = (torch.randn(40, channels).to(dtype) for _ in range(2))
    offsets, rows = torch.tensor([0, 40]).int(), torch.arange(40).int()
    attention = torch.rand(40).softmax(0)
    args = (grad, x, offsets, offsets, rows, attention, Selection.WEIGHTED)
    _, grad_logits = calls.cpp("top_p_select_backward", *args)
    pull = (grad.double() * x.double()).sum(1) * 40
    weight = attention.double()
    # Runs of 32 products in float32: off by less than 32 * 2^-24 of their magnitudes.
    bound = ((grad.double() * x.double()).abs().sum(1) * 40).max() * weight.max() * 2**-18
    wanted = weight * (pull - (weight * pull).sum())
    assert ((grad_logits.double() - wanted).abs() <= bound).all()


def test_gradients_of_scores_over_many_rows() -> None:
    rows, channels, hidden = 100_000, 3, 5
    offsets, x = torch.tensor([0, rows]).int(), torch.randn(rows, channels)
    query, weight = torch.randn(1, 4), torch.randn(hidden, channels)
    bias, query_weight = torch.randn(hidden), torch.randn(hidden, 4)
    grad, score = torch.randn(rows) + 1000, torch.randn(1, hidden)
    args = (grad, x, offsets, query, None, weight, bias, query_weight, score)
    _, _, _, got, _, got_score, got_bias = calls.cpp("cross_modal_score_backward", *args)

    wide = [t.double() for t in (x, weight, bias, query_weight, query)]
    t = torch.tanh(wide[0] @ wide[1].T + wide[2] + wide[4] @ wide[3].T)
    # 1 - t^2 has the rounding of t near 1; runs of 32 add little to it, one sum of all 1e-3.
    of_bias = grad.double()[:, None] * score.double() * (1 - t * t)
    assert ((got.double() - of_bias.sum(0)).abs() <= 2e-6 * of_bias.abs().sum(0)).all()
    of_score = grad.double()[:, None] * t
    assert ((got_score.double() - of_score.sum(0)).abs() <= 2e-6 * of_score.abs().sum(0)).all()
    torch.testing.assert_close(
        got_bias.double(), grad.double().sum(0, keepdim=True), rtol=1e-7, atol=0
    )
