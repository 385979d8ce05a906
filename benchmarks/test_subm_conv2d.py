"""`subm_conv2d` alone, half of the sites active in smooth clusters, against dense PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from benchmarks.gate import check_conv2d
from benchmarks.inputs import convolution_case
from benchmarks.measure import count_flops
from benchmarks.shapes import (
    AUDIO_BLOCKS,
    DTYPES,
    FACE_BLOCKS,
    HALF,
    Shape,
)

SHAPES = [
    FACE_BLOCKS[0],
    FACE_BLOCKS[0].second(),
    *FACE_BLOCKS[1:],
    *(
        pytest.param(shape, marks=pytest.mark.full)
        for shape in (*map(Shape.second, FACE_BLOCKS[1:]), *AUDIO_BLOCKS)
    ),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=Shape.id)
def test_forward(
    measure: Callable[..., None], device: str, frames: int, shape: Shape, dtype: str
) -> None:
    from mesm_ops import SparseFeatureMaps, subm_conv2d

    case = convolution_case(shape, HALF, DTYPES[dtype], frames, device)
    dense_weight = case.weight.contiguous(memory_format=torch.channels_last)
    x = SparseFeatureMaps.from_dense(case.maps, case.mask)

    @torch.no_grad()
    def ours() -> SparseFeatureMaps:
        return subm_conv2d(x, case.weight)

    @torch.no_grad()
    def dense() -> torch.Tensor:
        return F.conv2d(case.maps, dense_weight, padding=1)

    facts = {
        "group": f"subm_conv2d forward, {dtype}, {frames} frames",
        "what": "subm_conv2d forward",
        "shape": str(shape),
        "frames": frames,
        "p": None,
        "dtype": dtype,
        "density": float(case.mask.float().mean()),
        "flops": count_flops(ours),
        "dense_flops": count_flops(dense),
    }

    def gate() -> float:
        return check_conv2d(ours().to_dense(), case.maps, case.mask, case.weight)

    measure(facts, gate, ours, dense)
