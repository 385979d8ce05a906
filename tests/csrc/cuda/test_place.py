"""place.cuh on the host: whole launches, block by block, against an oracle."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests import oracle
from tests.oracle import placing


@dataclass(frozen=True)
class Launch:
    """How the launches run: lanes of a warp, warps of a block, blocks at a time, 16-byte packs."""

    library: ctypes.CDLL
    warps: int = 1
    side_by_side: int = 1
    wide: bool = True

    def threads(self) -> int:
        return self.library.place_lanes() * self.warps


@dataclass(frozen=True)
class Maps:
    features: Tensor  # (N, C)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    logits: Tensor  # (N,)
    height: int
    width: int

    def sizes(self) -> tuple[int, int, int, int]:
        """Return the numbers of rows, frames, tiles, and rows of windows."""
        rows, frames = len(self.sites), len(self.offsets) - 1
        windows = frames * (self.height // 2) * (self.width // 2)
        return rows, frames, -(-rows // placing.TILE_ROWS), min(rows, windows)


@dataclass(frozen=True)
class Case:
    counts: list[int]  # candidates of each frame
    height: int
    width: int
    padding: int = 0
    channels: int = 4
    span_frames: int = 2


CASES = {
    "no frame": Case([], 5, 4),
    "no frame, padding": Case([], 4, 5, padding=200),
    "no rows": Case([0, 0, 0], 3, 3),
    "one site": Case([1], 1, 1),
    "one site of many": Case([0, 1, 0], 6, 7, padding=3, channels=3),
    "odd height and width": Case([35, 0, 20, 1, 12], 5, 7, padding=6),
    "odd height": Case([30, 7, 42], 7, 6, padding=130),
    "odd width": Case([30, 7, 42], 6, 7, channels=8),
    "all sites": Case([48] * 5, 6, 8, span_frames=100),
    "spectrogram": Case([64, 50, 64, 0, 13], 16, 4, channels=5),
    "one column": Case([40, 17, 0], 40, 1, padding=5),
    "one row": Case([40, 17, 0], 1, 40),
    "several tiles": Case([300, 280, 0, 260, 299], 15, 20, padding=77, span_frames=3),
    "no channel": Case([20, 9], 5, 5, channels=0),
}


def draw(case: Case) -> Maps:
    """Random candidates; NaN and senseless sites in the padding rows, which are to be ignored."""
    area = case.height * case.width
    drawn = [torch.randperm(area)[:count].sort().values for count in case.counts]
    rows = sum(case.counts)
    padding = torch.full((case.padding,), torch.nan)
    features = torch.cat(
        [torch.randn(rows, case.channels), padding[:, None].expand(-1, case.channels)]
    )
    # On a coarse grid, so that there are equals.
    logits = torch.cat([(torch.randn(rows) * 4).round() / 2, padding])
    return Maps(
        features,
        torch.cat([*drawn, torch.full((case.padding,), 10**9)]).int(),
        torch.tensor([0, *case.counts]).cumsum(0, dtype=torch.int32),
        logits,
        case.height,
        case.width,
    )


def address(t: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(t.data_ptr())


def whole(*shape: int) -> Tensor:
    """Return a tensor of a value that no kernel writes."""
    return torch.full(shape, -77, dtype=torch.int32)


def scratch(launch: Launch, maps: Maps, span_frames: int) -> Tensor:
    rows, frames, *_ = maps.sizes()
    words = launch.library.scratch_words(*map(ctypes.c_int64, (rows, frames)), span_frames)
    return whole(words)


def select_and_place(
    launch: Launch, maps: Maps, p: float, weighted: bool, span_frames: int
) -> dict[str, Tensor]:
    rows, frames, tiles, out_rows = maps.sizes()
    channels = maps.features.shape[1]
    found = {
        "attention": torch.full((rows,), -77.0),
        "rows": whole(rows),
        "kept_offsets": whole(frames + 1),
        "place": whole(rows),
        "lists": whole(tiles, 9, placing.TILE_ROWS),
        "masks": whole(tiles),
        "x": torch.full((tiles * placing.TILE_ROWS, channels), -77.0),
        "windows": whole(out_rows, 4),
        "window_of": whole(tiles * placing.TILE_ROWS),
        "out_sites": whole(out_rows),
        "out_offsets": whole(frames + 1),
        "scratch": scratch(launch, maps, span_frames),
    }
    launch.library.run_select_and_place(
        *map(address, (maps.features, maps.sites, maps.offsets, maps.logits)),
        *(maps.height, maps.width, ctypes.c_double(p), ctypes.c_bool(weighted)),
        *map(ctypes.c_int64, (frames, rows, channels)),
        span_frames,
        *map(address, found.values()),
        *(launch.threads(), launch.side_by_side, ctypes.c_bool(launch.wide)),
    )
    return found


def nuclei(offsets: Tensor, attention: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return the kept candidates, and their offsets by frame."""
    kept, ends = [], [0]
    for begin, end in zip(offsets.tolist(), offsets[1:].tolist(), strict=False):
        keep = oracle.nucleus(attention[begin:end].tolist(), p)
        kept += [begin + i for i, one in enumerate(keep) if one]
        ends.append(len(kept))
    return torch.tensor(kept, dtype=torch.int64), torch.tensor(ends)


def equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, check_dtype=False)


def check(launch: Launch, maps: Maps, p: float, span_frames: int, weighted: bool = True) -> None:
    found = select_and_place(launch, maps, p, weighted, span_frames)
    active = int(maps.offsets[-1])
    exact = torch.zeros(len(maps.logits), dtype=torch.float64)
    for begin, end in zip(maps.offsets.tolist(), maps.offsets[1:].tolist(), strict=False):
        exact[begin:end] = maps.logits[begin:end].double().softmax(0)
    attention = found["attention"]
    torch.testing.assert_close(attention.double(), exact, rtol=2**-23, atol=1e-45, equal_nan=True)
    rows, offsets = nuclei(maps.offsets, attention, p)
    number = len(rows)
    equal(found["kept_offsets"], offsets)
    equal(found["rows"][:number], rows)
    assert (found["rows"][number:] == -1).all()
    assert number <= active

    sites = maps.sites[rows]
    placed = placing.place(sites, offsets, maps.height, maps.width, span_frames)
    tiles = len(placed.masks)
    equal(found["place"][:number], placed.place)
    equal(found["lists"][:tiles], placed.lists)
    equal(found["masks"][:tiles], placed.masks)
    assert (found["masks"][tiles:] == 0).all()

    x = maps.features[rows]
    if weighted:
        candidates = maps.offsets.diff()[placing.frames_of(offsets)]
        x = x * (candidates * attention[rows])[:, None]
    equal(found["x"][placed.place], x)

    pooled = placing.pool(placed.place, sites, offsets, maps.height, maps.width)
    equal(found["out_offsets"], pooled.offsets)
    equal(found["windows"][: len(pooled.windows)], pooled.windows)
    equal(found["out_sites"][: len(pooled.sites)], pooled.sites)
    assert (found["out_sites"][len(pooled.sites) :] == 0).all()
    equal(found["window_of"][:number], pooled.window_of)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("p", [1e-9, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_equals_the_oracle(
    load_for_host: Callable[..., ctypes.CDLL], case: Case, p: float, weighted: bool
) -> None:
    launch = Launch(load_for_host("place"), wide=case.channels % 4 == 0)
    check(launch, draw(case), p, case.span_frames, weighted)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize(("lanes", "warps", "side_by_side"), [(1, 3, 3), (4, 2, 2), (32, 1, 1)])
def test_equals_the_oracle_in_several_threads(
    load_for_host: Callable[..., ctypes.CDLL],
    case: Case,
    lanes: int,
    warps: int,
    side_by_side: int,
) -> None:
    launch = Launch(load_for_host("place", lanes), warps, side_by_side, case.channels % 4 == 0)
    check(launch, draw(case), 0.7, case.span_frames)


@pytest.mark.parametrize("span_frames", [1, 2, 7, 33, 1000])
@pytest.mark.parametrize("warps", [1, 2])
def test_spans_of_any_number_of_frames(
    load_for_host: Callable[..., ctypes.CDLL], span_frames: int, warps: int
) -> None:
    """More frames than a block of the second launch takes at a time, and spans that end early."""
    launch = Launch(load_for_host("place"), warps)
    case = Case([(7 * i) % 13 for i in range(70)], 3, 4, padding=9)
    check(launch, draw(case), 0.6, span_frames)


@pytest.mark.parametrize(("lanes", "warps"), [(1, 1), (4, 2)])
def test_a_map_whose_candidates_do_not_fit_into_shared_memory(
    load_for_host: Callable[..., ctypes.CDLL], lanes: int, warps: int
) -> None:
    launch = Launch(load_for_host("place", lanes), warps)
    assert launch.library.shared_sites() == 64 * 64
    check(launch, draw(Case([4000, 0, 65 * 64, 4], 65, 64)), 0.7, 2)
    check(launch, draw(Case([64 * 64], 64, 64)), 0.7, 2)


def test_as_large_a_map_as_there_may_be(load_for_host: Callable[..., ctypes.CDLL]) -> None:
    launch = Launch(load_for_host("place"), warps=2)
    assert launch.library.most_sites() == 128 * 128
    for height, width in ((128, 128), (1, 128 * 128), (128 * 128, 1)):
        area = height * width
        span_frames = launch.library.span_frames_for(ctypes.c_int64(area))
        assert span_frames == 8
        check(launch, draw(Case([area, 9], height, width)), 1.0, span_frames)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_keep_their_frame(
    load_for_host: Callable[..., ctypes.CDLL], bad: float
) -> None:
    launch = Launch(load_for_host("place"))
    maps = draw(Case([20, 20, 15], 5, 5, padding=3))
    maps.logits[20:40] = bad
    maps.logits[40] = torch.nan
    found = select_and_place(launch, maps, 0.2, True, 2)
    kept = found["kept_offsets"]
    assert kept.diff()[1:].tolist() == [20, 15]
    assert found["rows"][kept[1] : kept[3]].tolist() == list(range(20, 55))
    check(launch, maps, 0.2, 2)


def test_equal_scores_keep_the_lowest_sites(load_for_host: Callable[..., ctypes.CDLL]) -> None:
    launch = Launch(load_for_host("place", 4), warps=2)
    maps = draw(Case([36] * 3, 6, 6))
    maps.logits[:] = 0.25
    found = select_and_place(launch, maps, 0.5, True, 2)
    wanted = [36 * frame + i for frame in range(3) for i in range(18)]
    assert found["rows"][: 3 * 18].tolist() == wanted
    check(launch, maps, 0.5, 2)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize(
    ("lanes", "warps", "side_by_side"), [(1, 1, 1), (1, 3, 3), (4, 2, 2), (32, 1, 1)]
)
def test_places_given_rows(
    load_for_host: Callable[..., ctypes.CDLL],
    case: Case,
    positions: bool,
    lanes: int,
    warps: int,
    side_by_side: int,
) -> None:
    launch = Launch(load_for_host("place", lanes), warps, side_by_side)
    maps = draw(case)
    rows, frames, tiles, _ = maps.sizes()
    where = whole(rows if positions else tiles * placing.TILE_ROWS)
    lists, masks = whole(tiles, 9, placing.TILE_ROWS), whole(tiles)
    words = scratch(launch, maps, case.span_frames)
    launch.library.run_place(
        *map(address, (maps.sites, maps.offsets)),
        *(maps.height, maps.width, ctypes.c_bool(positions)),
        *map(ctypes.c_int64, (frames, rows)),
        case.span_frames,
        *map(address, (where, lists, masks, words)),
        *(launch.threads(), launch.side_by_side),
    )
    number = int(maps.offsets[-1])
    sites = maps.sites[:number]
    placed = placing.place(sites, maps.offsets, maps.height, maps.width, case.span_frames)
    used = len(placed.masks)
    equal(masks[:used], placed.masks)
    assert (masks[used:] == 0).all()
    if positions:
        equal(where[:number], placed.place)
        equal(lists[:used], placed.lists)
        return
    order = placed.place.argsort()
    equal(where[:number], order)
    rest = torch.arange(number, len(where))
    equal(where[number:], rest.where(rest < rows, -1))
    wanted = order[placed.lists.clamp(min=0)] if number else placed.lists
    equal(lists[:used], wanted.where(placed.lists >= 0, -1))


def test_the_bits_do_not_depend_on_the_run(load_for_host: Callable[..., ctypes.CDLL]) -> None:
    launch = Launch(load_for_host("place", 4), warps=2, side_by_side=3)
    maps = draw(Case([60, 40, 64, 3, 0, 20], 8, 8, padding=10))
    first = select_and_place(launch, maps, 0.6, True, 3)
    again = select_and_place(launch, maps, 0.6, True, 3)
    for name, one in first.items():
        assert torch.equal(one, again[name]), name
