"""Running statistics of norms: how a batch moves them, and how many batches have moved them."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import backends
from ..eager import is_eager
from ..reference import SparseCrossModalBlockResult
from ..sparse_feature_maps import SparseFeatureMaps
from .parameters import NormParameters

__all__ = ["count_batch", "update_both", "update_statistics"]


@torch.no_grad()
def update_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    rows: Tensor,
    momentum: float | Tensor,
) -> None:
    """Move running statistics towards a batch's, in place, as `torch.nn.BatchNorm1d` does.

    Args:
        running_mean: (C,), changed.
        running_var: (C,), changed.
        mean: (C,), the batch's mean.
        var: (C,), the batch's biased variance.
        rows: One integer, the batch's active rows; without rows nothing moves.
        momentum: The share of the batch.
    """
    same = running_mean.dtype is mean.dtype and running_var.dtype is var.dtype
    if same and rows.is_cpu and not isinstance(momentum, Tensor) and is_eager():
        count = int(rows)  # a CPU need not wait, and a number takes fewer torch calls
        if count > 0:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (count / max(count - 1, 1)), momentum)
        return
    rows = rows.to(mean.dtype)
    share = rows.clamp(max=1) * momentum  # 0 for a batch without active sites
    unbiased = var * (rows / (rows - 1).clamp(min=1))
    for running, batch in ((running_mean, mean), (running_var, unbiased)):
        running.copy_(torch.lerp(running.to(batch.dtype), batch, share))


@torch.no_grad()
def count_batch(
    batches: tuple[Tensor, Tensor] | None, norms: tuple[NormParameters, ...], rows: Tensor
) -> None:
    """Count a batch, unless it has no rows, for the norms in training.

    Args:
        batches: () int64 each, how many batches the norms have seen, counted up in place; None:
            nothing is counted.
        norms: As many as `batches`.
        rows: One integer, the batch's active rows.
    """
    for count, norm in zip(batches or (), norms, strict=False):
        if norm.training:
            count.add_(rows > 0)


def update_both(
    x: SparseFeatureMaps,
    out: SparseCrossModalBlockResult,
    norm1: NormParameters,
    norm2: NormParameters,
    batches: tuple[Tensor, Tensor] | None,
) -> None:
    """Move the running statistics of a block's two norms in training, and count the batch.

    Args:
        x: The maps that the block was given.
        out: The block's result, with the batch's statistics of both norms.
        norm1: The first convolution's.
        norm2: The second convolution's.
        batches: As in `count_batch`.
    """
    if out.rulebook.shape[0] and _moves_at_once(x, norm1, norm2, batches):
        _move_at_once(out, norm1, norm2, batches)
        return
    count_batch(batches, (norm1, norm2), x.offsets[-1])
    rows = out.kept_offsets[-1]
    for norm, mean, var in ((norm1, out.mean1, out.var1), (norm2, out.mean2, out.var2)):
        update_statistics(norm.running_mean, norm.running_var, mean, var, rows, norm.momentum)


def _moves_at_once(
    x: SparseFeatureMaps,
    norm1: NormParameters,
    norm2: NormParameters,
    batches: tuple[Tensor, Tensor] | None,
) -> bool:
    """Return whether `_move_at_once` takes these: tensors apart, on x's device, one value each."""
    written = [*norm1[:2], *norm2[:2], *(batches or ())]
    single = [n.momentum for n in (norm1, norm2) if isinstance(n.momentum, Tensor)]
    single += batches or ()
    return (
        is_eager()
        and {x.device}.issuperset([tensor.device for tensor in (*written, *single)])
        and all(map(Tensor.is_contiguous, (*written, *single)))
        and all(tensor.numel() == 1 for tensor in single)
        and all(count.dtype == torch.int64 for count in batches or ())
        and len(set(map(Tensor.data_ptr, written))) == len(written)
    )


def _move_at_once(
    out: SparseCrossModalBlockResult,
    norm1: NormParameters,
    norm2: NormParameters,
    batches: tuple[Tensor, Tensor] | None,
) -> None:
    """Do what `update_statistics` and `count_batch` do for both norms, in one launch."""
    from ..triton.parts.running import Running, move_running

    def running(norm: NormParameters, mean: Tensor, var: Tensor, count: Tensor | None) -> Running:
        moves = norm.momentum if isinstance(norm.momentum, Tensor) else float(norm.momentum)
        return Running(norm.running_mean, norm.running_var, mean, var, moves, count)

    count1, count2 = batches or (None, None)
    first = running(norm1, out.mean1, out.var1, count1)
    second = running(norm2, out.mean2, out.var2, count2)
    with backends.device_of(out.kept_offsets):
        move_running(out.kept_offsets, first, second)
    # A graph that saved one of them must notice, as it does where torch writes.
    torch.autograd.graph.increment_version([*norm1[:2], *norm2[:2], *(batches or ())])
