"""Sizes of blocks and grids, reckoned on the host, and what a GPU has room for.

Triton's own `cdiv` and `next_power_of_2` serve kernels too, and cost a launcher some microseconds.
"""

from __future__ import annotations

import functools

import torch

from ...extension import triton_interprets

__all__ = ["block_of", "capability_of", "cdiv", "next_power_of_2", "programs_of"]

_INTERPRETED = 3  # multiprocessors: few, so that a program takes several tiles in the tests too


def cdiv(size: int, block: int) -> int:
    """Return how many blocks hold so much."""
    return -(-size // block)


def next_power_of_2(size: int) -> int:
    """Return the least power of two that is no less than a size of at least 1."""
    return 1 << (size - 1).bit_length()


def block_of(size: int) -> int:
    """Return the block that takes a size: a power of two, of which tl.dot takes no less than 16."""
    return max(16, next_power_of_2(size))


@functools.cache
def programs_of(device: torch.device, each: int) -> int:
    """Return how many programs run side by side when each multiprocessor takes so many."""
    if device.type != "cuda":
        return each * _INTERPRETED
    return each * torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def capability_of(device: torch.device) -> int:
    """Return the major number of a GPU's compute capability; interpreted, that of a new GPU."""
    return 9 if triton_interprets() else torch.cuda.get_device_capability(device)[0]
