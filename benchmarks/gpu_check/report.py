"""The facts `make gpu-check` prints for a compiled kernel, and when they are a failure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.gpu_check.occupancy import Occupancy, occupancy
from benchmarks.report import aligned

# Matrix instructions in machine code: mma.sync on sm_80 and sm_120, wgmma on sm_90, tcgen05 later.
_TENSOR = re.compile(r"\b((?:HMMA|IMMA|DMMA|QMMA|OMMA|HGMMA|IGMMA|QGMMA|UTC[A-Z]*MMA)\b)")
_PTXAS = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads"
)
COLUMNS = (
    *("kernel", "variant", "arch", "regs", "spilled", "shared", "threads", "blocks/SM", "warps"),
    "tensor cores",
)


@dataclass
class Compiled:
    """One kernel for one architecture."""

    kernel: str
    variant: str  # dtype and tile sizes, or template arguments
    arch: str
    registers: int = 0
    stack: int = 0
    spilled: int = 0  # bytes stored and loaded again
    shared: int = 0
    dynamic: bool = False  # the launch may add shared memory
    threads: int | None = None  # None: only the launch decides
    tensor: Counter[str] = field(default_factory=Counter)
    wants_tensor: bool = False
    error: str | None = None

    def failure(self) -> str | None:
        """Say why this kernel must not be shipped; None: it may."""
        if self.error:
            return self.error
        if self.spilled:
            return f"spills {self.spilled} bytes"
        if self.wants_tensor and not self.tensor:
            return "multiplies matrices without tensor-core instructions"
        if self.threads and not self.fits().blocks:
            return f"no block fits: {self.registers} registers, {self.shared} bytes shared"
        return None

    def fits(self) -> Occupancy:
        """Return its occupancy."""
        return occupancy(self.arch, self.registers, self.threads or 1, self.shared)


def read_ptxas(text: str) -> tuple[int, int, int, int]:
    """Return registers, stack bytes, spilled bytes and static shared bytes of one kernel's log."""
    used = re.search(r"Used (\d+) registers", text)
    properties = _PTXAS.search(text)
    if used is None or properties is None:
        raise ValueError(f"ptxas -v said nothing of registers: {text!r}")
    shared = re.search(r"(\d+) bytes smem", text)
    spilled = int(properties["stores"]) + int(properties["loads"])
    return int(used[1]), int(properties["stack"]), spilled, int(shared[1]) if shared else 0


def tensor_instructions(sass: str) -> Counter[str]:
    """Count matrix instructions in disassembled machine code."""
    return Counter(_TENSOR.findall(sass))


def table(rows: list[Compiled]) -> list[str]:
    """One line per kernel and architecture; failures end with why."""
    ordered = sorted(rows, key=lambda r: (r.kernel, r.variant, int(re.sub(r"\D", "", r.arch))))
    texts = aligned([COLUMNS, *(_cells(row) for row in ordered)])
    for number, row in enumerate(ordered, start=1):
        if failure := row.failure():
            texts[number] += f"  FAILS: {failure}"
    return texts


def _cells(row: Compiled) -> tuple[str, ...]:
    name = (row.kernel, row.variant, row.arch)
    if row.error:
        return (*name, *[""] * (len(COLUMNS) - len(name)))
    fits, most = row.fits() if row.threads else None, "≤ " * row.dynamic
    return (
        *name,
        str(row.registers),
        str(row.spilled),
        f"{row.shared}{' + ?' * row.dynamic}",
        str(row.threads or "?"),
        "?" if fits is None else f"{most}{fits.blocks}",
        "?" if fits is None else f"{most}{fits.share:.0%}",
        ", ".join(f"{n} {name}" for name, n in sorted(row.tensor.items())) or "-",
    )
