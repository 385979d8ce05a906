"""Sizes of blocks and grids, computed on the host, and how many programs a GPU runs at once.

Triton's own `cdiv` and `next_power_of_2` serve kernels too, and cost a launcher some microseconds.
"""

from __future__ import annotations

import functools

import torch

from ...extension import triton_interprets

__all__ = ["block_of", "capability_of", "cdiv", "next_power_of_2", "programs_of"]

_INTERPRETED = 3  # multiprocessors; so few that a program takes several tiles in the tests too


def cdiv(size: int, block: int) -> int:
    """Return how many blocks hold so much."""
    return -(-size // block)


def next_power_of_2(size: int) -> int:
    """Return the least power of two that is no less than a size of at least 1."""
    return 1 << (size - 1).bit_length()


def block_of(size: int) -> int:
    """Return the block for a size: a power of two, and at least 16 for tl.dot."""
    return max(16, next_power_of_2(size))


@functools.cache
def programs_of(device: torch.device, each: int) -> int:
    """Return how many programs run side by side when each multiprocessor runs `each`."""
    if triton_interprets():
        return each * _INTERPRETED
    return each * torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def capability_of(device: torch.device) -> int:
    """Return the major number of a GPU's compute capability; interpreted, a new GPU's."""
    return 9 if triton_interprets() else torch.cuda.get_device_capability(device)[0]
