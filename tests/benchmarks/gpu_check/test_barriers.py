"""A release at an address that never moves is found in machine code, and nothing else is."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check.barriers import unmoved_releases

LOOP = """
.L_x_3:
    HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24
    {step}
    SYNCS.ARRIVE.TRANS64.A1T0 RZ, [R5+URZ], RZ
    @P0 BRA `(.L_x_3)
    EXIT
"""


@pytest.mark.parametrize(
    ("step", "lost"),
    [
        ("IADD3 R7, R7, 0x8, RZ", ["R5"]),
        ("IADD3 R5, R7, 0x8, RZ", []),
        ("LEA R5, R7, R9, 0x3", []),
        ("SYNCS.PHASECHK.TRANS64 P0, [R5+URZ], R4", ["R5"]),
    ],
)
def test_a_release_whose_address_no_instruction_of_the_loop_writes(
    step: str, lost: list[str]
) -> None:
    assert unmoved_releases(LOOP.format(step=step)) == lost


def test_loops_without_matrix_instructions_are_not_pipelines_of_them() -> None:
    assert not unmoved_releases(LOOP.format(step="NOP").replace("HGMMA", "FFMA"))
