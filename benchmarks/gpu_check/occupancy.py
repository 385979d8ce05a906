"""How many blocks of a kernel fit on one multiprocessor: registers, threads and shared memory."""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 65536  # per multiprocessor, on every architecture here
REGISTER_UNIT = 256  # registers a warp is given at a time
WARP_UNIT = 4  # warps share registers in fours
SHARED_UNIT = 128
SHARED_RESERVED = 1024  # bytes of each block, reserved for the system


@dataclass(frozen=True)
class Limits:
    """Limits of a multiprocessor (CUDA C++ programming guide, compute capabilities)."""

    threads: int
    blocks: int
    shared: int  # bytes per multiprocessor
    block_shared: int  # the most bytes of one block


LIMITS = {
    "sm_80": Limits(2048, 32, 164 << 10, 163 << 10),
    "sm_90": Limits(2048, 32, 228 << 10, 227 << 10),
    "sm_100": Limits(2048, 32, 228 << 10, 227 << 10),
    "sm_120": Limits(1536, 24, 100 << 10, 99 << 10),
}


@dataclass(frozen=True)
class Occupancy:
    """Blocks of a kernel on a multiprocessor; 0: not even one block fits."""

    blocks: int
    share: float  # of the warps that a multiprocessor can hold


def occupancy(arch: str, registers: int, threads: int, shared: int) -> Occupancy:
    """Return the number of blocks under the tightest limit.

    Args:
        arch: as "sm_90" or "sm_90a".
        registers: registers of a thread.
        threads: threads of a block.
        shared: bytes of a block, static and dynamic together.
    """
    limits = LIMITS[arch.rstrip("af")]
    warps = -(-threads // WARP)
    given = -(-max(registers, 1) * WARP // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = REGISTERS // given // WARP_UNIT * WARP_UNIT // warps
    block_shared = -(-shared // SHARED_UNIT) * SHARED_UNIT
    by_shared = limits.shared // (block_shared + SHARED_RESERVED)
    if shared > limits.block_shared:
        by_shared = 0
    most = limits.threads // WARP
    blocks = min(limits.blocks, most // warps, by_registers, by_shared)
    return Occupancy(blocks, blocks * warps / most)
