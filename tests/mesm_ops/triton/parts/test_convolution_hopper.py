"""The Gluon convolution in the emulator; and that the emulator sees the faults such code has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mesm_ops.triton.parts.tiles import TILE
from tests.mesm_ops.triton import gluon_emulator as emulator
from tests.mesm_ops.triton.gluon_values import Descriptor, Pointer, rounded
from tests.mesm_ops.triton.parts.rules import convolved, make_rules

# Results are rounded once from float32; sums of up to a thousand of them are float32 sums.
ROUNDING = {"bfloat16": 2**-8, "float16": 2**-10}
SUMS = 1e-4


def check(
    cin: int,
    cout: int,
    *,
    transposed: bool = False,
    epilogue: int = 0,
    programs: int = 2,
    frames: int = 12,
    density: float = 0.5,
    dtype: str = "bfloat16",
    module: Any = None,
) -> None:
    rng = np.random.default_rng(cin + cout + programs)
    rules = make_rules(frames, 8, 8, density, rng)
    block, capacity = 128 if cout % 128 == 0 else 64, len(rules.masks) * TILE
    columns = cout // block
    shape = (9, cout, cin) if transposed else (9, cin, cout)
    weight = rounded(rng.standard_normal(shape) * 0.1, dtype)
    x = rounded(rules.filled(cin, rng), dtype)
    x[rules.rows :] = np.nan  # no list names them
    before = rounded(rules.filled(cout, rng), dtype)
    scale = rng.standard_normal(cout).astype(np.float32)
    shift = rng.standard_normal(cout).astype(np.float32) * 0.2
    middle = rng.standard_normal(cout).astype(np.float32)
    out = np.full((capacity, cout), np.nan, np.float32)
    partial = np.full((programs // columns, 2, cout), np.nan, np.float32)
    tile = [block, 64] if transposed else [64, block]
    emulator.run(
        (module or emulator.load("convolution_hopper")).convolve_kernel,
        *(programs, 4, Pointer(x, 0, dtype), Pointer(rules.lists)),
        Pointer(rules.masks),
        Descriptor(weight.reshape(-1, shape[2]), tile, dtype),
        Descriptor(out, [TILE, block], dtype),
        Descriptor(before, [TILE, block], dtype),
        Pointer(np.array([rules.rows], np.int32)),
        *(Pointer(scale), Pointer(shift), Pointer(middle)),
        *(Pointer(partial), columns),
        **{"CIN": cin, "COUT": cout, "TURNED": transposed, "EPILOGUE": epilogue, "TILE": TILE},
        **{"BLOCK_N": block, "BLOCK_K": 64, "STAGES": 3 if block == 128 else 4},
    )
    want = convolved(rules, x, weight, transposed)
    if epilogue == 1:
        want = np.maximum(want * scale + shift, 0)
    got = out[: rules.rows]
    assert np.abs(got - want).max() <= ROUNDING[dtype] * np.abs(want).max()
    if epilogue != 1:  # the last tile is filled up with zeros
        assert (out[rules.rows : rules.tiles * TILE] == 0).all()
    assert np.isnan(out[rules.tiles * TILE :]).all()
    if epilogue >= 2:
        seen = got.astype(np.float64)
        sums = [seen.sum(0), (seen**2).sum(0)]
        if epilogue == 3:
            compared = before[: rules.rows].astype(np.float64)
            seen = np.where(compared * scale + shift <= 0, 0, seen)
            sums = [seen.sum(0), (seen * (compared - middle)).sum(0)]
        for got_sum, want_sum in zip(partial.sum(0), sums, strict=True):
            assert np.abs(got_sum - want_sum).max() <= SUMS * np.abs(want_sum).max()


@pytest.mark.parametrize("epilogue", [0, 1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_equals_the_products(epilogue: int, transposed: bool) -> None:
    check(64, 128, epilogue=epilogue, transposed=transposed)


@pytest.mark.parametrize(
    ("cin", "cout", "programs"), [(128, 64, 3), (64, 256, 4), (128, 192, 3), (192, 64, 1)]
)
def test_other_channels_and_programs(cin: int, cout: int, programs: int) -> None:
    check(cin, cout, epilogue=2, programs=programs, frames=7)


@pytest.mark.parametrize("transposed", [False, True])
def test_copies_may_land_as_late_as_they_are_waited_for(
    transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "LAZY", True)
    check(64, 128, epilogue=3, transposed=transposed, frames=7)


def test_float16() -> None:
    check(64, 128, epilogue=3, dtype="float16", frames=5)


@pytest.mark.parametrize("density", [0.02, 1.0])
def test_few_and_all_sites(density: float) -> None:
    check(64, 64, epilogue=2, frames=3, density=density)


def test_more_programs_than_tiles() -> None:
    check(64, 64, epilogue=2, frames=1, programs=5)


FAULTS = {
    "arrivals are counted wrongly": ("count=128 + 1", "count=128"),
    "the stage still read is released": (
        "mbarrier.arrive(empty.index(stage_before(index, STAGES)), pred=(s > 0) | leaving)",
        "mbarrier.arrive(empty.index(index))",
    ),
    "rows are not waited for": (
        "            mbarrier.wait(full.index(index), phase)\n            w_tile",
        "            w_tile",
    ),
    "the producer begins in the wrong phase": (
        "index = 0\n    phase = 1",
        "index = 0\n    phase = 0",
    ),
    "the producer does not wait": (
        "                mbarrier.wait(empty.index(index), phase)\n                arrived",
        "                arrived",
    ),
    "the product is not waited for": (
        "acc = warpgroup_mma_wait(num_outstanding=0, deps=(acc,))",
        "acc = warpgroup_mma_wait(num_outstanding=1, deps=(acc,))",
    ),
    "the weight of another tap": ("[(8 - o) * COUT", "[o * COUT"),
    "bytes are counted wrongly": ("BLOCK_K * BLOCK_N * 2", "BLOCK_K * BLOCK_N"),
    "the result's stage is never released": ("pred=(s > 0) | leaving", "pred=s > 0"),
    "the result is not fenced": (
        "y_tile.store(acc.to(dtype))\n        fence_async_shared()\n",
        "y_tile.store(acc.to(dtype))\n",
    ),
    "the result is not waited for at the end": (
        "        gl.store(line + COUT, gl.sum(second_sum, axis=0))\n    tma.store_wait(0)\n",
        "        gl.store(line + COUT, gl.sum(second_sum, axis=0))\n",
    ),
    "the rows before are not waited for": (
        "        if EPILOGUE == 3:\n            mbarrier.wait(full.index(index), phase)\n",
        "        if EPILOGUE == 3:\n",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_emulator_sees_a_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = FAULTS[fault]

    def plant(text: str) -> str:
        assert right in text
        return text.replace(right, wrong)

    monkeypatch.setattr(emulator, "PATIENCE", 0.5)
    module = emulator.load("convolution_hopper", plant)
    errors = 0
    for attempt in range(4):  # a race may be won by luck
        monkeypatch.setattr(emulator, "LAZY", attempt % 2 == 1)
        try:
            check(64, 128, transposed=True, epilogue=3, programs=1, frames=7, module=module)
        except (AssertionError, RuntimeError, TypeError):
            errors += 1
            break
    assert errors
