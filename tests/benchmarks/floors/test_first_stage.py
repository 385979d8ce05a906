"""The parts of the first stage that are timed are the whole of it."""

import torch

from benchmarks.floors.first_stage import parts_of
from benchmarks.measure import count_flops
from mesm.models.convolutions import FirstStage


@torch.no_grad()
def test_the_parts_make_the_stage_and_its_flops() -> None:
    torch.manual_seed(0)
    stage = FirstStage(3, 8).eval()
    frames = torch.randn(2, 3, 12, 16)
    parts = parts_of(stage, frames)
    assert torch.equal(parts["second pair"](), parts["all"]())
    flops = {name: count_flops(run) for name, run in parts.items()}
    whole = flops.pop("all")
    assert sum(flops.values()) == whole > 0
    # 2 clips: 5x5 on 12x16 sites, then four times 3x3 on 6x8.
    assert flops["5x5, pool"] == 2 * 2 * 12 * 16 * 25 * 3 * 8
    assert flops["first pair"] == flops["second pair"] == 2 * 2 * 2 * 6 * 8 * 9 * 8 * 8
