"""pool(relu(norm(conv(relu(norm(conv(select(x, score(x, query)))))))), by the other references."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .cross_modal_score import (
    CrossModalScore,
    CrossModalScoreBackward,
    cross_modal_score,
    cross_modal_score_backward,
)
from .sparse_batch_norm import (
    SparseBatchNorm,
    SparseBatchNormBackward,
    sparse_batch_norm,
    sparse_batch_norm_backward,
)
from .sparse_max_pool2d import (
    SparseMaxPool2d,
    SparseMaxPool2dBackward,
    sparse_max_pool2d,
    sparse_max_pool2d_backward,
)
from .subm_conv2d import SubmConv2d, SubmConv2dBackward, subm_conv2d, subm_conv2d_backward
from .top_p_select import (
    Selection,
    TopPSelect,
    TopPSelectBackward,
    top_p_select,
    top_p_select_backward,
)

# An opaque int32 vector that Triton's forward pass leaves for Triton's backward pass. Every other
# backend leaves the vector empty and ignores it; compiled kernels never see the vector.
TritonState: TypeAlias = Tensor


class SparseCrossModalBlock(NamedTuple):
    """The arguments of `sparse_cross_modal_block`."""

    features: Tensor  # (N, C)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    height: int
    width: int
    query: Tensor  # (B, D)
    lengths: Tensor | None  # (B,), frames of each sample; None: one each
    map_weight: Tensor  # (k, C)
    map_bias: Tensor  # (k,)
    query_weight: Tensor  # (k, D)
    score_weight: Tensor  # (1, k)
    score_bias: Tensor  # (1,)
    weight1: Tensor  # (Cmid, C, 3, 3)
    norm_weight1: Tensor  # (Cmid,)
    norm_bias1: Tensor  # (Cmid,)
    running_mean1: Tensor  # (Cmid,)
    running_var1: Tensor  # (Cmid,)
    weight2: Tensor  # (Cout, Cmid, 3, 3)
    norm_weight2: Tensor  # (Cout,)
    norm_bias2: Tensor  # (Cout,)
    running_mean2: Tensor  # (Cout,)
    running_var2: Tensor  # (Cout,)
    p: float
    selection: Selection
    training: bool
    eps1: float
    eps2: float
    trim: bool  # return no padding rows, so that M and P depend on values
    keep: bool  # return the results for the backward pass too; in training always


class SparseCrossModalBlockResult(NamedTuple):
    """The results of `sparse_cross_modal_block`: P pooled rows, from M kept rows.

    Fields from `attention` on are for the backward pass; (0,) unless `training` or `keep`.
    """

    features: Tensor  # (P, Cout), zero in padding
    sites: Tensor  # (P,), of maps of half the height and width
    offsets: Tensor  # (F + 1,)
    mean1: Tensor  # (Cmid,), which normalised y1; float32, or float64 for float64 features
    var1: Tensor  # (Cmid,), likewise
    mean2: Tensor  # (Cout,), likewise
    var2: Tensor  # (Cout,), likewise
    rows: Tensor  # (M,) int32, the input row of each kept site; -1 in padding
    kept_offsets: Tensor  # (F + 1,)
    attention: Tensor  # (N,), zero in padding; float32, or float64 for float64 features
    y1: Tensor  # (M, Cmid), the first convolution's result
    y2: Tensor  # (M, Cout), the second convolution's result
    argmax: Tensor  # (P, Cout) int32, the kept row of each maximum; -1 in padding
    rulebook: TritonState


class SparseCrossModalBlockBackward(NamedTuple):
    """The arguments of `sparse_cross_modal_block_backward`."""

    grad_out: Tensor  # (P, Cout)
    features: Tensor  # (N, C)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    height: int
    width: int
    query: Tensor  # (B, D)
    lengths: Tensor | None  # (B,)
    map_weight: Tensor  # (k, C)
    map_bias: Tensor  # (k,)
    query_weight: Tensor  # (k, D)
    score_weight: Tensor  # (1, k)
    score_bias: Tensor  # (1,)
    weight1: Tensor  # (Cmid, C, 3, 3)
    norm_weight1: Tensor  # (Cmid,)
    norm_bias1: Tensor  # (Cmid,)
    weight2: Tensor  # (Cout, Cmid, 3, 3)
    norm_weight2: Tensor  # (Cout,)
    norm_bias2: Tensor  # (Cout,)
    mean1: Tensor  # (Cmid,); from here on the results of the forward pass
    var1: Tensor  # (Cmid,)
    mean2: Tensor  # (Cout,)
    var2: Tensor  # (Cout,)
    rows: Tensor  # (M,)
    kept_offsets: Tensor  # (F + 1,)
    attention: Tensor  # (N,)
    y1: Tensor  # (M, Cmid)
    y2: Tensor  # (M, Cout)
    out_offsets: Tensor  # (F + 1,)
    argmax: Tensor  # (P, Cout)
    selection: Selection
    training: bool
    eps1: float
    eps2: float
    needs_weight1: bool
    needs_weight2: bool
    rulebook: TritonState


class SparseCrossModalBlockGradients(NamedTuple):
    """The gradients of the arguments of these names, in their shapes and dtypes.

    Unless the selection learns, the gradients of query and attention parameters are (0,); so is
    that of a weight that needs none.
    """

    features: Tensor
    query: Tensor
    map_weight: Tensor
    map_bias: Tensor
    query_weight: Tensor
    score_weight: Tensor
    score_bias: Tensor
    weight1: Tensor
    norm_weight1: Tensor
    norm_bias1: Tensor
    weight2: Tensor
    norm_weight2: Tensor
    norm_bias2: Tensor


def refuse_saved(wanted: str, got: str) -> RuntimeError:
    """Return the error of a backward pass that cannot read what the forward pass kept for it."""
    return RuntimeError(
        "sparse_cross_modal_block: the backward pass cannot read what the forward pass kept: "
        f"wanted {wanted}, got {got}. They ran on different backends: put `use_backend` around "
        "both passes, a compiled function's too"
    )


def sparse_cross_modal_block(a: SparseCrossModalBlock) -> SparseCrossModalBlockResult:
    """Score, select, convolve twice with norm and ReLU, and pool."""
    dtype = a.features.dtype
    logits = cross_modal_score(
        CrossModalScore(
            features=a.features,
            offsets=a.offsets,
            query=a.query.to(dtype),
            lengths=a.lengths,
            map_weight=a.map_weight.to(dtype),
            map_bias=a.map_bias.to(dtype),
            query_weight=a.query_weight.to(dtype),
            score_weight=a.score_weight.to(dtype),
            score_bias=a.score_bias.to(dtype),
        )
    )
    kept = top_p_select(
        TopPSelect(a.features, a.sites, a.offsets, logits, a.p, a.selection, a.trim)
    )
    pattern = (kept.sites, kept.offsets, a.height, a.width)

    y1 = subm_conv2d(SubmConv2d(kept.features, *pattern, a.weight1.to(dtype), None))
    norm1 = (a.norm_weight1, a.norm_bias1, a.running_mean1, a.running_var1, a.training, a.eps1)
    z1, mean1, var1 = sparse_batch_norm(SparseBatchNorm(y1, kept.offsets, *norm1, relu=True))
    y2 = subm_conv2d(SubmConv2d(z1, *pattern, a.weight2.to(dtype), None))
    norm2 = (a.norm_weight2, a.norm_bias2, a.running_mean2, a.running_var2, a.training, a.eps2)
    z2, mean2, var2 = sparse_batch_norm(SparseBatchNorm(y2, kept.offsets, *norm2, relu=True))
    out = sparse_max_pool2d(SparseMaxPool2d(z2, *pattern, a.trim))

    keep = a.training or a.keep
    return SparseCrossModalBlockResult(
        features=out.features,
        sites=out.sites,
        offsets=out.offsets,
        mean1=mean1,
        var1=var1,
        mean2=mean2,
        var2=var2,
        rows=kept.rows,
        kept_offsets=kept.offsets,
        attention=kept.attention if keep else kept.attention.new_empty(0),
        y1=y1 if keep else y1.new_empty(0),
        y2=y2 if keep else y2.new_empty(0),
        argmax=out.argmax if keep else out.argmax.new_empty(0),
        rulebook=a.sites.new_empty(0),
    )


def sparse_cross_modal_block_backward(
    a: SparseCrossModalBlockBackward,
) -> SparseCrossModalBlockGradients:
    """Return the gradients; the selected and the normalised rows are computed again.

    Raises:
        RuntimeError: The forward pass ran on a backend that keeps other tensors.
    """
    rows, middle, out = a.rows.shape[0], a.weight1.shape[0], a.weight2.shape[0]
    # The C++ backward pass refuses the same in the same words.
    if a.y1.shape != (rows, middle) or a.y2.shape != (rows, out) or a.argmax.dtype != torch.int32:
        raise refuse_saved(
            f"y1 of ({rows}, {middle}), y2 of ({rows}, {out}) and argmax of torch.int32",
            f"{tuple(a.y1.shape)}, {tuple(a.y2.shape)} and {a.argmax.dtype}",
        )
    dtype = a.features.dtype
    x = _selected(a)
    real, row = a.rows >= 0, a.rows.clamp(min=0)
    pattern = (torch.where(real, a.sites[row], 0), a.kept_offsets, a.height, a.width)
    norm1 = (a.norm_weight1, a.norm_bias1, a.mean1, a.var1)
    norm2 = (a.norm_weight2, a.norm_bias2, a.mean2, a.var2)
    z1, _, _ = sparse_batch_norm(SparseBatchNorm(a.y1, a.kept_offsets, *norm1, False, a.eps1, True))

    grad = sparse_max_pool2d_backward(SparseMaxPool2dBackward(a.grad_out, a.argmax, row.shape[0]))
    of_norm2 = sparse_batch_norm_backward(
        SparseBatchNormBackward(grad, a.y2, a.kept_offsets, *norm2, a.training, a.eps2, relu=True)
    )
    of_conv2 = subm_conv2d_backward(
        SubmConv2dBackward(
            *(of_norm2.features, z1, *pattern, a.weight2.to(dtype)),
            needs_features=True,
            needs_weight=a.needs_weight2,
            needs_bias=False,
        )
    )
    of_norm1 = sparse_batch_norm_backward(
        SparseBatchNormBackward(
            *(of_conv2.features, a.y1, a.kept_offsets, *norm1, a.training, a.eps1), relu=True
        )
    )
    of_conv1 = subm_conv2d_backward(
        SubmConv2dBackward(
            *(of_norm1.features, x, *pattern, a.weight1.to(dtype)),
            needs_features=True,
            needs_weight=a.needs_weight1,
            needs_bias=False,
        )
    )
    of_select = top_p_select_backward(
        TopPSelectBackward(
            grad_out=of_conv1.features,
            features=a.features,
            offsets=a.offsets,
            out_offsets=a.kept_offsets,
            rows=a.rows,
            attention=a.attention,
            selection=a.selection,
        )
    )
    found = SparseCrossModalBlockGradients(
        features=of_select.features,
        query=a.features.new_empty(0),
        map_weight=a.features.new_empty(0),
        map_bias=a.features.new_empty(0),
        query_weight=a.features.new_empty(0),
        score_weight=a.features.new_empty(0),
        score_bias=a.features.new_empty(0),
        weight1=of_conv1.weight.to(a.weight1.dtype),
        norm_weight1=of_norm1.weight,
        norm_bias1=of_norm1.bias,
        weight2=of_conv2.weight.to(a.weight2.dtype),
        norm_weight2=of_norm2.weight,
        norm_bias2=of_norm2.bias,
    )
    return _with_attention(found, a, of_select.logits) if a.selection.learns else found


def _selected(a: SparseCrossModalBlockBackward) -> Tensor:
    """Return the rows that the first convolution read, (M, C), zero in padding."""
    real, row = a.rows >= 0, a.rows.clamp(min=0)
    x = a.features[row]
    if a.selection.scales:
        candidates = torch.cat(
            [a.offsets.diff(), a.offsets.new_zeros(1)]
        )  # a factor of 0 beyond the last frame
        frame = torch.bucketize(row, a.offsets[1:], right=True)
        scale = (candidates[frame].to(a.attention.dtype) * a.attention[row])[:, None]
        x = (x.to(a.attention.dtype) * scale).to(x.dtype)
    return torch.where(real[:, None], x, 0)


def _with_attention(
    found: SparseCrossModalBlockGradients, a: SparseCrossModalBlockBackward, grad_logits: Tensor
) -> SparseCrossModalBlockGradients:
    """Return the gradients, with the gradients that flow through the logits added."""
    dtype = a.features.dtype
    of_score = cross_modal_score_backward(
        CrossModalScoreBackward(
            grad_logits=grad_logits,
            features=a.features,
            offsets=a.offsets,
            query=a.query.to(dtype),
            lengths=a.lengths,
            map_weight=a.map_weight.to(dtype),
            map_bias=a.map_bias.to(dtype),
            query_weight=a.query_weight.to(dtype),
            score_weight=a.score_weight.to(dtype),
        )
    )
    return found._replace(
        features=found.features + of_score.features,
        query=of_score.query.to(a.query.dtype),
        map_weight=of_score.map_weight.to(a.map_weight.dtype),
        map_bias=of_score.map_bias.to(a.map_bias.dtype),
        query_weight=of_score.query_weight.to(a.query_weight.dtype),
        score_weight=of_score.score_weight.to(a.score_weight.dtype),
        score_bias=of_score.score_bias.to(a.score_bias.dtype),
    )
