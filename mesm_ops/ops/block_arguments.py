"""The block's arguments: checked, and put together to the one object that its op takes.

Calls in a loop are alike: a kind of arguments that was found right is not checked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..reference import SparseCrossModalBlock
from ..sparse_feature_maps import SparseFeatureMaps
from .checks import check_p, check_selection, kind_of, trims
from .cross_modal_score import check_inputs
from .parameters import AttentionParameters, NormParameters, Stage
from .sparse_batch_norm import check_norm
from .sparse_max_pool2d import check_size
from .subm_conv2d import check_weight

__all__ = ["arguments_of_block", "check_counts", "checked"]

_NAME = "sparse_cross_modal_block"
_fitting: set[tuple[Any, ...]] = set()  # kinds of arguments whose checks found no fault
_MOST_FITTING = 4096


def arguments_of_block(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: Sequence[Stage],
    p: float,
    selection: str = "weighted",
) -> SparseCrossModalBlock:
    """Return the op's arguments, given those of its public function, or refuse them.

    Raises:
        ValueError: As `sparse_cross_modal_block`.
    """
    check_counts(attention, stages)
    return checked(x, query, lengths, attention, stages, p, selection)


def checked(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: Sequence[Stage],
    p: float,
    selection: str,
) -> SparseCrossModalBlock:
    """Return what `arguments_of_block` does, of right numbers of parameters and stages."""
    known = _kind_of(x, query, lengths, attention, stages)
    if known is None or known not in _fitting:
        check_inputs(x, query, lengths, *attention)
    p = check_p("top_p_select", p)
    kind = check_selection("top_p_select", selection)
    eps: list[float] = [norm.eps for _, norm in stages]
    if known is None or known not in _fitting:
        eps = _check_stages(x, stages)
        if known is not None:
            if len(_fitting) >= _MOST_FITTING:  # sizes change from batch to batch
                _fitting.clear()
            _fitting.add(known)
    if not kind.learns:  # the attention is no part of the graph: its gradients stay None
        query, attention = query.detach(), AttentionParameters(*(t.detach() for t in attention))
    (weight1, norm1), (weight2, norm2) = stages
    learned = (x.features, query, *attention, *(t for w, n in stages for t in (w, *n[:4])))
    return SparseCrossModalBlock(
        features=x.features,
        sites=x.sites,
        offsets=x.offsets,
        height=x.height,
        width=x.width,
        query=query,
        lengths=lengths,
        map_weight=attention.map_weight,
        map_bias=attention.map_bias,
        query_weight=attention.query_weight,
        score_weight=attention.score_weight,
        score_bias=attention.score_bias,
        weight1=weight1,
        norm_weight1=norm1.weight,
        norm_bias1=norm1.bias,
        running_mean1=norm1.running_mean,
        running_var1=norm1.running_var,
        weight2=weight2,
        norm_weight2=norm2.weight,
        norm_bias2=norm2.bias,
        running_mean2=norm2.running_mean,
        running_var2=norm2.running_var,
        p=p,
        selection=kind,
        training=norm1.training,
        eps1=eps[0],
        eps2=eps[1],
        trim=trims(x.features),
        keep=torch.is_grad_enabled() and any(tensor.requires_grad for tensor in learned),
    )


def _kind_of(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: Sequence[Stage],
) -> tuple[Any, ...] | None:
    """Return all that decides what `check_inputs` and `_check_stages` find; None: ask them."""
    (weight1, norm1), (weight2, norm2) = stages
    given = () if lengths is None else (lengths,)
    # The number of x's rows, which changes most, does not matter.
    tensors = (x.offsets, query, *given, *attention, weight1, *norm1[:4], weight2, *norm2[:4])
    kind = kind_of(tensors)
    settings = (*norm1[4:], *norm2[4:])
    if kind is None or tuple(map(type, settings)) != (bool, float, float) * 2:
        return None
    apart = [norm.running_mean.data_ptr() != norm.running_var.data_ptr() for norm in (norm1, norm2)]
    of_x = (x.features.dtype, x.features.device, x.features.shape[1], x.height, x.width)
    return (*kind, *settings, *apart, *of_x)


def _check_stages(x: SparseFeatureMaps, stages: Sequence[Stage]) -> list[float]:
    """Refuse maps, weights and norms that do not fit each other; return each norm's eps."""
    check_size(x)
    channels, eps = x.channels, []
    for weight, norm in stages:
        check_weight(x, weight, channels)
        channels = weight.shape[0]
        eps.append(check_norm(x, channels, norm[:4], norm.training, norm.momentum, norm.eps))
    return eps


def check_counts(attention: AttentionParameters, stages: Sequence[Stage]) -> None:
    """Refuse other than five parameters of the attention and two stages of weight and norm."""
    if not isinstance(attention, AttentionParameters):
        wanted = ", ".join(AttentionParameters._fields)
        raise ValueError(
            f"{_NAME}: attention must be AttentionParameters({wanted}), got {_count_of(attention)}"
        )
    try:
        (_, norm1), (_, norm2) = stages
    except (TypeError, ValueError):
        raise ValueError(
            f"{_NAME}: stages must be two pairs of a weight and NormParameters, got "
            f"{_count_of(stages)}"
        ) from None
    for norm in (norm1, norm2):
        if not isinstance(norm, NormParameters):
            raise ValueError(
                f"{_NAME}: a stage's norm must be NormParameters, got {_count_of(norm)}"
            )


def _count_of(value: Any) -> str:
    kind = type(value).__name__
    if not isinstance(value, (tuple, list)):
        return kind
    return f"{kind} of {len(value)} ({', '.join(type(one).__name__ for one in value)})"
