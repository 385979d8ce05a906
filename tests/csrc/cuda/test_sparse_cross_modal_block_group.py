"""The CUDA block's kernel that takes frames group by group, on the host, against the oracle."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.inputs import smooth_mask
from benchmarks.shapes import AUDIO_BLOCKS, FACE_BLOCKS, Shape
from tests.csrc.cuda.test_sparse_cross_modal_block import DTYPES, Case, check, make_case, run

CHANNELS = (64, 64, 128)
TAPS, NONE, KEYS = 9, 0xFFFF, 8
# HeldTile<4, 2>: 320 rows, 128 columns; <2, 4>: 160 rows, 256 columns.
NARROW, WIDE = (4, 4), (2, 4)
H200, A100, RTX_4090 = (232_448, 132), (166_912, 108), (101_376, 128)
RUNS, HARD, DEPTH, COLUMNS, ROWS, SHARED = range(6)


@pytest.fixture(scope="module")
def host(load_for_host: Callable[[str], ctypes.CDLL]) -> ctypes.CDLL:
    return load_for_host("sparse_cross_modal_block")


def grouped(
    host: ctypes.CDLL, case: Case, dtype: torch.dtype, p: float, frames: int, **options: Any
) -> dict[str, Tensor]:
    """What `run` returns, of groups of so many frames."""
    options = {"config": NARROW, "group": (frames, options.pop("stages", 3))} | options
    return run(host, case, dtype, p, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_against_the_oracle(host: ctypes.CDLL, dtype: torch.dtype, p: float, frames: int):
    case = make_case(dtype, channels=CHANNELS)
    check(grouped(host, case, dtype, p, frames), case, dtype, p)


@pytest.mark.parametrize(
    ("size", "channels", "tile", "stages", "frames"),
    [
        ((2, 2), CHANNELS, NARROW, 3, 8),
        ((7, 9), CHANNELS, NARROW, 2, 2),
        ((17, 18), (64, 128, 64), NARROW, 3, 1),  # a tile full of rows
        ((5, 24), (128, 64, 192), WIDE, 3, 1),
        ((7, 5), (64, 256, 256), WIDE, 3, 4),
    ],
)
def test_sizes(
    host: ctypes.CDLL,
    size: tuple[int, int],
    channels: tuple[int, int, int],
    tile: tuple[int, int],
    stages: int,
    frames: int,
):
    dtype = torch.bfloat16
    case = make_case(dtype, size=size, channels=channels, density=0.9)
    result = grouped(host, case, dtype, 1.0, frames, config=tile, stages=stages)
    check(result, case, dtype, 1.0)


def test_maps_of_one_line_of_sites(host: ctypes.CDLL):
    """No row has a neighbour above or below: whole groups leave out taps."""
    case = make_case(torch.float16, frames=4, size=(5, 8), channels=CHANNELS)
    case.mask[:] = False
    case.mask[:, 2] = True
    check(grouped(host, case, torch.float16, 0.7, 3), case, torch.float16, 0.7)


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_of_samples_empty_frames_and_one_site(host: ctypes.CDLL, frames: int):
    dtype = torch.bfloat16
    case = make_case(dtype, frames=6, density=0.5, lengths=[2, 0, 3, 1, 0], channels=CHANNELS)
    case.mask[1] = False
    case.mask[5] = False
    case.mask[3] = False
    case.mask[3, 4, 2] = True
    check(grouped(host, case, dtype, 0.5, frames), case, dtype, 0.5)


@pytest.mark.parametrize("padding", [0, 300])
@pytest.mark.parametrize("density", [0.0, 0.6])
def test_padding(host: ctypes.CDLL, padding: int, density: float):
    """Also more rows than windows, and fewer."""
    case = make_case(torch.bfloat16, frames=5, density=density, channels=CHANNELS)
    result = grouped(host, case, torch.bfloat16, 0.3, 2, padding=padding)
    check(result, case, torch.bfloat16, 0.3)


def test_no_frames(host: ctypes.CDLL):
    case = make_case(torch.bfloat16, frames=0, channels=CHANNELS)
    result = grouped(host, case, torch.bfloat16, 0.5, 2)
    assert result["kept_offsets"].tolist() == result["out_offsets"].tolist() == [0]
    assert (result["rows"] == -1).all()


def test_equal_scores_keep_the_lower_sites(host: ctypes.CDLL):
    """As many rows as a frame can keep, or one less."""
    dtype = torch.float16
    case = make_case(dtype, channels=CHANNELS)
    case.maps[:] = case.maps[:, :, :1, :1]
    result = grouped(host, case, dtype, 0.5, 2)
    assert result["rows"][:18].tolist() == list(range(18))
    check(result, case, dtype, 0.5)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_a_nan_reaches_its_frame_and_no_other(
    host: ctypes.CDLL, frames: int, value: float, density: float
):
    """It keeps all of its sites: more than are held, or as many."""
    case = make_case(torch.bfloat16, density=density, channels=CHANNELS)
    case.mask[1, 2, 2] = True
    case.maps[1, :, 2, 2] = value
    result = grouped(host, case, torch.bfloat16, 0.5, frames)
    check(result, case, torch.bfloat16, 0.5)
    ends = result["out_offsets"].tolist()
    assert result["out"][: ends[1]].isfinite().all()
    assert result["out"][ends[1] : ends[2]].isnan().all()
    assert result["out"][ends[2] :].isfinite().all()


@pytest.mark.parametrize(("threads", "side_by_side"), [(2, 1), (4, 2), (1, 3)])
def test_threads_and_blocks_do_not_matter(host: ctypes.CDLL, threads: int, side_by_side: int):
    case = make_case(torch.bfloat16, frames=7, channels=CHANNELS)
    alone = grouped(host, case, torch.bfloat16, 0.5, 2)
    together = grouped(
        host, case, torch.bfloat16, 0.5, 2, threads=threads, side_by_side=side_by_side
    )
    for key in alone.keys() - {"x", "order"}:  # which it does not have
        assert torch.equal(alone[key], together[key]), key


def test_the_group_does_not_matter(host: ctypes.CDLL):
    """Sums go through the same order whatever the tile and the group are."""
    case = make_case(torch.bfloat16, frames=8, channels=CHANNELS)
    results = [
        grouped(host, case, torch.bfloat16, 0.7, frames, config=tile, stages=stages)["out"]
        for frames, tile, stages in ((1, NARROW, 3), (4, WIDE, 3), (3, NARROW, 2))
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def slots_of(host: ctypes.CDLL, mask: Tensor, threads: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """order (slots,), words (TAPS, slots) and taps (slots / 16,) of a group's mask (F, H, W)."""
    sites = mask.flatten().nonzero().flatten()
    held, slots = len(sites), -(-len(sites) // 16) * 16
    order = torch.zeros(slots, dtype=torch.uint16)
    words = torch.zeros(TAPS, slots, dtype=torch.uint16)
    taps = torch.zeros(slots // 16, dtype=torch.int32)
    narrow = sites.to(torch.uint16)
    at = [ctypes.c_void_p(t.data_ptr()) for t in (narrow, order, words, taps)]
    host.run_slots(at[0], held, *mask.shape, slots, threads, *at[1:])
    return order.int(), words.int(), taps


@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 5, 5), (2, 12, 12)])
@pytest.mark.parametrize("threads", [1, 3])
def test_slots_know_their_neighbours(host: ctypes.CDLL, shape: tuple[int, int, int], threads: int):
    mask = torch.rand(shape) < 0.6
    order, words, taps = slots_of(host, mask, threads)
    held = mask.nonzero()
    slots = len(order)
    assert sorted(order[order != NONE].tolist()) == list(range(len(held)))
    place = {tuple(held[i].tolist()): slot for slot, i in enumerate(order.tolist()) if i != NONE}
    found = torch.zeros(slots, dtype=torch.int32)
    for slot, i in enumerate(order.tolist()):
        keys = [int(word) % KEYS for word in words[:, slot]]
        if i == NONE:
            assert (words[:, slot] // KEYS == slots).all()
            continue
        frame, y, x = held[i].tolist()
        for tap in range(TAPS):
            v, u = y + tap // 3 - 1, x + tap % 3 - 1
            wanted = place.get((frame, v, u), slots)
            assert words[tap, slot] // KEYS == wanted
            assert keys[tap] == (u + 3 * v) % KEYS
            found[slot] |= (wanted != slots) << tap
    for bits, sixteen in zip(taps.tolist(), found.view(-1, 16), strict=True):
        wanted = 0
        for one in sixteen.tolist():
            wanted |= one
        assert bits == wanted


@pytest.mark.parametrize(
    ("shape", "frames", "taps", "wavefronts"),
    [
        (FACE_BLOCKS[0], 1, 8.6, 1.12),
        (FACE_BLOCKS[1], 2, 8.7, 1.2),
        (AUDIO_BLOCKS[1], 1, 8.7, 1.2),
    ],
    ids=str,
)
def test_what_sorting_leaves_out(
    host: ctypes.CDLL, shape: Shape, frames: int, taps: float, wavefronts: float
):
    """The figures of docs/gpu.md: taps of a sixteen, and wavefronts where eight rows are read."""
    masks = smooth_mask(16, shape, 0.5, torch.Generator().manual_seed(0))
    left, read, number = 0, 0.0, 0
    for group in masks.split(frames):
        order, words, bits = slots_of(host, group)
        keys = torch.where(order != NONE, words[TAPS // 2] % KEYS, -1)
        for sixteen, bit in zip(keys.view(-1, 2, 8), bits.tolist(), strict=True):
            left += bit.bit_count()
            number += 1
            for eight in sixteen:
                most = torch.bincount(eight[eight >= 0], minlength=1).max()
                read += bit.bit_count() * int(most) / 2
    assert left / number == pytest.approx(taps, abs=0.1)
    assert read / left == pytest.approx(wavefronts, abs=0.05)


def test_no_bank_conflicts(host: ctypes.CDLL):
    assert host.held_bank_conflicts() == 1


class Planned(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("refusal", "frames", "most", "slots", "wide")),
        ("stages", ctypes.c_int32),
        ("bytes", ctypes.c_int64),
    ]


def plan(
    host: ctypes.CDLL,
    shape: Shape,
    p: float,
    gpu: tuple[int, int],
    *,
    frames: int = 512,
    weighted: bool = True,
) -> Planned:
    sizes = (frames, shape.height, shape.width, shape.in_channels, *[shape.out_channels] * 2)
    planned = Planned()
    host.run_plan_group(
        (ctypes.c_int64 * 6)(*sizes),
        *(ctypes.c_double(p), int(weighted), *map(ctypes.c_int64, gpu), ctypes.byref(planned)),
    )
    return planned


@pytest.mark.parametrize(
    ("shape", "p", "gpu", "refusal", "frames", "stages"),
    [
        (FACE_BLOCKS[0], 0.5, H200, RUNS, 1, 3),
        (FACE_BLOCKS[1], 0.5, H200, RUNS, 2, 3),
        (FACE_BLOCKS[2], 0.5, H200, COLUMNS, 0, 0),
        (FACE_BLOCKS[0], 1.0, H200, ROWS, 0, 0),
        (FACE_BLOCKS[1], 1.0, H200, RUNS, 1, 3),
        (AUDIO_BLOCKS[0], 0.5, H200, ROWS, 0, 0),
        (AUDIO_BLOCKS[1], 0.5, H200, RUNS, 1, 3),
        (FACE_BLOCKS[0], 0.5, A100, RUNS, 1, 2),
        (FACE_BLOCKS[1], 0.5, A100, RUNS, 1, 3),
        (FACE_BLOCKS[0], 0.5, RTX_4090, SHARED, 0, 0),
        (FACE_BLOCKS[1], 0.5, RTX_4090, SHARED, 0, 0),
        (Shape(40, 64, 6, 6), 0.5, H200, DEPTH, 0, 0),
        (Shape(64, 64, 400, 400), 0.001, H200, ROWS, 0, 0),
    ],
)
def test_plans(
    host: ctypes.CDLL,
    shape: Shape,
    p: float,
    gpu: tuple[int, int],
    refusal: int,
    frames: int,
    stages: int,
):
    planned = plan(host, shape, p, gpu)
    assert planned.refusal == refusal
    if refusal == RUNS:
        assert (planned.frames, planned.stages) == (frames, stages)
        assert planned.slots >= planned.frames * planned.most
        assert planned.slots % 16 == 0
        assert planned.bytes <= gpu[0]
    assert plan(host, shape, p, gpu, weighted=False).refusal == HARD


def test_few_frames_are_a_block_each(host: ctypes.CDLL):
    assert plan(host, FACE_BLOCKS[1], 0.5, H200, frames=100).frames == 1
