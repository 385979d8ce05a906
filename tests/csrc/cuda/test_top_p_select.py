"""top_p_select.cuh on the host: whole launches, block by block, against the reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mesm_ops import reference


@dataclass(frozen=True)
class Launch:
    """How the launches run: lanes of a warp, warps of a block, blocks at a time, 16-byte packs."""

    library: ctypes.CDLL
    warps: int = 1
    side_by_side: int = 1
    wide: bool = True

    def arguments(self) -> tuple[int, int, ctypes.c_bool]:
        return self.library.lanes() * self.warps, self.side_by_side, ctypes.c_bool(self.wide)


@dataclass(frozen=True)
class Maps:
    features: Tensor
    sites: Tensor
    offsets: Tensor
    logits: Tensor


def draw_maps(counts: list[int], channels: int, padding: int) -> Maps:
    """NaN and senseless sites in the padding rows, which are to be ignored."""
    rows = sum(counts)
    offsets = torch.tensor([0, *counts]).cumsum(0, dtype=torch.int32)
    features = torch.cat([torch.randn(rows, channels), torch.full((padding, channels), torch.nan)])
    sites = torch.cat([torch.arange(c) * 2 for c in counts] + [torch.full((padding,), 10**9)])
    # On a coarse grid, so that there are equals.
    logits = torch.cat([(torch.randn(rows) * 4).round() / 2, torch.full((padding,), torch.nan)])
    return Maps(features, sites.int(), offsets, logits)


def address(t: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(t.data_ptr())


def select(launch: Launch, maps: Maps, p: float, scales: bool) -> tuple[Tensor, ...]:
    (rows, channels), frames = maps.features.shape, len(maps.offsets) - 1
    out = torch.full((rows, channels), torch.nan)
    whole = [torch.full((n,), 77, dtype=torch.int32) for n in (rows, frames + 1, rows)]
    attention = torch.full((rows,), torch.nan)
    scratch = [torch.full((n,), 77, dtype=torch.int32) for n in (rows, frames)]
    launch.library.run_select(
        *map(address, (maps.features, maps.sites, maps.offsets, maps.logits)),
        *(ctypes.c_double(p), ctypes.c_bool(scales)),
        *map(ctypes.c_int64, (frames, rows, channels)),
        *map(address, (out, *whole, attention, *scratch)),
        *launch.arguments(),
    )
    return (out, *whole, attention)


def backward(launch: Launch, maps: Maps, saved: tuple[Tensor, ...], grad: Tensor) -> list[Tensor]:
    """Gradients of features and logits, by every selection."""
    (rows, channels), frames = maps.features.shape, len(maps.offsets) - 1
    _, _, out_offsets, out_rows, attention = saved
    found = []
    for selection in reference.Selection:
        grads = torch.full((rows, channels), torch.nan), torch.full((rows,), torch.nan)
        given = (grad, maps.features, maps.offsets, out_offsets, out_rows, attention)
        launch.library.run_backward(
            *map(address, given),
            ctypes.c_bool(selection.scales),
            ctypes.c_bool(selection.learns),
            *map(ctypes.c_int64, (frames, rows, len(out_rows), channels)),
            *map(address, grads),
            *launch.arguments(),
        )
        saved = reference.TopPSelectBackward(*given, selection)
        wanted = reference.top_p_select_backward(saved)
        # Sums of 40 products, and of a frame's candidates, in another order.
        torch.testing.assert_close(grads, wanted, rtol=1e-5, atol=2e-5, equal_nan=True)
        found.extend(grads)
    return found


def check(launch: Launch, maps: Maps, p: float) -> None:
    for selection in reference.Selection:
        got = select(launch, maps, p, selection.scales)
        given = (maps.features, maps.sites, maps.offsets, maps.logits, p)
        wanted = reference.top_p_select(reference.TopPSelect(*given, selection, trim=False))
        for one, other in zip(got[1:4], wanted[1:4], strict=True):
            assert torch.equal(one, other)
        # One rounding of attention each, and one of its product.
        torch.testing.assert_close(got[4], wanted[4], rtol=1e-6, atol=1e-45, equal_nan=True)
        torch.testing.assert_close(got[0], wanted[0], rtol=2e-6, atol=1e-45, equal_nan=True)
    grad = torch.randn(maps.features.shape)
    grad[int(got[2][-1]) :] = torch.nan  # padding is ignored
    backward(launch, maps, got, grad)


CASES = [
    ([], 3, 0),
    ([], 4, 5),
    ([0, 0], 4, 3),
    ([1], 1, 0),
    ([5, 0, 7, 1, 40], 8, 0),
    ([5, 0, 7, 1, 40], 40, 11),
    ([0, 33, 64, 2, 0], 12, 100),
    ([9] * 20, 4, 1),
    ([3, 4], 0, 2),
]


@pytest.mark.parametrize(("counts", "channels", "padding"), CASES)
@pytest.mark.parametrize("p", [1e-9, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("wide", [True, False])
def test_equals_the_reference(
    load_for_host: Callable[..., ctypes.CDLL],
    counts: list[int],
    channels: int,
    padding: int,
    p: float,
    wide: bool,
) -> None:
    launch = Launch(load_for_host("top_p_select"), wide=wide and channels % 4 == 0)
    check(launch, draw_maps(counts, channels, padding), p)


@pytest.mark.parametrize(("counts", "channels", "padding"), CASES)
@pytest.mark.parametrize(("lanes", "warps", "side_by_side"), [(1, 3, 3), (4, 2, 2), (32, 1, 1)])
def test_equals_the_reference_in_several_threads(
    load_for_host: Callable[..., ctypes.CDLL],
    counts: list[int],
    channels: int,
    padding: int,
    lanes: int,
    warps: int,
    side_by_side: int,
) -> None:
    launch = Launch(load_for_host("top_p_select", lanes), warps, side_by_side, channels % 4 == 0)
    check(launch, draw_maps(counts, channels, padding), 0.6)


@pytest.mark.parametrize(("warps", "side_by_side"), [(1, 1), (3, 2)])
def test_frames_larger_than_shared_memory(
    load_for_host: Callable[..., ctypes.CDLL], warps: int, side_by_side: int
) -> None:
    launch = Launch(load_for_host("top_p_select"), warps, side_by_side)
    fit = launch.library.shared_candidates()
    check(launch, draw_maps([fit + 1, 3, fit, 2 * fit + 5], 4, 2), 0.7)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_nan_keeps_its_frame(load_for_host: Callable[..., ctypes.CDLL], bad: float) -> None:
    maps = draw_maps([6, 6, 5], 4, 3)
    maps.logits[8] = bad
    check(Launch(load_for_host("top_p_select")), maps, 0.3)
