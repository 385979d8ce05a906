"""The selection's results for the convolutions and the pool, against loops over the maps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mesm_ops import use_backend
from mesm_ops.reference import Selection, TopPSelect, top_p_select
from mesm_ops.triton.parts.layout import TILE, tiles_of
from mesm_ops.triton.parts.rulebook import place_rows
from mesm_ops.triton.parts.selection import Selected, select_and_place
from tests.mesm_ops.cases import Case, make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Run:
    """A case, the selection's results, and the kept rows by the reference."""

    case: Case
    got: Selected
    sites: Tensor
    features: Tensor
    rows: Tensor
    offsets: Tensor
    attention: Tensor


def run(
    frames: int, height: int, width: int, density: float, p: float, selection: Selection
) -> Run:
    case = make_case(frames, 8, height, width, density, torch.float32, padding=4)
    x = case.x
    number = len(x.sites)
    logits = torch.randn(number, generator=torch.Generator().manual_seed(3))
    features = x.features.clone()
    if case.rows > 3:
        logits[2] = logits[1]  # equal scores
    windows = min(number, frames * (height // 2) * (width // 2))
    positions = tiles_of(number) * TILE
    ints = {"dtype": torch.int32, "device": DEVICE}
    got = Selected(
        attention=torch.full((number,), torch.nan, device=DEVICE),
        rows=torch.full((number,), 77, **ints),
        kept_offsets=torch.full((frames + 1,), 77, **ints),
        place=torch.full((number,), 77, **ints),
        lists=torch.full((positions // TILE, 9, TILE), 77, **ints),
        masks=torch.full((positions // TILE,), 77, **ints),
        x=torch.full((positions, 8), torch.nan, device=DEVICE),
        windows=torch.full((windows, 4), 77, **ints),
        window_of=torch.full((positions,), 77, **ints),
        out_sites=torch.full((windows,), 77, **ints),
        out_offsets=torch.full((frames + 1,), 77, **ints),
    )
    given = (t.to(DEVICE) for t in (features, x.sites, x.offsets, logits))
    with use_backend("triton"):
        select_and_place(*given, height, width, p, selection, got)
    kept = top_p_select(TopPSelect(features, x.sites, x.offsets, logits, p, selection, True))
    got = Selected(*(t.cpu() for t in got))
    return Run(case, got, kept.sites, kept.features, kept.rows, kept.offsets, kept.attention)


CASES = [
    (frames, height, width, density, p)
    for frames, height, width in ((1, 2, 2), (5, 7, 9), (3, 16, 4), (2, 1, 5))
    for density in (0.1, 1.0)
    for p in (0.4, 1.0)
]


@pytest.mark.parametrize("selection", list(Selection))
@pytest.mark.parametrize(("frames", "height", "width", "density", "p"), CASES)
def test_kept_rows_and_their_places(
    frames: int, height: int, width: int, density: float, p: float, selection: Selection
) -> None:
    it = run(frames, height, width, density, p, selection)
    got, kept = it.got, len(it.rows)
    assert torch.equal(got.rows[:kept], it.rows)
    assert (got.rows[kept:] == -1).all()
    assert torch.equal(got.kept_offsets, it.offsets)
    torch.testing.assert_close(got.attention, it.attention, rtol=1e-6, atol=0)
    place, lists, masks = place_rows(it.sites, it.offsets, height, width)
    tiles = tiles_of(kept)
    assert torch.equal(got.place[:kept], place)
    assert torch.equal(got.lists[:tiles], lists)
    assert torch.equal(got.masks[:tiles], masks)
    x = got.x[place.long()]
    torch.testing.assert_close(x, it.features, rtol=2e-6 if selection.scales else 0, atol=0)


@pytest.mark.parametrize(("frames", "height", "width", "density", "p"), CASES)
def test_windows_of_the_pool(
    frames: int, height: int, width: int, density: float, p: float
) -> None:
    it = run(frames, height, width, density, p, Selection.HARD)
    got, offsets = it.got, it.offsets.tolist()
    windows, sites, ends, window_of = [], [], [0], {}
    for frame in range(frames):
        rows = range(offsets[frame], offsets[frame + 1])
        row_at = {int(it.sites[row]): row for row in rows}
        for site in range(height // 2 * (width // 2)):
            y, x = divmod(site, width // 2)
            corners = [(2 * y + dy) * width + 2 * x + dx for dy in (0, 1) for dx in (0, 1)]
            inside = [row_at.get(corner, -1) for corner in corners]
            if max(inside) < 0:
                continue
            window = [-1 if row < 0 else int(got.place[row]) for row in inside]
            for slot, place in enumerate(window):
                window_of[place] = 4 * len(windows) + slot
            windows.append(window)
            sites.append(site)
        ends.append(len(windows))
    assert got.windows[: len(windows)].tolist() == windows
    assert got.out_sites.tolist() == sites + [0] * (len(got.out_sites) - len(sites))
    assert got.out_offsets.tolist() == ends
    kept = len(it.rows)
    assert got.window_of[:kept].tolist() == [window_of.get(at, -1) for at in range(kept)]
