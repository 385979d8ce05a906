"""Which way through the rows is taken, and that its chunks are enough; the table is prepare's."""

from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts import schedule as module
from mesm_ops.triton.parts.schedule import TILE, Schedule, schedule_of

CPU = torch.device("cpu")


def test_size_of_the_table() -> None:
    assert Schedule(False, TILE, 5, 3).size == 4 * 5 + 3 + 1


@pytest.mark.parametrize("counts", [[0], [1, 0, 5000], [700] * 9, [64, 65, 63], [3] * 40, []])
@pytest.mark.parametrize("channels", [64, 256])
def test_no_chunk_is_left_out(counts: list[int], channels: int) -> None:
    rows = sum(counts)
    plan = schedule_of(rows, len(counts), channels, channels, torch.bfloat16, CPU)
    assert plan.chunk % TILE == 0
    assert sum(-(-count // plan.chunk) for count in counts) <= plan.most
    assert plan.most <= rows


@pytest.mark.parametrize(
    ("rows", "channels", "k", "dtype", "capability", "one_pass"),
    [
        (10**5, 64, 64, torch.bfloat16, 9, True),
        (10**5, 128, 64, torch.float16, 9, True),
        (10**5, 256, 64, torch.bfloat16, 9, False),  # the weight is too large
        (10**5, 64, 96, torch.bfloat16, 9, False),  # its masks would take registers
        (10**5, 64, 64, torch.float32, 9, False),
        (10**5, 64, 64, torch.bfloat16, 8, False),
        (10**5, 64, 64, torch.bfloat16, 12, False),
        (1000, 64, 64, torch.bfloat16, 9, False),  # few rows of a sample
    ],
)
def test_one_pass_where_a_program_holds_the_weight(
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    channels: int,
    k: int,
    dtype: torch.dtype,
    capability: int,
    one_pass: bool,
) -> None:
    monkeypatch.setattr(module, "capability_of", lambda _: capability)
    plan = schedule_of(rows, 8, channels, k, dtype, CPU)
    assert plan.one_pass is one_pass
    if not one_pass:
        assert plan.chunk == TILE
