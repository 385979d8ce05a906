"""pool(relu(norm(conv(relu(norm(conv(select(x, score(x, query)))))))), of the other references."""

from __future__ import annotations

import torch
from torch import Tensor

from .cross_modal_score import cross_modal_score, cross_modal_score_backward
from .sparse_batch_norm import sparse_batch_norm, sparse_batch_norm_backward
from .sparse_max_pool2d import sparse_max_pool2d, sparse_max_pool2d_backward
from .subm_conv2d import subm_conv2d, subm_conv2d_backward
from .top_p_select import top_p_select, top_p_select_backward


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
    """Return the pooled features (M, Cout), sites and offsets, and what the backward pass needs.

    These are means and variances of both norms, the kept rows and their offsets, the attention,
    both convolutions' results and the pool's argmax; the last four empty if nobody keeps them. Then
    an empty rulebook: other backends may keep one.
    """
    dtype = features.dtype
    parameters = (map_weight, map_bias, query_weight, score_weight, score_bias)
    logits = cross_modal_score(
        features, offsets, query.to(dtype), lengths, *(tensor.to(dtype) for tensor in parameters)
    )
    x, x_sites, x_offsets, rows, attention = top_p_select(
        features, sites, offsets, logits, p, weighted, trim
    )
    place = (x_sites, x_offsets, height, width)
    norm1 = (norm_weight1, norm_bias1, running_mean1, running_var1, training, eps1)
    norm2 = (norm_weight2, norm_bias2, running_mean2, running_var2, training, eps2)
    y1 = subm_conv2d(x, *place, weight1.to(dtype), None)
    z1, mean1, var1 = sparse_batch_norm(y1, x_offsets, *norm1, True)
    y2 = subm_conv2d(z1, *place, weight2.to(dtype), None)
    z2, mean2, var2 = sparse_batch_norm(y2, x_offsets, *norm2, True)
    out, out_sites, out_offsets, argmax = sparse_max_pool2d(z2, *place, trim)
    kept: tuple[Tensor, ...] = (attention, y1, y2, argmax)
    if not (training or keep):
        kept = tuple(tensor.new_empty(0) for tensor in kept)
    statistics = (mean1, var1, mean2, var2)
    return (out, out_sites, out_offsets, *statistics, rows, x_offsets, *kept, sites.new_empty(0))


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
    mean1: Tensor,  # from here on as the forward pass returned them
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
    rulebook: Tensor,
) -> tuple[Tensor, ...]:
    """Return the gradients of features, query, the attention's parameters and both stages'.

    Without `weighted` those of the query and of the attention's parameters are empty.
    """
    dtype = features.dtype
    real, row = rows >= 0, rows.clamp(min=0)
    scale = attention.new_ones(1)
    if weighted:
        candidates = torch.cat([offsets.diff(), offsets.new_zeros(1)])  # the last: of no frame
        frame = torch.bucketize(row, offsets[1:], right=True)
        scale = (candidates[frame].to(attention.dtype) * attention[row])[:, None]
    x = torch.where(real[:, None], (features[row].to(attention.dtype) * scale).to(dtype), 0)
    place = (torch.where(real, sites[row], 0), kept_offsets, height, width)
    norm1 = (norm_weight1, norm_bias1, mean1, var1)
    norm2 = (norm_weight2, norm_bias2, mean2, var2)
    z1, _, _ = sparse_batch_norm(y1, kept_offsets, *norm1, False, eps1, True)

    grad = sparse_max_pool2d_backward(grad_out, argmax, rows.shape[0])
    grad, of_norm_weight2, of_norm_bias2 = sparse_batch_norm_backward(
        grad, y2, kept_offsets, *norm2, training, eps2, True
    )
    grad, of_weight2, _ = subm_conv2d_backward(
        grad, z1, *place, weight2.to(dtype), True, True, False
    )
    grad, of_norm_weight1, of_norm_bias1 = sparse_batch_norm_backward(
        grad, y1, kept_offsets, *norm1, training, eps1, True
    )
    grad, of_weight1, _ = subm_conv2d_backward(
        grad, x, *place, weight1.to(dtype), True, True, False
    )
    of_features, of_logits = top_p_select_backward(
        grad, features, offsets, kept_offsets, rows, attention, weighted
    )
    asked = (query, map_weight, map_bias, query_weight, score_weight, score_bias)
    of_asked: tuple[Tensor, ...] = tuple(features.new_empty(0) for _ in asked)
    if weighted:
        query, *parameters = (tensor.to(dtype) for tensor in asked[:-1])
        of_score, *rest = cross_modal_score_backward(
            of_logits, features, offsets, query, lengths, *parameters
        )
        of_features = of_features + of_score
        of_asked = tuple(g.to(t.dtype) for g, t in zip(rest, asked, strict=True))
    return (
        of_features,
        *of_asked,
        of_weight1.to(weight1.dtype),
        of_norm_weight1,
        of_norm_bias1,
        of_weight2.to(weight2.dtype),
        of_norm_weight2,
        of_norm_bias2,
    )
