from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.gpu.row import machine_of, of_dense, timed
from tests.benchmarks.gpu.settings import tiny


def test_the_better_rival_is_the_one_compared_with(tmp_path: Path) -> None:
    x = torch.randn(64, 64)
    rivals = {"eager": lambda: [x @ x for _ in range(200)], "compiled": lambda: x @ x}
    for graph in (True, False):
        facts = timed(tiny(tmp_path), lambda: x @ x, rivals, graph)
        assert facts["rival"] == "dense compiled"
        assert facts["rivals_ms"]["eager"] > facts["rivals_ms"]["compiled"] == facts["rival_ms"]
        assert facts["how"] == {"ours": "call", "eager": "call", "compiled": "call"}


def test_machines_are_found_by_the_device_s_name() -> None:
    for name, wanted in (
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ):
        machine = machine_of(name)
        assert machine is not None
        assert machine.name == wanted
    assert machine_of("AMD EPYC") is None


def test_memory_is_a_share_where_both_are_known() -> None:
    assert of_dense({"peak_mib": 3.0, "dense_peak_mib": 4.0}) == {"peak_of_dense": 0.75}
    assert of_dense({"peak_mib": None, "dense_peak_mib": 4.0}) == {}
