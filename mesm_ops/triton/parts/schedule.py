"""How the rows of each sample are shared among the programs of the score's gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .sizes import capability_of, cdiv, programs_of

__all__ = ["SMALL", "TILE", "Schedule", "schedule_of"]

TILE = 64  # rows that are multiplied together
SMALL = 4096  # entries of a weight with which three programs fit on a multiprocessor
_HELD = (64, 128)
_FEW = 256  # average rows of a sample below which a weight's sum per sample costs too much


class Schedule(NamedTuple):
    """Chunks of rows that each lie in one sample, found on the device by `prepare`.

    The table is int32: per chunk the first row, the number of rows, the sample and a zero; from
    4 * `most` on, the number of chunks before each sample, and last the number of all chunks.
    """

    one_pass: bool  # a program sums the gradient of map_weight over its chunk as tiles pass by
    chunk: int  # rows of a chunk, a multiple of TILE
    most: int  # the most chunks there can be
    samples: int

    @property
    def size(self) -> int:
        """The length of the table."""
        return 4 * self.most + self.samples + 1


def schedule_of(
    rows: int, samples: int, channels: int, k: int, dtype: torch.dtype, device: torch.device
) -> Schedule:
    """Return how `score_gradients` goes through so many rows.

    One pass needs the weight and the sum of its gradient in the registers of a program beside a
    tile: 16 bits, no masks for odd sizes, and compute capability 9, whose products take operands
    from shared memory. Compiled for other GPUs, or with masks, the kernel spills. Samples of few
    rows take two passes, because each sample has a sum of its own.

    Args:
        rows: N, padding included.
        samples: B.
        channels: C.
        k: The size of the space in which maps and query meet.
        dtype: The features' dtype.
        device: The features' device.
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
