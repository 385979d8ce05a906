"""`subm_conv2d` alone, half of the sites active in smooth clusters, against dense oneDNN."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from benchmarks.gate import check_conv2d
from benchmarks.inputs import smooth_maps, smooth_mask
from benchmarks.measure import count_flops
from benchmarks.shapes import AUDIO_BLOCKS, FACE_BLOCKS, FRAMES, SECOND_CONVOLUTIONS, Shape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DENSITY = 0.5
SHAPES = [
    FACE_BLOCKS[0],
    SECOND_CONVOLUTIONS[0],
    *FACE_BLOCKS[1:],
    *(
        pytest.param(shape, marks=pytest.mark.full)
        for shape in (*SECOND_CONVOLUTIONS[1:], *AUDIO_BLOCKS)
    ),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=Shape.id)
def test_forward(measure: Callable[..., None], shape: Shape, dtype: str) -> None:
    from mesm_ops import SparseFeatureMaps, subm_conv2d

    generator = torch.Generator().manual_seed(3)
    maps = smooth_maps(FRAMES, shape, generator).to(DTYPES[dtype])
    mask = smooth_mask(FRAMES, shape, DENSITY, generator)
    fan_in = 9 * shape.in_channels
    weight = torch.randn(shape.out_channels, shape.in_channels, 3, 3, generator=generator)
    weight = (weight / fan_in**0.5).to(DTYPES[dtype])
    dense_weight = weight.contiguous(memory_format=torch.channels_last)
    x = SparseFeatureMaps.from_dense(maps, mask)

    @torch.no_grad()
    def ours() -> SparseFeatureMaps:
        return subm_conv2d(x, weight)

    @torch.no_grad()
    def dense() -> torch.Tensor:
        return F.conv2d(maps, dense_weight, padding=1)

    facts = {
        "group": f"subm_conv2d forward, {dtype}, {FRAMES} frames",
        "what": "subm_conv2d forward",
        "shape": str(shape),
        "frames": FRAMES,
        "p": None,
        "dtype": dtype,
        "density": float(mask.float().mean()),
        "flops": count_flops(ours),
        "dense_flops": count_flops(dense),
    }
    measure(facts, lambda: check_conv2d(ours().to_dense(), maps, mask, weight), ours, dense)
