"""The mask is what the block itself keeps, whatever `attend` says."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gate import autocast
from benchmarks.inputs import block_case
from benchmarks.kept import KeptSites, kept_by
from benchmarks.shapes import Shape

SHAPE = Shape(8, 16, 8, 6)


@pytest.mark.parametrize("p", [0.05, 0.5, 1.0])
def test_equals_what_attend_keeps_where_both_compute_alike(p: float) -> None:
    case = block_case(SHAPE, p, torch.float32, 4)
    wanted = case.block.attend(case.maps, case.query, case.lengths).mask()
    found = kept_by(case.block, case.maps, case.query, case.lengths)
    assert torch.equal(found, wanted)


def test_training_and_autocast_are_seen_too() -> None:
    case = block_case(SHAPE, 0.5, torch.bfloat16, 4)
    with KeptSites() as sites, autocast(torch.bfloat16):
        out = case.block.train()(case.maps, case.query, case.lengths)
    out.to_dense().sum().backward()
    assert 0.4 < float(sites.only().float().mean()) < 0.6
    assert case.block.conv1.weight.grad is not None


def test_every_block_that_runs_is_noted() -> None:
    first, second = (block_case(SHAPE, p, torch.float32, 4) for p in (0.3, 0.8))
    with KeptSites() as sites:
        for case in (first, second):
            case.block(case.maps, case.query, case.lengths)
    few, many = sites.masks
    assert int(few.sum()) < int(many.sum())
    with pytest.raises(RuntimeError, match="got 2"):
        sites.only()


def test_without_a_block_it_says_so() -> None:
    with KeptSites() as sites:
        torch.ones(2) + 1
    with pytest.raises(RuntimeError, match="wanted one block"):
        sites.only()
