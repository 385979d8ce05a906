"""How the rows of each sample are shared among the programs of the score's gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .sizes import capability_of, cdiv, programs_of

__all__ = ["SMALL", "TILE", "Schedule", "schedule_of"]

TILE = 64  # rows that are multiplied together
SMALL = 4096  # entries of a weight that three programs on a multiprocessor hold each
_HELD = (64, 128)
_FEW = 256  # rows of a sample, on average, for which a sum of its own of each weight is too much


class Schedule(NamedTuple):
    """Chunks of rows that each lie in one sample, found on the device by `prepare`.

    The table is int32: of each chunk its first row, number of rows, sample and a zero; from
    4 * `most` on the number of chunks before each sample, and last of all chunks.
    """

    one_pass: bool  # a program sums the gradient of map_weight over its chunk as tiles pass by
    chunk: int  # rows of a chunk, a multiple of TILE
    most: int  # chunks, at most
    samples: int

    @property
    def size(self) -> int:
        """The length of the table."""
        return 4 * self.most + self.samples + 1


def schedule_of(
    rows: int, samples: int, channels: int, k: int, dtype: torch.dtype, device: torch.device
) -> Schedule:
    """Return how `score_gradients` goes through so many rows.

    In one pass where the weight and the sum of its gradient fit into the registers of a program
    beside a tile: in 16 bits, with no masks for odd sizes, and on compute capability 9, whose
    products take operands from shared memory. Compiled for others, or with masks, the kernel
    spills. Nor with few rows of a sample: each sample has a sum of its own.
    """
    one_pass = (
        k in _HELD
        and channels in _HELD
        and dtype != torch.float32
        and capability_of(device) == 9
        and rows >= _FEW * samples
    )
    chunk = TILE
    if one_pass:
        programs = programs_of(device, 3 if k * channels <= SMALL else 1)
        chunk *= max(1, cdiv(rows, programs * TILE))
    return Schedule(one_pass, chunk, min(rows, cdiv(rows, chunk) + samples), samples)
