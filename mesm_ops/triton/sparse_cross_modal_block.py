"""sparse_cross_modal_block in few passes over the rows; batch statistics force most of them.

Forward: score, select, a table of neighbours; the first convolution, whose epilogue takes the
batch's statistics; the second, which normalises what it reads and takes statistics too; and the
pooling, which normalises what it compares. Backward, the same in the other order, the pool's
gradient with that of the norm before it. Neither the normalised rows nor the selected ones are
kept: they are computed again. The rulebook is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import backends
from ..reference import (
    CrossModalScore,
    SparseBatchNormBackward,
    SparseCrossModalBlock,
    SparseCrossModalBlockBackward,
    SparseCrossModalBlockGradients,
    SparseCrossModalBlockResult,
    SparseMaxPool2d,
    SparseMaxPool2dBackward,
    TopPSelect,
    TopPSelectBackward,
    TopPSelectResult,
)
from ._reductions import combine
from .cross_modal_score import cross_modal_score
from .kept_rows import kept_rows
from .neighbours import Neighbours, neighbours
from .norm_pool import fold_norm, norm_pool, norm_pool_backward
from .rulebook import from_flat, rulebook, rules_of
from .score_gradients import score_gradients
from .sparse_batch_norm import sparse_batch_norm_backward
from .subm_conv2d import convolve, weight_gradient

__all__ = ["sparse_cross_modal_block", "sparse_cross_modal_block_backward"]


def sparse_cross_modal_block(a: SparseCrossModalBlock) -> SparseCrossModalBlockResult:
    """Run the op of that name."""
    keep = a.keep or a.training
    logits = cross_modal_score(
        CrossModalScore(
            features=a.features,
            offsets=a.offsets,
            query=a.query,
            lengths=a.lengths,
            map_weight=a.map_weight,
            map_bias=a.map_bias,
            query_weight=a.query_weight,
            score_weight=a.score_weight,
            score_bias=a.score_bias,
        )
    )
    kept, found = _selected(
        TopPSelect(a.features, a.sites, a.offsets, logits, a.p, a.selection, a.trim),
        a.height,
        a.width,
    )
    book = rulebook(found, kept.offsets, a.height, a.width)
    rules = from_flat(book, kept.rows.shape[0])
    table, order = rules.table, rules.order

    running1 = (a.norm_weight1, a.norm_bias1, a.running_mean1, a.running_var1, a.eps1)
    running2 = (a.norm_weight2, a.norm_bias2, a.running_mean2, a.running_var2, a.eps2)
    y1, partial = convolve(kept.features, table, a.weight1, order=order, statistics=a.training)
    scale1, shift1, mean1, var1 = _folded(partial, kept.offsets, *running1)
    y2, partial = convolve(
        y1, table, a.weight2, order=order, scale=scale1, shift=shift1, statistics=a.training
    )
    scale2, shift2, mean2, var2 = _folded(partial, kept.offsets, *running2)

    # Which windows there are does not hang on the values: one channel of zeros tells, in which
    # the maximum is each window's first active row.
    zeros = y2.new_zeros(y2.shape[0], 1)
    pooled = _elsewhere(
        "sparse_max_pool2d",
        SparseMaxPool2d(zeros, kept.sites, kept.offsets, a.height, a.width, a.trim),
    )
    _, out_sites, out_offsets, first = pooled
    out, argmax = norm_pool(
        *(y2, kept.sites, found.table, first[:, 0], a.width, scale2, shift2, keep, rules.windows)
    )
    saved: tuple[Tensor, ...] = (kept.attention, y1, y2, argmax, book)
    if not keep:
        saved = tuple(tensor.new_empty(0) for tensor in saved)
    statistics = (mean1, var1, mean2, var2)
    return SparseCrossModalBlockResult(
        *(out, out_sites, out_offsets, *statistics, kept.rows, kept.offsets, *saved)
    )


def sparse_cross_modal_block_backward(
    a: SparseCrossModalBlockBackward,
) -> SparseCrossModalBlockGradients:
    """Run the op of that name."""
    norm1 = (a.norm_weight1, a.norm_bias1, a.mean1, a.var1)
    norm2 = (a.norm_weight2, a.norm_bias2, a.mean2, a.var2)
    x, x_sites = kept_rows(
        a.features, a.sites, a.offsets, a.rows, a.attention if a.selection.scales else None
    )
    if a.rulebook.shape[0]:
        rules = from_flat(a.rulebook, a.rows.shape[0])
    else:  # of a forward pass on another backend
        rules = rules_of(x_sites, a.kept_offsets, a.height, a.width)
    scale1, shift1, _, _ = fold_norm(*norm1, a.eps1)

    if a.rulebook.shape[0]:
        grad, of_norm_weight2, of_norm_bias2 = norm_pool_backward(
            *(a.grad_out, a.argmax, a.y2, rules.windows, a.kept_offsets, a.out_offsets),
            *(norm2, a.training, a.eps2),
        )
    else:
        grad = _elsewhere(
            "sparse_max_pool2d_backward",
            SparseMaxPool2dBackward(a.grad_out, a.argmax, a.rows.shape[0]),
        )
        grad, of_norm_weight2, of_norm_bias2 = sparse_batch_norm_backward(
            SparseBatchNormBackward(
                grad, a.y2, a.kept_offsets, *norm2, a.training, a.eps2, relu=True
            )
        )
    of_weight2 = weight_gradient(
        a.y1, grad, rules, scale=scale1, shift=shift1, dtype=a.weight2.dtype
    )
    grad, _ = convolve(grad, rules.table, a.weight2, order=rules.order, transposed=True)
    grad, of_norm_weight1, of_norm_bias1 = sparse_batch_norm_backward(
        SparseBatchNormBackward(grad, a.y1, a.kept_offsets, *norm1, a.training, a.eps1, relu=True)
    )
    of_weight1 = weight_gradient(x, grad, rules, dtype=a.weight1.dtype)
    grad, _ = convolve(grad, rules.table, a.weight1, order=rules.order, transposed=True)

    of_features, of_logits = _elsewhere(
        "top_p_select_backward",
        TopPSelectBackward(
            grad_out=grad,
            features=a.features,
            offsets=a.offsets,
            out_offsets=a.kept_offsets,
            rows=a.rows,
            attention=a.attention,
            selection=a.selection,
        ),
    )
    of_score = [a.features.new_empty(0) for _ in range(6)]
    if a.selection.learns:
        of_features, *of_score = score_gradients(
            *(of_logits, a.features, a.offsets, a.query, a.lengths),
            *(a.map_weight, a.map_bias, a.query_weight, a.score_weight, of_features),
        )
    query, map_weight, map_bias, query_weight, score_weight, score_bias = of_score
    return SparseCrossModalBlockGradients(
        features=of_features,
        query=query,
        map_weight=map_weight,
        map_bias=map_bias,
        query_weight=query_weight,
        score_weight=score_weight,
        score_bias=score_bias,
        weight1=of_weight1,
        norm_weight1=of_norm_weight1,
        norm_bias1=of_norm_bias1,
        weight2=of_weight2,
        norm_weight2=of_norm_weight2,
        norm_bias2=of_norm_bias2,
    )


_MOST_SITES = 4096  # of a frame, for which CUDA's selection has room: csrc/cuda/neighbours.cuh


def _selected(a: TopPSelect, height: int, width: int) -> tuple[TopPSelectResult, Neighbours]:
    """Return what top_p_select does, and the neighbours of what it keeps: in one launch on CUDA."""
    with backends.use_backend("auto"):
        if height * width <= _MOST_SITES and backends.choose("top_p_select", a) == "cuda":
            made = torch.ops.mesm_ops_cuda.top_p_select_neighbours(
                *(a.features, a.sites, a.offsets, a.logits, height, width, a.p, a.selection.scales)
            )
            return TopPSelectResult(*made[:5]), Neighbours(*made[5:])
        kept = TopPSelectResult(*backends.run("top_p_select", a))
    return kept, neighbours(kept.sites, kept.offsets, height, width)


def _elsewhere(op: str, a: Any) -> Any:
    """Run an op that has no Triton kernel on the fastest backend that can."""
    with backends.use_backend("auto"):
        return backends.run(op, a)


def _folded(
    partial: Tensor | None,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a norm as scale and shift, and the mean and variance that it uses."""
    if partial is None:
        return fold_norm(weight, bias, running_mean, running_var, eps)
    mean, var, scale, shift = combine(partial, offsets, weight, bias, eps)
    assert scale is not None
    assert shift is not None
    return scale, shift, mean, var
