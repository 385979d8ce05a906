"""Inputs to test with, and how close results must come."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops import SparseFeatureMaps

# Relative, and absolute for values of about 1. The oracle computes in float64 on the very inputs,
# and ops round once from float32 (or float64) to the features' dtype: half a unit in the last place
# of bfloat16 is 2^-9, of float16 2^-11. The float32 and float64 figures leave the sums of up to 9 *
# 40 products, in any order, 30 times the error seen on them (3e-7 and 5e-16).
TOLERANCES = {
    torch.float64: (1e-11, 1e-12),
    torch.float32: (1e-5, 1e-5),
    torch.float16: (2**-10, 1e-5),
    torch.bfloat16: (2**-8, 1e-5),
}


@dataclass(frozen=True)
class Case:
    """Maps as the oracle takes them and as the library does."""

    maps: Tensor  # (F, C, H, W) float64, of values that the dtype holds exactly
    mask: Tensor  # (F, H, W)
    x: SparseFeatureMaps  # with NaN and senseless sites in its padding rows

    @property
    def rows(self) -> int:
        return int(self.x.offsets[-1])


def make_case(
    frames: int,
    channels: int,
    height: int,
    width: int,
    density: float = 0.5,
    dtype: torch.dtype = torch.float64,
    padding: int = 0,
    strided: bool = False,
    seed: int = 0,
) -> Case:
    """Draw maps with independently active sites; frames may come out empty."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(frames, channels, height, width, generator=generator).to(dtype)
    mask = torch.rand(frames, height, width, generator=generator) < density
    frame, y, x = mask.nonzero().unbind(1)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum((1, 2)).cumsum(0)])
    features = torch.cat([maps[frame, :, y, x], maps.new_full((padding, channels), torch.nan)])
    sites = torch.cat([y * width + x, torch.full((padding,), 10**9)])
    if strided:
        features = features.t().contiguous().t()
    sparse = SparseFeatureMaps(features, sites.int(), offsets.int(), height, width)
    return Case(maps.double(), mask, sparse)


def cases(dtypes: list[torch.dtype], least: int = 1) -> st.SearchStrategy[Case]:
    """Draw odd and even sizes, empty and full frames, none at all, tails, padding, strides."""
    return st.builds(
        make_case,
        frames=st.integers(0, 4),
        channels=st.sampled_from([1, 2, 3, 8, 17, 33, 40]),
        height=st.integers(least, 7),
        width=st.integers(least, 7),
        density=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
        dtype=st.sampled_from(dtypes),
        padding=st.sampled_from([0, 1, 5]),
        strided=st.booleans(),
        seed=st.integers(0, 2**16),
    )


def dtypes_of(backend: str) -> list[torch.dtype]:
    """Return what a backend takes on a CPU."""
    every = [torch.float64, torch.float32, torch.bfloat16]
    return [*every, torch.float16] if backend == "reference" else every


def drawn(*shape: int, dtype: torch.dtype, grad: bool = True, scale: float = 1.0) -> Tensor:
    """Draw a parameter."""
    return (torch.randn(*shape) * scale).to(dtype).requires_grad_(grad)


def exact(tensor: Tensor) -> Tensor:
    """Return the oracle's copy of a tensor: float64, with a gradient of its own."""
    return tensor.detach().double().requires_grad_(tensor.requires_grad)


def rows_of(maps: Tensor, mask: Tensor) -> Tensor:
    """Return dense maps at active sites, in the rows' order."""
    return maps.permute(0, 2, 3, 1)[mask]


def padded_gradient(rows: Tensor, total: int) -> Tensor:
    """Return a gradient for all rows of an output, NaN where padding must be ignored."""
    garbage = rows.new_full((total - rows.shape[0], *rows.shape[1:]), torch.nan)
    return torch.cat([rows, garbage])


def assert_close(got: Tensor, wanted: Tensor, what: str, loosen: float = 1.0) -> None:
    """Compare a result with the oracle's float64 at the tolerance of the result's dtype.

    Sums over many rows are compared relative to their largest entry.
    """
    rtol, atol = TOLERANCES[got.dtype]
    wanted = wanted.detach()
    largest = float(wanted.abs().nan_to_num(0, 0, 0).max()) if wanted.numel() else 0.0
    torch.testing.assert_close(
        got.double(),
        wanted,
        rtol=rtol * loosen,
        atol=atol * loosen * max(1.0, largest),
        equal_nan=True,
        msg=lambda text: f"{what}: {text}",
    )


def assert_rows(got: Tensor, wanted: Tensor, what: str, loosen: float = 1.0) -> None:
    """Compare rows with the oracle's, and the padding rows after them with zero."""
    rows = wanted.shape[0]
    assert_close(got[:rows], wanted, what, loosen)
    assert not got[rows:].any(), f"{what}: padding rows must be zero"
