"""sparse_cross_modal_block: attention, two convolutions and a pooling, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from .. import backends
from ..sparse_feature_maps import SparseFeatureMaps
from .cross_modal_score import cross_modal_score
from .sparse_batch_norm import sparse_batch_norm
from .sparse_max_pool2d import sparse_max_pool2d
from .subm_conv2d import subm_conv2d
from .top_p_select import top_p_select

__all__ = ["AttentionParameters", "NormParameters", "sparse_cross_modal_block"]


backends.register_composition(
    "sparse_cross_modal_block",
    (
        "cross_modal_score",
        "top_p_select",
        "subm_conv2d",
        "sparse_batch_norm",
        "sparse_max_pool2d",
    ),
)


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


def sparse_cross_modal_block(
    x: SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor | None,
    attention: AttentionParameters,
    stages: Sequence[tuple[Tensor, NormParameters]],
    p: float,
    selection: Literal["weighted", "hard"] = "weighted",
) -> SparseFeatureMaps:
    """Run a cross-modal sparse block (Dai et al., 2021, section 4.3): select, convolve, pool.

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
    x = top_p_select(x, cross_modal_score(x, query, lengths, *attention), p, selection)
    for weight, norm in stages:
        x = sparse_batch_norm(subm_conv2d(x, weight), *norm, relu=True)
    return sparse_max_pool2d(x)
