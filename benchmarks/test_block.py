"""A whole `SparseCrossModalBlock` against PyTorch's dense block, per p and shape.

Ours: attention, top-p, both convolutions, norms, ReLUs and pool. Dense: both convolutions,
norms, ReLUs and pool, channels-last. Both get the same maps; a training step also computes the
maps' gradient, as inside a network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.gate import autocast, check_block
from benchmarks.inputs import BlockCase, block_case
from benchmarks.kept import kept_by
from benchmarks.measure import count_flops, peak_memory
from benchmarks.shapes import AUDIO_BLOCKS, DTYPES, FACE_BLOCKS, FRAMES, HEADLINE_P, P_VALUES, Shape
from benchmarks.steps import block_run, dense_run

# bfloat16 training repeats what the other three kinds of row show, so by default at a few p.
FEW_P = (0.3, 0.5, 0.7, 1.0)
BFLOAT16_P = [p if p in FEW_P else pytest.param(p, marks=pytest.mark.full) for p in P_VALUES]


@pytest.mark.parametrize("p", P_VALUES)
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inference(
    measure: Callable[..., None], device: str, frames: int, shape: Shape, p: float, dtype: str
) -> None:
    _measure_block(measure, device, frames, shape, p, dtype, train=False)


@pytest.mark.parametrize("p", P_VALUES)
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_training_step(
    measure: Callable[..., None], device: str, frames: int, shape: Shape, p: float
) -> None:
    _measure_block(measure, device, frames, shape, p, "float32", train=True)


@pytest.mark.parametrize("p", BFLOAT16_P)
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_training_step_bfloat16(
    measure: Callable[..., None], device: str, frames: int, shape: Shape, p: float
) -> None:
    _measure_block(measure, device, frames, shape, p, "bfloat16", train=True)


@pytest.mark.full
@pytest.mark.parametrize("shape", AUDIO_BLOCKS, ids=Shape.id)
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
def test_audio_shapes(
    measure: Callable[..., None], device: str, frames: int, shape: Shape, train: bool
) -> None:
    _measure_block(measure, device, frames, shape, HEADLINE_P, "float32", train)


@pytest.mark.full
@pytest.mark.parametrize("count", [1, 8, 128, 512, 2048])
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_frame_counts(measure: Callable[..., None], device: str, shape: Shape, count: int) -> None:
    _measure_block(measure, device, count, shape, HEADLINE_P, "float32", train=False)


def _measure_block(
    measure: Callable[..., None],
    device: str,
    frames: int,
    shape: Shape,
    p: float,
    dtype: str,
    train: bool,
) -> None:
    case = block_case(shape, p, DTYPES[dtype], frames, device)
    ours, dense = (run(case, DTYPES[dtype], train) for run in (block_run, dense_run))
    precision = dtype if dtype == "float32" else f"{dtype} autocast"
    what = "block training step" if train else "block inference"
    facts: dict[str, Any] = {
        "group": f"{what}, {precision}, {frames} frames",
        "what": what,
        "shape": str(shape),
        "frames": frames,
        "p": p,
        "dtype": precision,
        "density": _density(case, DTYPES[dtype]),
        "flops": count_flops(ours),
        "dense_flops": count_flops(dense),
    }
    if train and p == HEADLINE_P and frames == FRAMES[device]:
        facts |= {
            "peak_mib": peak_memory(ours, device),
            "dense_peak_mib": peak_memory(dense, device),
        }
    measure(facts, lambda: check_block(case, DTYPES[dtype], train), ours, dense)


def _density(case: BlockCase, dtype: torch.dtype) -> float:
    with autocast(dtype, case.maps.device.type):
        return float(kept_by(case.block, case.maps, case.query, case.lengths).float().mean())
