"""Frames taken, joined and told apart, against lists of frames in plain Python."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mesm_ops.frames import Rows, difference_of, indices_of, join, pieces_of, rows_between, take

Frame = list[tuple[int, float]]  # its sites, each with the value of its one channel
CLOSE = {"rtol": 0.0, "atol": 0.0}

frames_of = st.lists(
    st.lists(st.integers(0, 11), unique=True, max_size=4).map(sorted), max_size=5
).map(lambda sites: [[(s, 100.0 * f + s) for s in one] for f, one in enumerate(sites)])


def rows(frames: list[Frame], padding: int = 0) -> Rows:
    flat = [site for frame in frames for site in frame]
    ends = [0]
    for frame in frames:
        ends.append(ends[-1] + len(frame))
    features = torch.tensor([[value] for _, value in flat] + [[torch.nan]] * padding)
    sites = torch.tensor([site for site, _ in flat] + [-7] * padding, dtype=torch.int32)
    return Rows(features.reshape(-1, 1), sites, torch.tensor(ends, dtype=torch.int32))


def frames(rows: Rows) -> list[Frame]:
    assert rows.sites.dtype is rows.offsets.dtype is torch.int32
    values, sites, ends = rows.features[:, 0].tolist(), rows.sites.tolist(), rows.offsets.tolist()
    return [list(zip(sites[a:b], values[a:b], strict=True)) for a, b in pairwise(ends)]


@given(made=frames_of, padding=st.integers(0, 3), data=st.data())
def test_frames_between_and_chosen(made: list[Frame], padding: int, data: st.DataObject) -> None:
    whole = rows(made, padding)
    first = data.draw(st.integers(0, len(made)))
    end = data.draw(st.integers(first, len(made)))
    between = rows_between(whole, first, end)
    assert frames(between) == made[first:end]
    assert between.sites.shape[0] == sum(map(len, made[first:end]))
    numbers = data.draw(st.lists(st.integers(0, len(made) - 1), max_size=6)) if made else []
    wanted = [made[number] for number in numbers]
    chosen = torch.tensor(numbers, dtype=torch.int64)
    taken = take(whole, chosen, None)
    assert frames(taken) == wanted
    size = sum(map(len, wanted))
    assert taken.sites.shape[0] == size
    padded = take(whole, chosen, size + 2)
    assert frames(padded) == wanted
    assert padded.features[size:].tolist() == [[0.0]] * 2  # never the NaN of what was taken from
    assert padded.sites[size:].tolist() == [0] * 2


@given(parts=st.lists(st.tuples(frames_of, st.integers(0, 2)), min_size=1, max_size=3))
def test_joined_frames_follow_each_other(parts: list[tuple[list[Frame], int]]) -> None:
    wanted = [frame for made, _ in parts for frame in made]
    given = [rows(*part) for part in parts]
    trimmed, kept = join(given, trims=True), join(given, trims=False)
    assert frames(trimmed) == frames(kept) == wanted
    size = sum(map(len, wanted))
    assert trimmed.sites.shape[0] == size
    assert kept.sites.shape[0] == size + sum(padding for _, padding in parts)
    assert not kept.features[size:].any()


@pytest.mark.parametrize(
    ("index", "wanted"),
    [
        (slice(None, None, -2), [4, 2, 0]),
        (slice(3, 1), []),
        (range(1, 3), [1, 2]),
        ([], []),
        ([-1, 0], [4, 0]),
        (torch.tensor([True, False, False, True, False]), [0, 3]),
        (torch.tensor([-5, 4], dtype=torch.int16), [0, 4]),
        (torch.tensor(-2), [3]),
        (np.array([4, -4, 4]), [4, 1, 4]),
        (np.array([True, False, False, True, False]), [0, 3]),
        (np.arange(5)[::-2], [4, 2, 0]),
        (np.zeros(0), []),
    ],
)
def test_frames_that_an_index_names(index: Any, wanted: list[int]) -> None:
    found = indices_of(index, 5, torch.device("cpu"))
    assert found.dtype is torch.int64
    assert found.tolist() == wanted


@pytest.mark.parametrize("index", [[5], [-6], torch.tensor([0, 9]), [2**40]])
def test_numbers_of_no_frame(index: Any) -> None:
    with pytest.raises(IndexError, match=r"frames are numbered from 0 to 4, got -?[0-9]+$"):
        indices_of(index, 5, torch.device("cpu"))
    with pytest.raises(IndexError, match=r"SparseFeatureMaps: there are no frames, got -?[0-9]+$"):
        indices_of(index, 0, torch.device("cpu"))


@pytest.mark.parametrize(
    "index",
    [
        *("a", {1}, [[1, 2]], ["b"], [1, [2]], [None], 0.5, torch.tensor([0.5]), torch.ones(2, 2)),
        *(torch.tensor(0.5), np.array([0.5]), np.ones((2, 2), int), np.True_),
        torch.tensor([1, 0, 1, 0, 1], dtype=torch.uint8),  # a mask, or numbers?
    ],
)
def test_indices_of_another_kind(index: Any) -> None:
    with pytest.raises(ValueError, match="frames are chosen by an integer, a slice"):
        indices_of(index, 5, torch.device("cpu"))


def test_pieces() -> None:
    assert pieces_of(2, 5) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert pieces_of([0, 5, 0], 5) == [slice(0, 0), slice(0, 5), slice(5, 5)]
    assert pieces_of(3, 0) == []
    for wrong in (0, -1, True, 2.0, [2, 2], [6, -1], [2.5, 2.5], [True, 4], "5", None):
        with pytest.raises(ValueError, match="that sum to 5 frames, got "):
            pieces_of(wrong, 5)  # type: ignore[arg-type]


def different(changed: list[Frame], made: list[Frame]) -> str | None:
    return difference_of(rows(changed, 1), rows(made, 2), 4, **CLOSE)


def test_the_first_difference_is_told() -> None:
    made: list[Frame] = [[(0, 1.0), (5, 2.0)], [], [(3, 3.0)]]
    assert different(made, made) is None
    value: list[Frame] = [[(0, 1.0), (5, 2.5)], [], [(3, 9.0)]]
    assert different(value, made) == "frame 0, site (y 1, x 1), channel 0: got 2.5, wanted 2.0"
    site: list[Frame] = [[(0, 1.0), (5, 2.0)], [], [(7, 3.0)]]
    assert different(site, made) == "frame 2: got site (y 1, x 3), wanted (y 0, x 3)"
    fewer: list[Frame] = [[(0, 1.0), (5, 2.0)], [(1, 0.0)], [(7, 3.0)]]
    assert different(fewer, made) == "frame 1: got 1 sites, wanted 0"


def test_what_is_not_finite_equals_itself_alone() -> None:
    one = rows([[(0, torch.nan), (1, torch.inf)]])
    assert difference_of(one, one, 4, **CLOSE) is None
    other = one._replace(features=Tensor([[torch.nan], [-torch.inf]]))
    assert difference_of(one, other, 4, **CLOSE) is not None
