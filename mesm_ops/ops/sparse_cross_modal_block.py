"""sparse_cross_modal_block: attention, two convolutions and a pooling, as one op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .. import backends, reference
from ..sparse_feature_maps import SparseFeatureMaps
from .checks import check_dtype, check_p, check_selection, check_tensor, trims, values_are_known
from .cross_modal_score import _arguments as score_arguments
from .cross_modal_score import _check as check_lengths
from .cross_modal_score import _flops as score_flops
from .cross_modal_score import _flops_backward as score_flops_backward
from .cross_modal_score import cross_modal_score
from .registration import define_op, make_differentiable
from .sparse_batch_norm import check_parameters, sparse_batch_norm, update_statistics
from .sparse_cross_modal_block_cuda import QUERY, how, refuses
from .sparse_max_pool2d import _arguments as pool_arguments
from .sparse_max_pool2d import sparse_max_pool2d
from .subm_conv2d import _flops as convolution_flops
from .subm_conv2d import subm_conv2d
from .top_p_select import top_p_select

__all__ = ["AttentionParameters", "NormParameters", "sparse_cross_modal_block"]

_NAME = "sparse_cross_modal_block"
_CONV = "subm_conv2d"


class AttentionParameters(NamedTuple):
    """The parameters of `cross_modal_score`."""

    map_weight: Tensor  # (k, C)
    map_bias: Tensor  # (k,)
    query_weight: Tensor  # (k, D)
    score_weight: Tensor  # (1, k)
    score_bias: Tensor  # (1,)


class NormParameters(NamedTuple):
    """The parameters and settings of `sparse_batch_norm`, in its order."""

    running_mean: Tensor  # (C,)
    running_var: Tensor  # (C,)
    weight: Tensor  # (C,)
    bias: Tensor  # (C,)
    training: bool
    momentum: float | Tensor
    eps: float


Stage = tuple[Tensor, NormParameters]


def _arguments(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: Sequence[Stage],
    p: float,
    selection: str = "weighted",
) -> tuple[Any, ...]:
    score_arguments(x, query, lengths, *attention)
    check_p("top_p_select", p)
    check_selection("top_p_select", selection)
    pool_arguments(x)
    flat: list[Tensor] = []
    channels = x.channels
    for weight, norm in stages:
        shape = ("Cout", channels, 3, 3)
        check_tensor(_CONV, "weight", weight, shape, x.device, "for {1} input channels")
        check_dtype(_CONV, "weight", weight, x, autocast=True)
        channels = weight.shape[0]
        check_parameters(norm[:4], channels, x.dtype, x.device)
        flat += [weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    weighted = selection == "weighted"
    if not weighted:  # no part of the graph: the attention's gradients stay None
        query, attention = query.detach(), AttentionParameters(*(t.detach() for t in attention))
    inputs = (x.features, query, *attention, *flat)
    first, second = (norm for _, norm in stages)
    return (
        *(x.features, x.sites, x.offsets, x.height, x.width, query, lengths, *attention, *flat),
        *(p, weighted, first.training, first.eps, second.eps, trims(x.features)),
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs),
    )


_FLOATING = (0, 5)  # features and query; weights are cast where they are packed


def _check(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    query: Tensor,
    lengths: Tensor | None,
    *_: Any,
) -> None:
    check_lengths(features, offsets, query, lengths)


def _fake(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    *rest: Any,
) -> tuple[Tensor, ...]:
    weight1, weight2 = rest[7], rest[12]
    training, trim, keep = rest[19], *rest[22:]
    wide = torch.promote_types(features.dtype, torch.float32)
    rows: Any = features.shape[0]
    if trim:
        context = torch.library.get_ctx()
        rows, out_rows = context.new_dynamic_size(), context.new_dynamic_size()
    else:
        windows = (offsets.shape[0] - 1) * (height // 2) * (width // 2)
        out_rows = torch.sym_min(rows, windows)
    middle, channels = weight1.shape[0], weight2.shape[0]
    kept: tuple[tuple[Any, ...], ...] = ((0,),) * 4
    rulebook = 0
    if training or keep:
        kept = ((features.shape[0],), (rows, middle), (rows, channels), (out_rows, channels))
        if features.device.type == "cuda":  # no kernel on the CPU keeps one
            rulebook = _rulebook_size(rows)
    return (
        features.new_empty(out_rows, channels),
        sites.new_empty(out_rows),
        offsets.new_empty(offsets.shape),
        *(features.new_empty(c, dtype=wide) for c in (middle, middle, channels, channels)),
        sites.new_empty(rows),
        offsets.new_empty(offsets.shape),
        features.new_empty(kept[0], dtype=wide),
        features.new_empty(kept[1]),
        features.new_empty(kept[2]),
        sites.new_empty(kept[3]),
        sites.new_empty(rulebook),
    )


def _rulebook_size(rows: Any) -> Any:
    """What `mesm_ops.triton.rulebook.flat_size` says; torch alone need not import triton."""
    return 20 * rows + 16


def _fake_backward(
    grad_out: Tensor,
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    query: Tensor,
    lengths: Tensor | None,
    *rest: Any,
) -> tuple[Tensor, ...]:
    weighted = rest[22]
    asked = (query, *rest[:5])
    return (
        features.new_empty(features.shape),
        *(t.new_empty(t.shape) if weighted else features.new_empty(0) for t in asked),
        *(t.new_empty(t.shape) for t in rest[5:11]),
    )


def _convolutions_flops(
    features: Tensor,
    sites: Tensor,
    rows: Tensor,
    kept_offsets: Tensor,
    height: int,
    width: int,
    weights: tuple[Tensor, Tensor],
) -> int:
    known = values_are_known(rows)
    kept = torch.where(rows >= 0, sites[rows.clamp(min=0)], 0) if known else rows
    return sum(
        convolution_flops(features, kept, kept_offsets, height, width, weight) for weight in weights
    )


def _flops(
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    query: Tensor,
    lengths: Tensor | None,
    *rest: Any,
    out_val: tuple[Tensor, ...],
    **__: Any,
) -> int:
    of_score = score_flops(features, offsets, query, lengths, rest[0])
    weights = (rest[5], rest[10])
    return of_score + _convolutions_flops(
        features, sites, out_val[7], out_val[8], height, width, weights
    )


def _flops_backward(
    grad_out: Tensor,
    features: Tensor,
    sites: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    query: Tensor,
    lengths: Tensor | None,
    *rest: Any,
    **__: Any,
) -> int:
    of_score = 0
    if rest[22]:
        of_score = score_flops_backward(grad_out, features, offsets, query, lengths, rest[0])
    # Of each convolution the gradients of its input and of its weight.
    return of_score + 2 * _convolutions_flops(
        features, sites, rest[15], rest[16], height, width, (rest[5], rest[8])
    )


_SCHEMA = (
    "(Tensor features, Tensor sites, Tensor offsets, SymInt height, SymInt width, Tensor query, "
    "Tensor? lengths, Tensor map_weight, Tensor map_bias, Tensor query_weight, "
    "Tensor score_weight, Tensor score_bias, "
    "Tensor weight1, Tensor norm_weight1, Tensor norm_bias1, "
    "Tensor running_mean1, Tensor running_var1, "
    "Tensor weight2, Tensor norm_weight2, Tensor norm_bias2, "
    "Tensor running_mean2, Tensor running_var2, "
    "float p, bool weighted, bool training, float eps1, float eps2, bool trim, bool keep) -> ("
)
_SCHEMA_BACKWARD = (
    "(Tensor grad_out, Tensor features, Tensor sites, Tensor offsets, SymInt height, "
    "SymInt width, Tensor query, Tensor? lengths, Tensor map_weight, Tensor map_bias, "
    "Tensor query_weight, Tensor score_weight, Tensor score_bias, "
    "Tensor weight1, Tensor norm_weight1, Tensor norm_bias1, "
    "Tensor weight2, Tensor norm_weight2, Tensor norm_bias2, "
    "Tensor mean1, Tensor var1, Tensor mean2, Tensor var2, Tensor rows, Tensor kept_offsets, "
    "Tensor attention, Tensor y1, Tensor y2, Tensor out_offsets, Tensor argmax, "
    "bool weighted, bool training, float eps1, float eps2{}) -> ("
    + ", ".join(["Tensor"] * 13)
    + ")"
)
# The last result, and the last argument of the backward pass: the rulebook that Triton's kernels
# keep, an opaque vector of int32. Empty where none was kept; the backward pass then makes its own.
_forward = define_op(
    _NAME,
    _SCHEMA + ", ".join(["Tensor"] * 14) + ")",
    compiled_schema=_SCHEMA + ", ".join(["Tensor"] * 13) + ")",
    adapt=lambda kernel: lambda *args: (*kernel(*args), args[1].new_empty(0)),
    reference=reference.sparse_cross_modal_block,
    fake=_fake,
    flops=_flops,
    check=_check,
    arguments=_arguments,
    autocast=_FLOATING,
    triton=True,
    cuda_refuses=refuses,
    cuda_how=how,
    cuda_queries=(QUERY,),
)
_backward = define_op(
    f"{_NAME}_backward",
    _SCHEMA_BACKWARD.format(", Tensor rulebook"),
    compiled_schema=_SCHEMA_BACKWARD.format(""),
    adapt=lambda kernel: lambda *args: kernel(*args[:-1]),
    reference=reference.sparse_cross_modal_block_backward,
    fake=_fake_backward,
    flops=_flops_backward,
    triton=True,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    features, sites, offsets, ctx.height, ctx.width, query, lengths, *rest = inputs
    _, _, out_offsets, *statistics, rows, kept_offsets, attention, y1, y2, argmax, book = output
    ctx.mark_non_differentiable(*output[1:])
    attended, stage1, stage2 = rest[:5], rest[5:8], rest[10:13]
    kept = (rows, kept_offsets, attention, y1, y2, out_offsets, argmax, book)
    ctx.save_for_backward(
        features, sites, offsets, query, lengths, *attended, *stage1, *stage2, *statistics, *kept
    )
    _, *ctx.settings, _, _ = rest[15:]


def _gradients(ctx: Any, grad_out: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    features, sites, offsets, query, lengths, *rest, book = ctx.saved_tensors
    maps = (features, sites, offsets, ctx.height, ctx.width)
    of_features, *grads = _backward(grad_out, *maps, query, lengths, *rest, *ctx.settings, book)
    of_query, *of_attention = grads[:6] if ctx.settings[0] else [None] * 6
    of_stages = (*grads[6:9], None, None, *grads[9:12], None, None)
    none = (None,) * 7
    return (of_features, None, None, None, None, of_query, None, *of_attention, *of_stages, *none)


make_differentiable(_forward, _backward, save=_save, gradients=_gradients)


def sparse_cross_modal_block(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: tuple[Stage, Stage],
    p: float,
    selection: Literal["weighted", "hard"] = "weighted",
) -> SparseFeatureMaps:
    """Run a cross-modal sparse block (Dai et al., 2021, section 4.3): select, convolve, pool.

    On a CPU, and on a GPU where Triton runs, it is one op, under autocast in the autocast dtype;
    elsewhere, and where one norm alone is in training, it is composed of the others.

    Args:
        x: features (N, C), height and width at least 2.
        query: (B, D), one for each sample.
        lengths: (B,) int64 or int32, the frames of each sample; None: one query for each frame.
        attention: Of `cross_modal_score`.
        stages: For each convolution its weight (Cout, Cin, 3, 3) and its norm, followed by a ReLU.
        p: The share of the attention to keep, in (0, 1].
        selection: As in `top_p_select`.

    Returns:
        Maps of half the height and width, with the last convolution's channels.

    Raises:
        ValueError: p is not in (0, 1], or a shape, dtype or device does not fit.
    """
    (_, norm1), (_, norm2) = stages
    if not _is_one_op(x) or norm1.training != norm2.training:
        return _composed(x, query, lengths, attention, stages, p, selection)
    out, sites, offsets, mean1, var1, mean2, var2, _, kept_offsets, *_ = _forward(
        *_arguments(x, query, lengths, attention, stages, p, selection)
    )
    if norm1.training:
        for norm, mean, var in ((norm1, mean1, var1), (norm2, mean2, var2)):
            running = (norm.running_mean, norm.running_var)
            update_statistics(*running, mean, var, kept_offsets[-1], norm.momentum)
    return SparseFeatureMaps._trusted(out, sites, offsets, x.height // 2, x.width // 2)


def _is_one_op(x: SparseFeatureMaps) -> bool:
    if x.device.type != "cuda":
        return x.device.type == "cpu"
    # What no kernel takes is better off with the parts: some of them may have one. A compiled graph
    # asks when it runs; torch compiles for a GPU with Triton, so it is there.
    runs = torch.compiler.is_compiling() or backends.available(_NAME, "triton") is None
    return runs and x.dtype is not torch.float64


def _composed(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: tuple[Stage, Stage],
    p: float,
    selection: Literal["weighted", "hard"],
) -> SparseFeatureMaps:
    logits = cross_modal_score(x, query, lengths, *attention)
    x = top_p_select(x, logits, p, selection)
    for weight, norm in stages:
        x = sparse_batch_norm(subm_conv2d(x, weight), *norm, relu=True)
    return sparse_max_pool2d(x)
