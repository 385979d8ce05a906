"""The Gluon products of the weight gradient in the emulator, added by the plain kernel."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from mesm_ops.triton.parts.finish import finish
from mesm_ops.triton.parts.tiles import TILE
from mesm_ops.triton.parts.weight_gradient import WeightParts
from tests.mesm_ops.triton import gluon_emulator as emulator
from tests.mesm_ops.triton.gluon_values import Descriptor, Pointer, rounded
from tests.mesm_ops.triton.parts.rules import make_rules, weight_gradient

SUMS = 1e-5  # float32 sums of up to a few hundred products


def check(
    cin: int,
    cout: int,
    programs: int,
    frames: int = 14,
    density: float = 0.5,
    module: ModuleType | None = None,
) -> None:
    rng = np.random.default_rng(cin + cout + programs)
    rules = make_rules(frames, 8, 8, density, rng)
    m, n, capacity = 128, 128 if cin % 128 == 0 else 64, len(rules.masks)
    x, grad = (rounded(rules.filled(channels, rng)) for channels in (cin, cout))
    x[rules.rows :] = np.nan  # no list names them
    tiles = np.full((9, capacity), 2**30, np.int32)
    counts = np.zeros(16, np.int32)
    for tap in range(9):
        has = np.nonzero(rules.masks[: rules.tiles] >> tap & 1)[0]
        tiles[tap, : len(has)] = has
        counts[tap] = len(has)
    units = cout // m * (cin // n)
    partial = np.full((programs + 9 * units, m * n), np.nan, np.float32)
    emulator.run(
        (module or emulator.load("weight_gradient_hopper")).weight_gradient_kernel,
        *(programs, 4, Pointer(x), Pointer(rules.lists)),
        *(Pointer(tiles), Pointer(counts), Descriptor(grad, [64, m])),
        *(Pointer(partial), capacity),
        **{"CIN": cin, "COUT": cout, "TILE": TILE, "BLOCK_M": m, "BLOCK_N": n, "BLOCK_R": 64},
        STAGES=3,
    )
    out = torch.full((cout, cin, 3, 3), torch.nan)
    parts = torch.from_numpy(partial)
    finish(WeightParts(parts, torch.from_numpy(counts), out, programs, (m, n), TILE // 64))
    want = weight_gradient(rules, x, grad)
    assert np.abs(out.flatten(2).numpy() - want).max() <= SUMS * np.abs(want).max()


@pytest.mark.parametrize(
    ("cin", "cout", "programs"), [(64, 128, 3), (128, 256, 7), (128, 128, 40), (192, 128, 1)]
)
def test_equals_the_products(cin: int, cout: int, programs: int) -> None:
    check(cin, cout, programs)


@pytest.mark.parametrize("density", [0.02, 1.0])
def test_few_and_all_sites(density: float) -> None:
    check(64, 128, 5, frames=3, density=density)


def test_copies_may_land_as_late_as_they_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "LAZY", True)
    check(64, 128, 3, frames=3)


FAULTS = {
    "the stage still read is released": (
        "mbarrier.arrive(empty.index(stage_before(index, STAGES)), pred=i > 0)",
        "mbarrier.arrive(empty.index(index))",
    ),
    "rows are not waited for": ("            mbarrier.wait(full.index(index), phase)\n", ""),
    "the rows of another step": ("            tile = tile_later\n", ""),
    "bytes are counted wrongly": ("BLOCK_R * BLOCK_M * 2", "BLOCK_R * BLOCK_M * 4"),
    "the producer begins in the wrong phase": (
        "index = 0\n    phase = 1",
        "index = 0\n    phase = 0",
    ),
    "the producer does not wait": ("            mbarrier.wait(empty.index(index), phase)\n", ""),
    "the product is not waited for": (
        "acc = warpgroup_mma_wait(num_outstanding=0, deps=(acc,))",
        "acc = warpgroup_mma_wait(num_outstanding=1, deps=(acc,))",
    ),
    "arrivals are counted wrongly": ("count=128 + 1", "count=128"),
    "two segments share a slot": (
        "(gl.program_id(0) + tap * UNITS + unit)",
        "(tap * UNITS + unit)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_emulator_sees_a_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = FAULTS[fault]

    def plant(text: str) -> str:
        assert right in text
        return text.replace(right, wrong)

    monkeypatch.setattr(emulator, "PATIENCE", 0.5)
    module = emulator.load("weight_gradient_hopper", plant)
    errors = 0
    for attempt in range(4):  # a race may be won by luck
        monkeypatch.setattr(emulator, "LAZY", attempt % 2 == 1)
        try:
            check(64, 128, 3, module=module)
        except (AssertionError, RuntimeError, TypeError):
            errors += 1
            break
    assert errors
