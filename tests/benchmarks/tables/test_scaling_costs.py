"""The costs of 1,000 hours of video: words and tables of made-up measurements."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.tables import amounts, scaling_costs


@pytest.fixture(autouse=True)
def _content(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, dict[str, Any]] = {
        "scaling": {
            "parameters": 125_000_000,
            "measured": {"write": 3.6e9, "core_s": 3600.0},
            "assumed": {
                **{"hours": 100.0, "clip_s": 6.0, "head_tasks": 100.0, "gpu_link": 10e9},
                **{"megabits": 8.0, "cores": 180, "minutes": 30.0},
            },
            "rows": [{"nodes": 10}, {"nodes": 1000}, {"nodes": 10}],
        },
        "scaling-rates": {
            "pool": {"head_cpu_s": 0.001},
            "features": [{"seconds": 1800.0, "write": 2e6, "cpu_s": 1.0}] * 2,
        },
        "experiment-cost-2cores": {
            "corpora": {
                "iemocap": {"minutes": 30.0, "prepared_bytes": 5e8},
                "mosei": {"minutes": 60.0, "prepared_bytes": 2e9},
            },
            "training": {"fe2e": {"run_bytes": 2e8}, "mesm": {"run_bytes": 3e8}},
        },
    }
    for module in (scaling_costs, amounts):
        monkeypatch.setattr(module, "results", found.__getitem__)


def test_an_exchange_of_gradients() -> None:
    # Twice four bytes a parameter.
    assert scaling_costs.gradients() == (
        "1 GB per machine of a MESM of the paper's size in float32, 100 ms at 10 GB/s (assumed)"
    )


def test_units_of_one_clip() -> None:
    told = scaling_costs.clips()
    assert told.startswith("60,000 units for 100 hours")
    assert "a head of 100 a second 10.0 minutes to hand out" in told
    assert "the pool of one machine 1.0;" in told


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_bytes_on_disk() -> None:
    found = {name: size for name, size, _ in rows(scaling_costs.storage())}
    assert found["recordings at 1 Mbit/s"] == "45 GB"
    assert found["prepared, as IEMOCAP, CMU-MOSEI"] == "100 GB to 200 GB"
    assert found["part files, until the end beside the prepared ones"] == "360 GB"
    assert found["features"] == "400 MB"
    assert found["a training's folder, whatever the hours"] == "300 MB"


def test_the_network_that_machines_ask_for() -> None:
    found = dict(rows(scaling_costs.network()))
    assert found["a unit reads / writes"] == "1.8 GB / 1.8 GB"
    assert found["a core, read and written"] == "2.00 MB/s"
    assert found["10 machines of 180 cores"] == "3.60 GB/s, 1 units/s"
    assert found["1,000 machines of 180 cores"] == "360.00 GB/s, 100 units/s"
