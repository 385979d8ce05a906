"""The CUDA kernels of sparse_max_pool2d, on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mesm_ops import reference, use_backend
from tests.mesm_ops.cuda.capture import check_capture

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CASES = [  # frames, height, width, density, channels, padding
    (0, 4, 4, 0.5, 8, 3),
    (3, 2, 2, 0.0, 8, 2),
    (1, 2, 3, 1.0, 1, 0),
    (5, 7, 5, 0.5, 3, 40),
    (300, 24, 24, 0.5, 64, 100),
    (700, 6, 6, 0.1, 256, 0),
    (3, 70, 81, 0.3, 24, 5),  # more windows than shared memory holds
    (3, 6, 6, 0.5, 0, 2),
]


def draw(
    frames: int, height: int, width: int, density: float, channels: int, padding: int
) -> list[Tensor]:
    """Features with equals and some NaN, sites and offsets; NaN and senseless sites in padding."""
    mask = torch.rand(frames, height * width) < density
    if frames > 2:
        mask[1] = False
    rows = int(mask.sum())
    features = torch.randint(-3, 4, (rows, channels)).float()
    features[torch.rand(rows, channels) < 0.05] = torch.nan
    features[torch.rand(rows, channels) < 0.05] = -torch.inf
    features = torch.cat([features, torch.full((padding, channels), torch.nan)])
    sites = torch.cat([mask.nonzero()[:, 1], torch.full((padding,), 10**9)])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)])
    return [features, sites.int(), offsets.int()]


def run(maps: list[Tensor], height: int, width: int) -> tuple[Tensor, ...]:
    with use_backend("cuda"):
        op = torch.ops.mesm_ops.sparse_max_pool2d
        return op(*(t.cuda() for t in maps), height, width, False)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_the_reference(
    case: tuple[int, int, int, float, int, int], dtype: torch.dtype
) -> None:
    _, height, width, *_ = case
    features, sites, offsets = draw(*case)
    maps = [features.to(dtype), sites, offsets]
    found = run(maps, height, width)
    wanted = reference.sparse_max_pool2d(
        reference.SparseMaxPool2d(*maps, height, width, trim=False)
    )
    for got, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.cpu(), other, rtol=0, atol=0, equal_nan=True)

    grad = torch.randn(wanted[0].shape).to(dtype)
    grad[int(wanted[2][-1]) :] = torch.nan  # padding is ignored
    with use_backend("cuda"):
        back = torch.ops.mesm_ops.sparse_max_pool2d_backward(grad.cuda(), found[3], len(features))
    saved = reference.SparseMaxPool2dBackward(grad, wanted.argmax, len(features))
    assert torch.equal(back.cpu(), reference.sparse_max_pool2d_backward(saved))


def test_nothing_waits_and_a_graph_captures() -> None:
    maps = [t.cuda() for t in draw(300, 24, 24, 0.5, 64, 100)]
    maps[0] = maps[0].nan_to_num(0).bfloat16()
    torch.use_deterministic_algorithms(False)  # whose filling of fresh memory is no part of the op

    def step() -> tuple[Tensor, ...]:
        found = torch.ops.mesm_ops.sparse_max_pool2d(*maps, 24, 24, False)
        back = torch.ops.mesm_ops.sparse_max_pool2d_backward(found[0], found[3], len(maps[0]))
        return (*found, back)

    check_capture(step)
