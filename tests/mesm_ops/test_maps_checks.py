"""Checks of maps' tensors, compiled or not, against a definition in plain Python."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops import extension
from mesm_ops.maps_checks import (
    DTYPES,
    MOST_ROWS,
    check_dtype,
    check_offsets,
    check_size,
    check_tensor,
    check_values,
    values_can_be_read,
)


def accepted(check: Any, *args: Any) -> bool:
    try:
        check(*args)
    except ValueError as error:
        said = str(error)
    else:
        return True
    assert said.startswith("op: ")
    return False


def are_maps(sites: list[int], offsets: list[int], size: int) -> bool:
    if offsets[0] != 0 or offsets[-1] > len(sites) or sorted(offsets) != offsets:
        return False
    frames = [sites[a:b] for a, b in pairwise(offsets)]
    return all(
        sorted(set(frame)) == frame and all(0 <= site < size for site in frame) for frame in frames
    )


@pytest.mark.parametrize("compiled", [True, False])
@given(
    sites=st.lists(st.integers(-1, 7), max_size=6),
    offsets=st.lists(st.integers(-1, 7), max_size=3),
    honest=st.booleans(),
)
def test_sites_and_offsets(
    compiled: bool, sites: list[int], offsets: list[int], honest: bool
) -> None:
    offsets = [0, *sorted(offsets)] if honest else [*offsets, 0]
    args = torch.tensor(sites, dtype=torch.int32), torch.tensor(offsets, dtype=torch.int32)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(extension, "module", lambda: None)
        found = accepted(check_values, "op", *args, 2, 3)
    assert found == are_maps(sites, offsets, 6)


def test_tensors_that_are_not_contiguous_are_checked_too() -> None:
    sites = torch.tensor([0, 9, 1, 9, 0, 9], dtype=torch.int32)[::2]
    offsets = torch.tensor([0, 9, 2, 9, 3, 9], dtype=torch.int32)[::2]
    check_values("op", sites, offsets, 1, 2)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\) for 1 x 1 maps, got 0 to 1"):
        check_values("op", sites, offsets, 1, 1)


def test_offsets_alone() -> None:
    check_offsets("op", torch.tensor([0, 0, 2]), 2)
    for wrong in ([1, 2], [0, 2, 1], [0, 3]):
        with pytest.raises(
            ValueError, match=r"^op: offsets must rise from 0 to at most 2 rows, got"
        ):
            check_offsets("op", torch.tensor(wrong), 2)


def test_kinds_sizes_and_dtypes() -> None:
    for dtype in DTYPES:
        check_dtype("features", torch.zeros(1, dtype=dtype))
    with pytest.raises(ValueError, match=r"features must be one of .*, got torch.complex64"):
        check_dtype("features", torch.zeros(1, dtype=torch.complex64))
    check_tensor("sites", torch.zeros(1))
    for wrong in ([1], None, torch.eye(2).to_sparse()):
        with pytest.raises(ValueError, match="sites must be a"):
            check_tensor("sites", wrong)
    check_size(1, MOST_ROWS)
    for height, width in ((0, 1), (1, -1), (2**16, 2**16)):
        with pytest.raises(ValueError, match=f"got {height} x {width}"):
            check_size(height, width)


def test_values_are_read_where_nothing_waits() -> None:
    assert values_can_be_read(torch.zeros(1))
    assert not values_can_be_read(torch.zeros(1, device="meta"))
    assert not values_can_be_read(torch.nn.Parameter(torch.zeros(1)))
    seen: list[bool] = []

    def look(x: Tensor) -> Tensor:
        seen.append(values_can_be_read(x))
        return x

    torch.func.vmap(look)(torch.zeros(2))
    assert seen == [False]
