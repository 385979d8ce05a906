"""A kernel that must not be shipped fails, with why."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.gpu_check.report import Compiled, read_ptxas, table, tensor_instructions

LOG = """ptxas info    : Function properties for foo
    {} bytes stack frame, {} bytes spill stores, {} bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]
"""


@pytest.mark.parametrize(
    ("row", "failure"),
    [
        (Compiled("k", "", "sm_90", 40, threads=128), None),
        (Compiled("k", "", "sm_90", 40, threads=128, spilled=8), "spills 8 bytes"),
        (
            Compiled("k", "", "sm_90", 40, threads=128, wants_tensor=True),
            "multiplies matrices without tensor-core instructions",
        ),
        (Compiled("k", "", "sm_90", 9, wants_tensor=True, tensor=Counter(HGMMA=1)), None),
        (
            Compiled("k", "", "sm_120", 40, threads=128, shared=100 << 10),
            "no block fits: 40 registers, 102400 bytes shared",
        ),
        (Compiled("k", "", "sm_80", error="does not compile: x"), "does not compile: x"),
    ],
)
def test_what_fails(row: Compiled, failure: str | None) -> None:
    assert row.failure() == failure
    assert (f"FAILS: {failure}" in table([row])[1]) == (failure is not None)


def test_ptxas_log_and_machine_code() -> None:
    assert read_ptxas(LOG.format(16, 8, 12)) == (40, 16, 20, 1024)
    with pytest.raises(ValueError, match="said nothing of registers"):
        read_ptxas("nothing")
    code = "HGMMA.64x64x16.F32.BF16 R24; HMMA.16816.F32 R4; UTCHMMA gdesc[UR4]; FFMA R1; HMMA.1688"
    assert tensor_instructions(code) == {"HGMMA": 1, "HMMA": 2, "UTCHMMA": 1}
