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


def sparse_cross_modal_block(
    features: Tensor,  # (N, C)
    sites: Tensor,  # (N,)
    offsets: Tensor,  # (F + 1,)
    height: int,
    width: int,
    query: Tensor,  # (B, D)
    lengths: Tensor | None,  # (B,)
    map_weight: Tensor,  # (k, C)
    map_bias: Tensor,  # (k,)
    query_weight: Tensor,  # (k, D)
    score_weight: Tensor,  # (1, k)
    score_bias: Tensor,  # (1,)
    weight1: Tensor,  # (Cmid, C, 3, 3)
    norm_weight1: Tensor,  # (Cmid,)
    norm_bias1: Tensor,
    running_mean1: Tensor,
    running_var1: Tensor,
    weight2: Tensor,  # (Cout, Cmid, 3, 3)
    norm_weight2: Tensor,  # (Cout,)
    norm_bias2: Tensor,
    running_mean2: Tensor,
    running_var2: Tensor,
    p: float,
    weighted: bool,
    training: bool,
    eps1: float,
    eps2: float,
    trim: bool,
    keep: bool,
) -> tuple[Tensor, ...]:
    """Run the op of that name, arguments and results as in its schema."""
    keep = keep or training
    asked = (map_weight, map_bias, query_weight, score_weight, score_bias)
    logits = cross_modal_score(features, offsets, query, lengths, *asked)
    (x, x_sites, x_offsets, rows, attention), found = _selected(
        features, sites, offsets, logits, height, width, p, weighted, trim
    )
    book = rulebook(found, x_offsets, height, width)
    rules = from_flat(book, rows.shape[0])
    table, order = rules.table, rules.order

    running1 = (norm_weight1, norm_bias1, running_mean1, running_var1, eps1)
    running2 = (norm_weight2, norm_bias2, running_mean2, running_var2, eps2)
    y1, partial = convolve(x, table, weight1, order=order, statistics=training)
    scale1, shift1, mean1, var1 = _folded(partial, x_offsets, *running1)
    y2, partial = convolve(
        y1, table, weight2, order=order, scale=scale1, shift=shift1, statistics=training
    )
    scale2, shift2, mean2, var2 = _folded(partial, x_offsets, *running2)

    # Which windows there are does not hang on the values: one channel of zeros tells, in which
    # the maximum is each window's first active row.
    _, out_sites, out_offsets, first = _elsewhere(
        *("sparse_max_pool2d", y2.new_zeros(y2.shape[0], 1), x_sites, x_offsets, height, width),
        trim,
    )
    out, argmax = norm_pool(
        *(y2, x_sites, found.table, first[:, 0], width, scale2, shift2, keep, rules.windows)
    )
    kept: tuple[Tensor, ...] = (attention, y1, y2, argmax, book)
    if not keep:
        kept = tuple(tensor.new_empty(0) for tensor in kept)
    statistics = (mean1, var1, mean2, var2)
    return (out, out_sites, out_offsets, *statistics, rows, x_offsets, *kept)


def sparse_cross_modal_block_backward(
    grad_out: Tensor,  # (M, Cout)
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    query: Tensor,
    lengths: Tensor | None,
    map_weight: Tensor,
    map_bias: Tensor,
    query_weight: Tensor,
    score_weight: Tensor,
    score_bias: Tensor,
    weight1: Tensor,
    norm_weight1: Tensor,
    norm_bias1: Tensor,
    weight2: Tensor,
    norm_weight2: Tensor,
    norm_bias2: Tensor,
    mean1: Tensor,
    var1: Tensor,
    mean2: Tensor,
    var2: Tensor,
    rows: Tensor,
    kept_offsets: Tensor,
    attention: Tensor,
    y1: Tensor,
    y2: Tensor,
    out_offsets: Tensor,
    argmax: Tensor,
    weighted: bool,
    training: bool,
    eps1: float,
    eps2: float,
    book: Tensor,
) -> tuple[Tensor, ...]:
    """Run the op of that name, arguments and results as in its schema."""
    norm1 = (norm_weight1, norm_bias1, mean1, var1)
    norm2 = (norm_weight2, norm_bias2, mean2, var2)
    x, x_sites = kept_rows(features, sites, offsets, rows, attention if weighted else None)
    if book.shape[0]:
        rules = from_flat(book, rows.shape[0])
    else:  # of a forward pass on another backend
        rules = rules_of(x_sites, kept_offsets, height, width)
    scale1, shift1, _, _ = fold_norm(*norm1, eps1)

    if book.shape[0]:
        grad, of_norm_weight2, of_norm_bias2 = norm_pool_backward(
            *(grad_out, argmax, y2, rules.windows, kept_offsets, out_offsets),
            *(norm2, training, eps2),
        )
    else:
        grad = _elsewhere("sparse_max_pool2d_backward", grad_out, argmax, rows.shape[0])
        grad, of_norm_weight2, of_norm_bias2 = sparse_batch_norm_backward(
            grad, y2, kept_offsets, *norm2, training, eps2, True
        )
    of_weight2 = weight_gradient(y1, grad, rules, scale=scale1, shift=shift1, dtype=weight2.dtype)
    grad, _ = convolve(grad, rules.table, weight2, order=rules.order, transposed=True)
    grad, of_norm_weight1, of_norm_bias1 = sparse_batch_norm_backward(
        grad, y1, kept_offsets, *norm1, training, eps1, True
    )
    of_weight1 = weight_gradient(x, grad, rules, dtype=weight1.dtype)
    grad, _ = convolve(grad, rules.table, weight1, order=rules.order, transposed=True)

    of_features, of_logits = _elsewhere(
        "top_p_select_backward", grad, features, offsets, kept_offsets, rows, attention, weighted
    )
    of_asked = [features.new_empty(0) for _ in range(6)]
    if weighted:
        of_features, *of_asked = score_gradients(
            *(of_logits, features, offsets, query, lengths),
            *(map_weight, map_bias, query_weight, score_weight, of_features),
        )
    return (
        of_features,
        *of_asked,
        of_weight1,
        of_norm_weight1,
        of_norm_bias1,
        of_weight2,
        of_norm_weight2,
        of_norm_bias2,
    )


_MOST_SITES = 4096  # of a frame, for which CUDA's selection has room: csrc/cuda/neighbours.cuh


def _selected(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    logits: Tensor,
    height: int,
    width: int,
    p: float,
    weighted: bool,
    trim: bool,
) -> tuple[tuple[Tensor, ...], Neighbours]:
    """Return what top_p_select does, and the neighbours of what it keeps: in one launch on CUDA."""
    with backends.use_backend("auto"):
        args = (features, sites, offsets, logits, p, weighted, trim)
        if height * width <= _MOST_SITES and backends.choose("top_p_select", args) == "cuda":
            made = torch.ops.mesm_ops_cuda.top_p_select_neighbours(
                features, sites, offsets, logits, height, width, p, weighted
            )
            return made[:5], Neighbours(*made[5:])
        selected = backends.run("top_p_select", args)
    return selected, neighbours(selected[1], selected[2], height, width)


def _elsewhere(op: str, *args: Any) -> Any:
    """Run an op that has no Triton kernel on the fastest backend that can."""
    with backends.use_backend("auto"):
        return backends.run(op, args)


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
