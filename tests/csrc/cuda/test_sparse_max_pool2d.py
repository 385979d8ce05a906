"""sparse_max_pool2d.cuh on the host: whole launches, block by block, against the reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mesm_ops import reference


def address(t: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(t.data_ptr())


def draw(frames: int, height: int, width: int, density: float, channels: int, padding: int) -> list:
    """Features with equals and some NaN, sites and offsets; NaN and senseless sites in padding."""
    mask = torch.rand(frames, height * width) < density
    if frames > 2:
        mask[1] = False
    rows = int(mask.sum())
    features = torch.randint(-3, 4, (rows, channels)).float()
    features[torch.rand(rows, channels) < 0.05] = torch.nan
    features[torch.rand(rows, channels) < 0.05] = -torch.inf
    features = torch.cat([features, torch.full((padding, channels), torch.nan)])
    sites = torch.cat([mask.nonzero()[:, 1], torch.full((padding,), 10**9)])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)])
    return [features, sites.int(), offsets.int()]


def check(
    library: ctypes.CDLL, maps: list, height: int, width: int, warps: int, side_by_side: int
) -> None:
    (rows, channels), frames = maps[0].shape, len(maps[2]) - 1
    out_rows = min(rows, frames * (height // 2) * (width // 2))
    how = library.pool_lanes() * warps, side_by_side, ctypes.c_bool(channels % 4 == 0)
    out = torch.full((out_rows, channels), 55.0)
    sites, argmax = (torch.full(s, 77, dtype=torch.int32) for s in ((out_rows,), out.shape))
    offsets = torch.full((frames + 1,), 77, dtype=torch.int32)
    words = torch.zeros(frames + 1, dtype=torch.int64)
    library.run_pool(
        *map(address, maps),
        *map(ctypes.c_int64, (frames, rows)),
        *(channels, height, width),
        *map(address, (out, sites, offsets, argmax, words)),
        *how,
    )
    wanted = reference.sparse_max_pool2d(
        reference.SparseMaxPool2d(*maps, height, width, trim=False)
    )
    for got, other in zip((out, sites, offsets, argmax), wanted, strict=True):
        torch.testing.assert_close(got, other, rtol=0, atol=0, equal_nan=True)

    grad = torch.randn(out.shape)
    grad[int(offsets[-1]) :] = torch.nan  # padding is ignored
    grad_in = torch.zeros(rows, channels)
    library.run_pool_backward(
        *map(address, (grad, argmax)),
        *map(ctypes.c_int64, (out_rows, rows)),
        channels,
        address(grad_in),
        *how,
    )
    saved = reference.SparseMaxPool2dBackward(grad, argmax, rows)
    assert torch.equal(grad_in, reference.sparse_max_pool2d_backward(saved))


SIZES = [(2, 2), (3, 2), (6, 6), (7, 5), (2, 5), (16, 9)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_equals_the_reference(
    load_for_host: Callable[..., ctypes.CDLL], height: int, width: int, density: float
) -> None:
    library = load_for_host("sparse_max_pool2d")
    for frames, channels, padding in [(0, 4, 3), (1, 1, 0), (5, 8, 40), (4, 3, 2), (3, 0, 1)]:
        maps = draw(frames, height, width, density, channels, padding)
        check(library, maps, height, width, 1, 1)


@pytest.mark.parametrize(("lanes", "warps", "side_by_side"), [(1, 3, 3), (4, 2, 2), (32, 1, 1)])
@pytest.mark.parametrize("density", [0.05, 0.5, 1.0])
def test_equals_the_reference_in_several_threads(
    load_for_host: Callable[..., ctypes.CDLL],
    density: float,
    lanes: int,
    warps: int,
    side_by_side: int,
) -> None:
    library = load_for_host("sparse_max_pool2d", lanes)
    for channels, padding in [(12, 0), (3, 7), (40, 50)]:
        check(library, draw(5, 7, 10, density, channels, padding), 7, 10, warps, side_by_side)


def test_maps_of_more_windows_than_fit_into_shared_memory(
    load_for_host: Callable[..., ctypes.CDLL],
) -> None:
    library = load_for_host("sparse_max_pool2d")
    height, width = 70, 2 * library.shared_windows() // 35 + 3
    check(library, draw(3, height, width, 0.3, 4, 5), height, width, 2, 2)
