"""sparse_cross_modal_block: attention, two convolutions and a pooling, as one op."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .. import backends, reference
from ..reference import (
    SparseCrossModalBlock,
    SparseCrossModalBlockBackward,
    SparseCrossModalBlockGradients,
    SparseCrossModalBlockResult,
)
from ..sparse_feature_maps import SparseFeatureMaps
from ..triton.parts.layout import book_layout, maps_layout
from .autograd import LATER, make_differentiable
from .block_arguments import arguments_of_block, check_counts, checked
from .checks import check_maps, values_are_known
from .cross_modal_score import (
    check_lengths,
    cross_modal_score,
    score_flops,
    score_flops_backward,
)
from .parameters import AttentionParameters, Stage
from .registration import define_op
from .running_statistics import count_batch, update_both
from .sparse_batch_norm import sparse_batch_norm
from .sparse_max_pool2d import sparse_max_pool2d
from .subm_conv2d import active_pairs, subm_conv2d
from .top_p_select import top_p_select

__all__ = ["sparse_cross_modal_block"]

_NAME = "sparse_cross_modal_block"


def _check(a: SparseCrossModalBlock) -> None:
    check_lengths(a.lengths, a.offsets, a.features)


def _fake(a: SparseCrossModalBlock) -> SparseCrossModalBlockResult:
    wide = torch.promote_types(a.features.dtype, torch.float32)
    middle, channels = a.weight1.shape[0], a.weight2.shape[0]
    rows: Any = a.features.shape[0]
    if a.trim:
        context = torch.library.get_ctx()
        rows, out_rows = context.new_dynamic_size(), context.new_dynamic_size()
    else:
        windows = (a.offsets.shape[0] - 1) * (a.height // 2) * (a.width // 2)
        out_rows = torch.sym_min(rows, windows)
    kept = _kept(a, rows, out_rows)
    return SparseCrossModalBlockResult(
        features=a.features.new_empty(out_rows, channels),
        sites=a.sites.new_empty(out_rows),
        offsets=a.offsets.new_empty(a.offsets.shape),
        mean1=a.features.new_empty(middle, dtype=wide),
        var1=a.features.new_empty(middle, dtype=wide),
        mean2=a.features.new_empty(channels, dtype=wide),
        var2=a.features.new_empty(channels, dtype=wide),
        rows=a.sites.new_empty(rows),
        kept_offsets=a.offsets.new_empty(a.offsets.shape),
        attention=a.features.new_empty(kept.attention, dtype=wide),
        y1=a.features.new_empty(kept.y1),
        y2=a.features.new_empty(kept.y2),
        argmax=a.sites.new_empty(kept.argmax, dtype=torch.uint8 if _is_flat(a) else torch.int32),
        rulebook=a.sites.new_empty(kept.rulebook),
    )


class _Kept(NamedTuple):
    """The shapes of the results that are for the backward pass alone."""

    attention: tuple[Any, ...] = (0,)
    y1: tuple[Any, ...] = (0,)
    y2: tuple[Any, ...] = (0,)
    argmax: tuple[Any, ...] = (0,)
    rulebook: tuple[Any, ...] = (0,)


def _kept(a: SparseCrossModalBlock, rows: Any, out_rows: Any) -> _Kept:
    """Return the shapes of the results for the backward pass."""
    if not (a.training or a.keep):
        return _Kept()
    channels = a.weight2.shape[0]
    if _is_flat(a):
        return _Kept(
            attention=(a.features.shape[0],),
            y1=(maps_layout(a).size,),
            argmax=(out_rows, channels),
            rulebook=(book_layout(a, out_rows).size,),
        )
    return _Kept(
        attention=(a.features.shape[0],),
        y1=(rows, a.weight1.shape[0]),
        y2=(rows, channels),
        argmax=(out_rows, channels),
    )


def _is_flat(a: SparseCrossModalBlock) -> bool:
    """Return whether Triton, which keeps flat tensors, is to run: a compiled graph holds sizes."""
    wanted = backends.requested()
    return wanted == "triton" or (wanted == "auto" and a.features.device.type == "cuda")


def _fake_backward(a: SparseCrossModalBlockBackward) -> SparseCrossModalBlockGradients:
    def learned(tensor: Tensor) -> Tensor:
        return tensor.new_empty(tensor.shape) if a.selection.learns else a.features.new_empty(0)

    return SparseCrossModalBlockGradients(
        features=a.features.new_empty(a.features.shape),
        query=learned(a.query),
        map_weight=learned(a.map_weight),
        map_bias=learned(a.map_bias),
        query_weight=learned(a.query_weight),
        score_weight=learned(a.score_weight),
        score_bias=learned(a.score_bias),
        weight1=a.weight1.new_empty(a.weight1.shape if a.needs_weight1 else (0,)),
        norm_weight1=a.norm_weight1.new_empty(a.norm_weight1.shape),
        norm_bias1=a.norm_bias1.new_empty(a.norm_bias1.shape),
        weight2=a.weight2.new_empty(a.weight2.shape if a.needs_weight2 else (0,)),
        norm_weight2=a.norm_weight2.new_empty(a.norm_weight2.shape),
        norm_bias2=a.norm_bias2.new_empty(a.norm_bias2.shape),
    )


def _convolution_flops(
    a: SparseCrossModalBlock | SparseCrossModalBlockBackward,
    rows: Tensor,
    kept_offsets: Tensor,
    products: tuple[int, int] = (1, 1),
) -> int:
    """Return the FLOPs of so many products for each convolution over the kept rows."""
    sites = rows  # fake tensors have no values: only the number of rows counts
    if values_are_known(rows):
        sites = torch.where(rows >= 0, a.sites[rows.clamp(min=0)], 0)
    pairs = active_pairs(sites, kept_offsets, a.height, a.width)
    sizes = [weight.shape[0] * weight.shape[1] for weight in (a.weight1, a.weight2)]
    return 2 * pairs * sum(n * size for n, size in zip(products, sizes, strict=True))


def _flops(a: SparseCrossModalBlock, out: SparseCrossModalBlockResult) -> int:
    return score_flops(a) + _convolution_flops(a, out.rows, out.kept_offsets)


def _flops_backward(a: SparseCrossModalBlockBackward, out: SparseCrossModalBlockGradients) -> int:
    # Each convolution's products: the gradients of its input and, where needed, of its weight.
    products = (1 + a.needs_weight1, 1 + a.needs_weight2)
    of_convolutions = _convolution_flops(a, a.rows, a.kept_offsets, products)
    return of_convolutions + (score_flops_backward(a) if a.selection.learns else 0)


def _saved(
    a: SparseCrossModalBlock, out: SparseCrossModalBlockResult
) -> SparseCrossModalBlockBackward:
    return SparseCrossModalBlockBackward(
        grad_out=LATER,
        features=a.features,
        sites=a.sites,
        offsets=a.offsets,
        height=a.height,
        width=a.width,
        query=a.query,
        lengths=a.lengths,
        map_weight=a.map_weight,
        map_bias=a.map_bias,
        query_weight=a.query_weight,
        score_weight=a.score_weight,
        score_bias=a.score_bias,
        weight1=a.weight1,
        norm_weight1=a.norm_weight1,
        norm_bias1=a.norm_bias1,
        weight2=a.weight2,
        norm_weight2=a.norm_weight2,
        norm_bias2=a.norm_bias2,
        mean1=out.mean1,
        var1=out.var1,
        mean2=out.mean2,
        var2=out.var2,
        rows=out.rows,
        kept_offsets=out.kept_offsets,
        attention=out.attention,
        y1=out.y1,
        y2=out.y2,
        out_offsets=out.offsets,
        argmax=out.argmax,
        selection=a.selection,
        training=a.training,
        eps1=a.eps1,
        eps2=a.eps2,
        needs_weight1=LATER,
        needs_weight2=LATER,
        rulebook=out.rulebook,
    )


def _without(a: SparseCrossModalBlockBackward) -> tuple[str, ...]:
    return () if a.selection.learns else ("query", *AttentionParameters._fields)


_forward = define_op(
    reference.sparse_cross_modal_block,
    fake=_fake,
    flops=_flops,
    check=_check,
    arguments=arguments_of_block,
    autocast=("features", "query"),  # packing casts the weights
    triton=True,
)
_backward = define_op(
    reference.sparse_cross_modal_block_backward,
    fake=_fake_backward,
    flops=_flops_backward,
    triton=True,
)
make_differentiable(_forward, _backward, saved=_saved, without=_without)


def sparse_cross_modal_block(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: tuple[Stage, Stage],
    p: float,
    selection: Literal["weighted", "hard", "straight_through"] = "weighted",
    batches: tuple[Tensor, Tensor] | None = None,
) -> SparseFeatureMaps:
    """Run a cross-modal sparse block (Dai et al., 2021, section 4.3): select, convolve, pool.

    On a CPU, and on a GPU where Triton runs, the block is one op, under autocast in the autocast
    dtype; elsewhere, and where one norm alone is in training, the block is composed of other ops.

    Args:
        x: features (N, C), height and width at least 2.
        query: (B, D), one for each sample.
        lengths: (B,) int64 or int32, the frames of each sample; None: one query for each frame.
        attention: The parameters of `cross_modal_score`.
        stages: For each convolution its weight (Cout, Cin, 3, 3) and its norm, followed by a ReLU.
        p: The share of the attention to keep, in (0, 1].
        selection: As in `top_p_select`.
        batches: () int64 each, how many batches the norms have seen: counted up in training, in
            place, unless the batch has no active sites. None: the caller counts.

    Returns:
        Maps of half the height and width, with the last convolution's channels.

    Raises:
        ValueError: p is not in (0, 1], or a number of parameters, a shape, dtype or device does not
            fit.
    """
    if not isinstance(x, SparseFeatureMaps):
        check_maps(_NAME, x)
    check_counts(attention, stages)
    (_, norm1), (_, norm2) = stages
    if not _is_one_op(x) or norm1.training != norm2.training:
        count_batch(batches, (norm1, norm2), x.offsets[-1])
        return _composed(x, query, lengths, attention, stages, p, selection)
    out = _forward(checked(x, query, lengths, attention, stages, p, selection))
    if norm1.training:
        update_both(x, out, norm1, norm2, batches)
    size = (x.height // 2, x.width // 2)
    return SparseFeatureMaps._trusted(out.features, out.sites, out.offsets, *size)


def _is_one_op(x: SparseFeatureMaps) -> bool:
    if x.device.type != "cuda":
        return x.device.type == "cpu"
    # Without a kernel for the block, the ops in it run one by one: some ops may have a kernel. A
    # compiled graph always finds Triton, with which torch compiles for a GPU.
    runs = torch.compiler.is_compiling() or backends.available(_NAME, "triton") is None
    return runs and x.dtype is not torch.float64


def _composed(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: tuple[Stage, Stage],
    p: float,
    selection: Literal["weighted", "hard", "straight_through"],
) -> SparseFeatureMaps:
    x._check()
    logits = cross_modal_score(x, query, lengths, *attention)
    x = top_p_select(x, logits, p, selection)
    for weight, norm in stages:
        x = sparse_batch_norm(subm_conv2d(x, weight), *norm, relu=True)
    return sparse_max_pool2d(x)
