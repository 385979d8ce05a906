"""The sparse ops against other implementations, half of the sites kept, float32, forward only.

One row per rival (`benchmarks/rivals.py`), each timed in turns with the sparse side. The sparse
block is given dense maps, and its time includes the attention; the convolution alone is given its
sites.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks import rivals
from benchmarks.dense import masked_block
from benchmarks.gate import VALUE_TOLERANCE, RedGate, check_block, check_conv2d, relative_error
from benchmarks.inputs import BlockCase, block_case, convolution_case
from benchmarks.kept import kept_by
from benchmarks.measure import count_flops
from benchmarks.rivals import DENSE, SPCONV, Rival
from benchmarks.shapes import FACE_BLOCKS, HALF, HEADLINE_P, Shape

pytestmark = pytest.mark.full  # compiling takes as long as measuring


@pytest.mark.parametrize("rival", rivals.installed())
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_subm_conv2d(
    measure: Callable[..., None], device: str, frames: int, shape: Shape, rival: str
) -> None:
    from mesm_ops import SparseFeatureMaps, subm_conv2d

    case = convolution_case(shape, HALF, torch.float32, frames, device)
    x = SparseFeatureMaps.from_dense(case.maps, case.mask)
    other = rivals.convolution(rival, case)
    everywhere = torch.ones_like(case.mask)

    @torch.no_grad()
    def ours() -> SparseFeatureMaps:
        return subm_conv2d(x, case.weight)

    def gate() -> float:
        at = case.mask if rival == SPCONV else everywhere
        theirs = check_conv2d(other.value(), case.maps, at, case.weight)
        return max(theirs, check_conv2d(ours().to_dense(), case.maps, case.mask, case.weight))

    facts = _facts("subm_conv2d forward", frames, shape, rival, None) | {
        "density": float(case.mask.float().mean()),
        "flops": count_flops(ours),
        "dense_flops": rivals.convolution(DENSE, case).flops,
        "rival_flops": other.flops,
    }
    with rivals.threads_for(rival):
        measure(facts, gate, ours, other.run)


@pytest.mark.parametrize("rival", rivals.installed())
@pytest.mark.parametrize("shape", FACE_BLOCKS, ids=Shape.id)
def test_block(
    measure: Callable[..., None], device: str, frames: int, shape: Shape, rival: str
) -> None:
    case = block_case(shape, HEADLINE_P, torch.float32, frames, device)
    case.block.eval()
    kept = kept_by(case.block, case.maps, case.query, case.lengths)
    other = rivals.block(rival, case)

    @torch.no_grad()
    def ours() -> Tensor:
        out: Tensor = case.block(case.maps, case.query, case.lengths).features
        return out

    def gate() -> float:
        return max(
            check_block(case, torch.float32, train=False), _check_rival(rival, other, case, kept)
        )

    facts = _facts("block inference", frames, shape, rival, HEADLINE_P) | {
        "density": float(kept.float().mean()),
        "flops": count_flops(ours),
        "dense_flops": rivals.block(DENSE, case).flops,
        "rival_flops": other.flops,
    }
    with rivals.threads_for(rival):
        measure(facts, gate, ours, other.run)


def _facts(what: str, frames: int, shape: Shape, rival: str, p: float | None) -> dict[str, object]:
    return {
        "group": f"{what} against rivals, float32, {frames} frames",
        "what": what,
        "rival": rival,
        "shape": str(shape),
        "frames": frames,
        "p": p,
        "dtype": "float32",
    }


@torch.no_grad()
def _check_rival(name: str, rival: Rival, case: BlockCase, kept: Tensor) -> float:
    """Compare a rival's block with whole maps, masked where the rival is sparse.

    Raises:
        RedGate: the rival and whole maps do not agree.
    """
    if name == SPCONV:
        truth = masked_block(case.block, case.maps, case.query, case.lengths, kept)
    else:
        truth = case.rival(case.maps)
    error = relative_error(rival.value(), truth)
    if error > VALUE_TOLERANCE:
        raise RedGate(f"{name} is off by {error:.1e}, allowed {VALUE_TOLERANCE:.1e}")
    return error
