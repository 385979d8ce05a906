"""Arguments of sparse_cross_modal_block that belong together: the attention's, and each norm's."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from torch import Tensor

__all__ = ["AttentionParameters", "NormParameters", "Stage"]


class AttentionParameters(NamedTuple):
    """The parameters of `cross_modal_score`, k the width of the attention.

    Attributes:
        map_weight: (k, C).
        map_bias: (k,).
        query_weight: (k, D).
        score_weight: (1, k).
        score_bias: (1,).
    """

    map_weight: Tensor
    map_bias: Tensor
    query_weight: Tensor
    score_weight: Tensor
    score_bias: Tensor


class NormParameters(NamedTuple):
    """The parameters and settings of `sparse_batch_norm`, in its order.

    Attributes:
        running_mean: (C,).
        running_var: (C,).
        weight: (C,).
        bias: (C,).
        training: Whether the batch's statistics are taken, and move the running ones.
        momentum: The batch's share in the running statistics.
        eps: Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor
    weight: Tensor
    bias: Tensor
    training: bool
    momentum: float | Tensor
    eps: float


Stage: TypeAlias = tuple[Tensor, NormParameters]
