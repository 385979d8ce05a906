from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.gpu.kernels import BlockKernels, kernels, launches, read_counters
from tests.benchmarks.gpu.settings import SHAPE, facts_of, tiny

NCU = """==PROF== Connected to process 7
every op ran
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","7","conv_kernel","GPU Speed Of Light Throughput","Duration","us","479.07"
"0","7","conv_kernel","GPU Speed Of Light Throughput","","",""
"0","7","conv_kernel","Launch Statistics","Registers Per Thread","register/thread","128"
"1","7","other","Occupancy","Waves Per SM","","1.5"
"""


def test_kernels_are_counted_for_one_step() -> None:
    a, b = torch.ones(8, 8), torch.ones(8, 8)

    def run() -> None:
        torch.mm(a, b)
        torch.mm(a, b)

    found = {kernel["name"]: kernel for kernel in kernels(run, "cpu")}
    assert found["aten::mm"]["count"] == pytest.approx(2)
    assert found["aten::mm"]["us"] > 0
    assert launches(run, "cpu") == 2 * launches(lambda: torch.mm(a, b), "cpu")


def test_a_row_for_ours_and_one_for_dense(tmp_path: Path) -> None:
    ours, dense = facts_of(BlockKernels(SHAPE, False), tiny(tmp_path))
    names = {kernel["name"] for kernel in ours["kernels"]}
    assert "mesm_ops::sparse_cross_modal_block" in names
    assert "aten::conv2d" in {kernel["name"] for kernel in dense["kernels"]}
    assert ours["total_us"] >= sum(kernel["us"] for kernel in ours["kernels"][:1])


def test_counters_are_read_by_launch() -> None:
    assert read_counters(NCU) == [
        {
            "kernel": "conv_kernel",
            "counters": {"Duration": "479.07 us", "Registers Per Thread": "128 register/thread"},
        },
        {"kernel": "other", "counters": {"Waves Per SM": "1.5"}},
    ]
    with pytest.raises(ValueError, match="ncu printed no table"):
        read_counters("==ERROR== no permission")
