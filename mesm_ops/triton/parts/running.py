# mypy: allow-untyped-defs
"""The running statistics of a block's two norms, and the count of their batches, in one launch."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .replay import Recorded
from .sizes import cdiv

__all__ = ["Running", "move_running"]

_CHANNELS = 128


class Running(NamedTuple):
    """A norm's running statistics and a batch's."""

    running_mean: Tensor  # (C,), changed in place, as the next
    running_var: Tensor
    mean: Tensor  # (C,) float32
    var: Tensor  # biased
    momentum: float | Tensor  # a tensor has one element, and the host does not wait for it
    batches: Tensor | None = None  # () int64, counted up


@triton.jit
def _moved(running, batch, momentum):
    """Return the running value moved towards the batch's, equal to it at a momentum of 1."""
    gap = batch - running
    return tl.where(momentum < 0.5, running + momentum * gap, batch - gap * (1.0 - momentum))


@triton.jit
def _move(
    running_mean, running_var, mean, var, momentum, batches, count, block, channels,
    READ: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    if batches is not None:  # noqa: SIM102 - known to the compiler, unlike what comes next
        if (block == 0) & (count > 0):
            tl.store(batches, tl.load(batches) + 1)
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < channels
    moves = tl.load(momentum).to(tl.float32) if READ else momentum
    moves = tl.where(count > 0, moves, 0.0)
    rows = tl.maximum(count, 1).to(tl.float32)
    old = tl.load(running_mean + c, mask=inside, other=0.0)
    batch = tl.load(mean + c, mask=inside, other=0.0)
    moved = _moved(old.to(tl.float32), batch, moves)
    tl.store(running_mean + c, tl.where(count > 0, moved.to(old.dtype), old), mask=inside)
    old = tl.load(running_var + c, mask=inside, other=0.0)
    batch = tl.load(var + c, mask=inside, other=0.0) * (rows / tl.maximum(rows - 1.0, 1.0))
    moved = _moved(old.to(tl.float32), batch, moves)
    tl.store(running_var + c, tl.where(count > 0, moved.to(old.dtype), old), mask=inside)


@triton.jit(do_not_specialize_on_alignment=["number"])
def _move_kernel(
    number,
    running_mean1,
    running_var1,
    mean1,
    var1,
    momentum1,
    batches1,
    running_mean2,
    running_var2,
    mean2,
    var2,
    momentum2,
    batches2,
    channels1,
    channels2,
    READ1: tl.constexpr,
    READ2: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    count = tl.load(number).to(tl.int32)
    block, blocks = tl.program_id(0), tl.cdiv(channels1, BLOCK_C)
    if block < blocks:
        _move(
            running_mean1, running_var1, mean1, var1, momentum1, batches1, count, block, channels1,
            READ1, BLOCK_C,
        )  # fmt: skip
    else:
        _move(
            running_mean2, running_var2, mean2, var2, momentum2, batches2, count, block - blocks,
            channels2, READ2, BLOCK_C,
        )  # fmt: skip


def move_running(kept_offsets: Tensor, first: Running, second: Running) -> None:
    """Move two norms' running statistics towards a batch's, as `torch.nn.BatchNorm1d` does.

    Without rows the running statistics stay, and the batch is not counted.

    Args:
        kept_offsets: (F + 1,) int32, the last of which is how many rows the batch has.
        first: The statistics of one norm.
        second: The statistics of the other norm.
    """
    _move_both((kept_offsets, *first, *second))


@Recorded
def _move_both(a: tuple[Any, ...]) -> tuple[()]:
    first, second = Running(*a[1:7]), Running(*a[7:])
    channels = [len(norm.mean) for norm in (first, second)]
    launch(
        _move_kernel,
        (sum(cdiv(c, _CHANNELS) for c in channels),),
        a[0][-1:],
        *first,
        *second,
        *channels,
        READ1=isinstance(first.momentum, Tensor),
        READ2=isinstance(second.momentum, Tensor),
        BLOCK_C=_CHANNELS,
    )
    return ()
