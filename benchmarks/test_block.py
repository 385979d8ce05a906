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
from torch import Tensor

from benchmarks.gate import autocast, check_block
from benchmarks.inputs import BlockCase, block_case
from benchmarks.measure import Run, count_flops, peak_memory
from benchmarks.shapes import AUDIO_BLOCKS, FACE_BLOCKS, FRAMES, HEADLINE_P, P_VALUES, Shape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# bfloat16 training repeats what the other three kinds of row show, so by default at a few p.
FEW_P = (0.3, 0.5, 0.7, 1.0)
BFLOAT16_P = [p if p in FEW_P else pytest.param(p, marks=pytest.mark.full) for p in P_VALUES]


@pytest.mark.parametrize("p", P_VALUES)
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inference(measure: Callable[..., None], shape: Shape, p: float, dtype: str) -> None:
    _measure_block(measure, shape, p, dtype, train=False)


@pytest.mark.parametrize("p", P_VALUES)
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_training_step(measure: Callable[..., None], shape: Shape, p: float) -> None:
    _measure_block(measure, shape, p, "float32", train=True)


@pytest.mark.parametrize("p", BFLOAT16_P)
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_training_step_bfloat16(measure: Callable[..., None], shape: Shape, p: float) -> None:
    _measure_block(measure, shape, p, "bfloat16", train=True)


@pytest.mark.full
@pytest.mark.parametrize("shape", AUDIO_BLOCKS, ids=Shape.id)
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
def test_audio_shapes(measure: Callable[..., None], shape: Shape, train: bool) -> None:
    _measure_block(measure, shape, HEADLINE_P, "float32", train)


@pytest.mark.full
@pytest.mark.parametrize("frames", [1, 8, 128, 512, 2048])
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_frame_counts(measure: Callable[..., None], shape: Shape, frames: int) -> None:
    _measure_block(measure, shape, HEADLINE_P, "float32", train=False, frames=frames)


def _measure_block(
    measure: Callable[..., None],
    shape: Shape,
    p: float,
    dtype: str,
    train: bool,
    frames: int = FRAMES,
) -> None:
    case = block_case(shape, p, DTYPES[dtype], frames)
    ours, dense = _runs(case, DTYPES[dtype], train)
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
    if train and p == HEADLINE_P and frames == FRAMES:
        facts |= {"peak_mib": peak_memory(ours), "dense_peak_mib": peak_memory(dense)}
    measure(facts, lambda: check_block(case, DTYPES[dtype], train), ours, dense)


@torch.no_grad()
def _density(case: BlockCase, dtype: torch.dtype) -> float:
    with autocast(dtype):
        return float(case.block.attend(case.maps, case.query, case.lengths).mask().float().mean())


def _runs(case: BlockCase, dtype: torch.dtype, train: bool) -> tuple[Run, Run]:
    case.block.train(train)
    case.rival.train(train)

    def sparse(maps: Tensor) -> Tensor:
        out: Tensor = case.block(maps, case.query, case.lengths).features
        return out

    def run(module: torch.nn.Module, forward: Callable[[Tensor], Tensor]) -> Run:
        if not train:
            return _inference(forward, case.maps, dtype)
        return _step(module, forward, case.maps, dtype)

    return run(case.block, sparse), run(case.rival, case.rival)


def _inference(forward: Callable[[Tensor], Tensor], maps: Tensor, dtype: torch.dtype) -> Run:
    @torch.no_grad()
    def run() -> Tensor:
        with autocast(dtype):
            return forward(maps)

    return run


def _step(
    module: torch.nn.Module,
    forward: Callable[[Tensor], Tensor],
    maps: Tensor,
    dtype: torch.dtype,
) -> Run:
    with torch.no_grad(), autocast(dtype):
        upstream = torch.randn_like(forward(maps))
    leaf = maps.detach().requires_grad_()

    def run() -> None:
        module.zero_grad(set_to_none=True)
        leaf.grad = None
        with autocast(dtype):
            out = forward(leaf)
        out.backward(upstream)

    return run
