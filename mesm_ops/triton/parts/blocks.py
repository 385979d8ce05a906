"""How large the blocks of a kernel are, and how many programs a GPU runs at a time."""

from __future__ import annotations

from functools import lru_cache

import torch
import triton

__all__ = ["block_of", "programs_of"]

_INTERPRETED = 3  # multiprocessors: few, so that a program takes several tiles in the tests too


def block_of(size: int) -> int:
    """Return the block that takes a size: a power of two, of which tl.dot takes no less than 16."""
    return max(16, triton.next_power_of_2(size))


def programs_of(device: torch.device, each: int) -> int:
    """Return how many programs run side by side when each multiprocessor takes so many."""
    return each * (_INTERPRETED if device.type != "cuda" else _multiprocessors(device.index))


@lru_cache
def _multiprocessors(index: int | None) -> int:
    count: int = torch.cuda.get_device_properties(index).multi_processor_count
    return count
