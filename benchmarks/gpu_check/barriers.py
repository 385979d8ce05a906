"""Finds a fault of Triton 3.6's compiler: a loop that releases the barrier of another stage.

A pipelined loop of wgmma instructions releases a stage by arriving at its barrier, whose address
moves from stage to stage. Where the loop carries the stage before in a variable that enters equal
to the stage itself, the compiler takes both for one, and the address never moves: the kernel hangs
on a GPU and is right in an emulator. Only the machine code shows the fault.
"""

from __future__ import annotations

import re

_LABEL = re.compile(r"^\s*\.(L_x_\d+):")
_JUMP = re.compile(r"BRA.*`\(\.(L_x_\d+)\)")
# An arrival without a count to return, at an address in a register.
_RELEASE = re.compile(r"SYNCS\.ARRIVE\S* RZ, \[(U?R\d+)")
_LONGEST = 400  # lines; longer jumps back are loops around the pipelined loops


def unmoved_releases(sass: str) -> list[str]:
    """Return the registers of barrier addresses that a pipelined loop releases and never writes."""
    lines = sass.splitlines()
    labels = {found[1]: at for at, line in enumerate(lines) if (found := _LABEL.match(line))}
    lost = []
    for at, line in enumerate(lines):
        jump = _JUMP.search(line)
        start = labels.get(jump[1], at) if jump else at
        body = lines[start : at + 1]
        if start == at or len(body) >= _LONGEST or not any("HGMMA" in text for text in body):
            continue
        for register in (found[1] for text in body if (found := _RELEASE.search(text))):
            written = re.compile(rf"\s{register},")
            if not any(written.search(text) and "SYNCS" not in text for text in body):
                lost.append(register)
    return lost
