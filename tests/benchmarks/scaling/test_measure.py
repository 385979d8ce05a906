"""Costs measured on a small corpus."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.scaling.measure import (
    children_cpu,
    children_of,
    cpu_of,
    machine_cpu,
    measure_assembly,
    measure_listing,
    measure_units,
)
from mesm.corpora.miniature.generate import generate


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scaling") / "raw"
    generate(folder, clips=6, seed=0, layout="iemocap", workers=1)
    return folder


def test_every_dialog_is_a_unit_with_its_costs(raw: Path, tmp_path: Path) -> None:
    units = measure_units("iemocap", raw, tmp_path)
    assert sum(unit.clips for unit in units) == 6
    assert all(0 < unit.seconds < unit.recorded for unit in units)
    assert min(unit.cpu_s for unit in units) > 0
    written = sum(path.stat().st_size for path in tmp_path.glob("*.parquet"))
    assert sum(unit.write for unit in units) == written
    assert len(measure_units("iemocap", raw, tmp_path / "one", most=1)) == 1

    short, long = (
        measure_assembly("iemocap", tmp_path, most=24, times_longer=times, repeats=1)
        for times in (1, 3)
    )
    assert short["clips"] == long["clips"] == 24
    assert short["seconds"] == pytest.approx(4 * sum(unit.seconds for unit in units), rel=0.02)
    assert long["seconds"] == pytest.approx(3 * short["seconds"])
    assert 2 < long["bytes"] / short["bytes"] < 3.1
    assert not (tmp_path / "longer").exists()
    assert measure_listing("iemocap", raw, repeats=1) > 0


def test_processor_time_of_a_process_and_of_the_machine() -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    everybody, ended = machine_cpu(), children_cpu()
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        assert process.pid in children_of(os.getpid())
        used = cpu_of(process.pid)
        assert used is not None
        assert 0.4 < used < 2
        process.communicate(b"\n")
    assert children_cpu() - ended >= 0.4
    assert machine_cpu() - everybody >= 0.4
    assert cpu_of(process.pid) is None
    assert children_of(process.pid) == []
