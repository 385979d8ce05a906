from __future__ import annotations

import pytest

from benchmarks.gpu_check.occupancy import occupancy


@pytest.mark.parametrize(
    ("arch", "registers", "threads", "shared", "blocks"),
    [
        ("sm_80", 32, 256, 0, 8),  # threads: 2048 / 256
        ("sm_80", 255, 256, 0, 1),  # registers: 65536 / (256 * 256)
        ("sm_90a", 32, 128, 100 << 10, 2),  # shared memory: 228 KiB
        ("sm_90", 32, 32, 0, 32),  # blocks
        ("sm_120", 32, 256, 0, 6),  # threads: 1536 / 256
        ("sm_90", 168, 384, 200 << 10, 1),
        ("sm_90", 32, 128, 228 << 10, 0),  # more than one block may ask for
    ],
)
def test_occupancy(arch: str, registers: int, threads: int, shared: int, blocks: int) -> None:
    found = occupancy(arch, registers, threads, shared)
    assert found.blocks == blocks
    assert found.share == pytest.approx(blocks * threads / (1536 if arch == "sm_120" else 2048))
