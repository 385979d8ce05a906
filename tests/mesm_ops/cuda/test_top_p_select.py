"""The CUDA kernels of top_p_select, on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops import reference, use_backend
from tests import oracle
from tests.mesm_ops.cuda.capture import check_capture

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CASES = [
    ([], 4, 3),
    ([0, 0], 8, 0),
    ([1], 1, 0),
    ([5, 0, 7, 1, 40], 3, 0),
    ([576, 1, 0, 300, 33], 64, 100),
    ([9] * 700, 24, 1),
    ([5000, 3, 4096, 4097], 16, 7),
    ([3, 4], 0, 2),
]


def draw(counts: list[int], channels: int, padding: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Features, sites, offsets and logits; NaN and senseless sites in the padding rows."""
    rows = sum(counts)
    offsets = torch.tensor([0, *counts]).cumsum(0, dtype=torch.int32)
    features = torch.cat([torch.randn(rows, channels), torch.full((padding, channels), torch.nan)])
    sites = torch.cat([torch.arange(c) * 2 for c in counts] + [torch.full((padding,), 10**9)])
    # On a coarse grid, so that there are equals.
    logits = torch.cat([(torch.randn(rows) * 4).round() / 2, torch.full((padding,), torch.nan)])
    return features.to(dtype), sites.int(), offsets, logits


def run(maps: tuple[Tensor, ...], p: float, weighted: bool) -> tuple[Tensor, ...]:
    with use_backend("cuda"):
        found = torch.ops.mesm_ops.top_p_select(*(t.cuda() for t in maps), p, weighted, False)
    return tuple(t.cpu() for t in found)


def expect(maps: tuple[Tensor, ...], attention: Tensor, p: float, weighted: bool) -> list[Tensor]:
    """Return all results that follow from the attention, each to the bit."""
    features, sites, offsets, _ = maps
    rows, scale = [], torch.ones_like(attention)
    out_offsets = [0]
    for begin, end in zip(offsets.tolist(), offsets[1:].tolist(), strict=False):
        keep = oracle.nucleus(attention[begin:end].tolist(), p)
        rows += [begin + i for i, kept in enumerate(keep) if kept]
        out_offsets.append(len(rows))
        scale[begin:end] = (end - begin) * attention[begin:end]
    row = torch.tensor(rows, dtype=torch.int32)
    out = features[row]
    if weighted:
        out = (out.float() * scale[row, None]).to(features.dtype)
    rest = len(features) - len(rows)
    return [
        torch.cat([out, out.new_zeros(rest, features.shape[1])]),
        torch.cat([sites[row], sites.new_zeros(rest)]),
        torch.tensor(out_offsets, dtype=torch.int32),
        torch.cat([row, row.new_full((rest,), -1)]),
    ]


@pytest.mark.parametrize(("counts", "channels", "padding"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("p", [1e-9, 0.5, 1.0])
def test_forward(
    counts: list[int], channels: int, padding: int, dtype: torch.dtype, weighted: bool, p: float
) -> None:
    maps = draw(counts, channels, padding, dtype)
    *got, attention = run(maps, p, weighted)
    exact = torch.zeros(len(attention), dtype=torch.float64)
    for begin, end in zip(maps[2].tolist(), maps[2][1:].tolist(), strict=False):
        exact[begin:end] = maps[3][begin:end].double().softmax(0)
    torch.testing.assert_close(attention.double(), exact, rtol=2**-23, atol=1e-45)
    for one, wanted in zip(got, expect(maps, attention, p, weighted), strict=True):
        assert torch.equal(one, wanted)


@pytest.mark.parametrize(("counts", "channels", "padding"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("selection", list(reference.Selection))
def test_backward(
    counts: list[int],
    channels: int,
    padding: int,
    dtype: torch.dtype,
    selection: reference.Selection,
) -> None:
    maps = draw(counts, channels, padding, dtype)
    _, _, out_offsets, rows, attention = run(maps, 0.5, selection)
    grad = torch.randn(maps[0].shape).to(dtype)
    grad[int(out_offsets[-1]) :] = torch.nan  # padding is ignored
    given = (grad, maps[0], maps[2], out_offsets, rows, attention)
    with use_backend("cuda"):
        found = torch.ops.mesm_ops.top_p_select_backward(*(t.cuda() for t in given), selection)
    saved = reference.TopPSelectBackward(*given, selection)
    features, logits = reference.top_p_select_backward(saved)
    assert torch.equal(found[0].cpu(), features)  # one product, rounded
    # Sums of 64 products, and of a frame's candidates, in another order.
    torch.testing.assert_close(found[1].cpu(), logits, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_nan_keeps_its_frame_and_only_that(bad: float) -> None:
    maps = draw([600, 600, 5], 8, 3, torch.bfloat16)
    maps[3][700] = bad
    out, _, offsets, rows, attention = run(maps, 0.3, True)
    first, second = offsets[1:3].tolist()
    assert rows[first:second].tolist() == list(range(600, 1200))
    assert out[first:second].isnan().all()
    assert not out[:first].isnan().any()
    assert attention[600:1200].isnan().all()


def test_rows_that_no_16_bytes_divide_or_begin() -> None:
    """A view that begins within 16 bytes, and one that is not contiguous."""
    features, *rest = draw([50, 60], 8, 5, torch.float16)
    wanted = run((features, *rest), 0.5, True)
    flat = torch.empty(features.numel() + 1, dtype=torch.float16, device="cuda")
    shifted = flat[1:].view_as(features).copy_(features)
    assert shifted.data_ptr() % 16 != 0
    turned = features.cuda().t().contiguous().t()
    for view in (shifted, turned):
        with use_backend("cuda"):
            others = [t.cuda() for t in rest]
            got = torch.ops.mesm_ops.top_p_select(view, *others, 0.5, True, False)
        for one, other in zip(got, wanted, strict=True):
            assert torch.equal(one.cpu(), other)


def test_two_runs_give_the_same_bits() -> None:
    maps = [t.cuda() for t in draw([576] * 300, 32, 9, torch.bfloat16)]
    with use_backend("cuda"):
        first = torch.ops.mesm_ops.top_p_select(*maps, 0.5, True, False)
        given = (torch.randn_like(maps[0]), maps[0], maps[2], *first[2:])
        gradients = torch.ops.mesm_ops.top_p_select_backward(*given, True)
        for _ in range(5):
            again = torch.ops.mesm_ops.top_p_select(*maps, 0.5, True, False)
            same = torch.ops.mesm_ops.top_p_select_backward(*given, True)
            for one, other in zip((*first, *gradients), (*again, *same), strict=True):
                assert torch.equal(one, other)


def test_nothing_waits_and_a_graph_captures() -> None:
    maps = [t.cuda() for t in draw([576, 0, 33] * 50, 16, 9, torch.bfloat16)]
    torch.use_deterministic_algorithms(False)  # whose filling of fresh memory is no part of the op

    def step() -> tuple[Tensor, ...]:
        found = torch.ops.mesm_ops.top_p_select(*maps, 0.5, True, False)
        given = (found[0], maps[0], maps[2], *found[2:])
        return (*found, *torch.ops.mesm_ops.top_p_select_backward(*given, True))

    check_capture(step)


def test_refuses() -> None:
    features, sites, offsets, logits = (t.cuda() for t in draw([5, 6], 4, 0, torch.float32))
    op = torch.ops.mesm_ops.top_p_select
    with use_backend("cuda"):
        with pytest.raises(RuntimeError, match="trim waits for the device"):
            op(features, sites, offsets, logits, 0.5, True, True)
        with pytest.raises(RuntimeError, match="logits must be 11 float32 elements"):
            op(features, sites, offsets, logits[:5], 0.5, True, False)
        with pytest.raises(RuntimeError, match="sites must be int32"):
            op(features, sites.long(), offsets, logits, 0.5, True, False)
        with pytest.raises(RuntimeError, match="it takes float32, bfloat16, float16, got float64"):
            op(features.double(), sites, offsets, logits, 0.5, True, False)
