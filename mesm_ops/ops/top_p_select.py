"""top_p_select: keep the most attended sites of each frame; top_p_mask: their mask alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .. import backends, reference
from ..reference import TopPSelect, TopPSelectBackward, TopPSelectGradients, TopPSelectResult
from ..sparse_feature_maps import DTYPES, SparseFeatureMaps
from .autograd import LATER, make_differentiable
from .checks import check_maps, check_p, check_selection, check_tensor, trims
from .registration import define_op

__all__ = ["top_p_mask", "top_p_select"]

_NAME = "top_p_select"


def _arguments(
    x: SparseFeatureMaps, logits: Tensor, p: float, selection: str = "weighted"
) -> TopPSelect:
    check_maps(_NAME, x)
    p = check_p(_NAME, p)
    kind = check_selection(_NAME, selection)
    rows = x.features.shape[0]
    check_tensor(_NAME, "logits", logits, (rows,), x.device, "for {0} rows of features")
    wanted = torch.promote_types(x.dtype, torch.float32)
    if logits.dtype != wanted:
        raise ValueError(
            f"{_NAME}: logits must be {wanted} for {x.dtype} features, got {logits.dtype}"
        )
    if not kind.learns:
        logits = logits.detach()  # logits are no part of the graph: their gradients stay None
    return TopPSelect(x.features, x.sites, x.offsets, logits, p, kind, trims(x.features))


def _fake(a: TopPSelect) -> TopPSelectResult:
    rows = torch.library.get_ctx().new_dynamic_size() if a.trim else a.features.shape[0]
    return TopPSelectResult(
        features=a.features.new_empty(rows, a.features.shape[1]),
        sites=a.sites.new_empty(rows),
        offsets=a.offsets.new_empty(a.offsets.shape),
        rows=a.sites.new_empty(rows),
        attention=a.logits.new_empty(a.logits.shape),
    )


def _fake_backward(a: TopPSelectBackward) -> TopPSelectGradients:
    return TopPSelectGradients(
        features=a.features.new_empty(a.features.shape),
        logits=a.attention.new_empty(a.attention.shape),
    )


def _saved(a: TopPSelect, out: TopPSelectResult) -> TopPSelectBackward:
    return TopPSelectBackward(
        grad_out=LATER,
        features=a.features,
        offsets=a.offsets,
        out_offsets=out.offsets,
        rows=out.rows,
        attention=out.attention,
        selection=a.selection,
    )


_forward = define_op(reference.top_p_select, fake=_fake, arguments=_arguments, cuda=True)
_backward = define_op(reference.top_p_select_backward, fake=_fake_backward, cuda=True)
make_differentiable(_forward, _backward, saved=_saved)
backends.register_composition("top_p_mask", (_NAME,))


def top_p_select(
    x: SparseFeatureMaps,
    logits: Tensor,
    p: float,
    selection: Literal["weighted", "hard", "straight_through"] = "weighted",
) -> SparseFeatureMaps:
    """Keep the most attended sites, a share p of the attention (Dai et al., 2021, Eq. 2 to 4).

    Per frame, attention = softmax(logits). In descending order of attention, and among equals in
    ascending order of sites, a site is kept if the mass strictly before that site is < p: at least
    one site is kept, and p = 1 keeps all. A frame whose softmax holds a NaN keeps all its sites, so
    that the NaN reaches the loss.

    Args:
        x: features (N, C) at the candidate sites; float32, bfloat16, float16 or float64.
        logits: (N,), float32 (float64 for float64 features).
        p: The share of the attention to keep, in (0, 1].
        selection: "weighted" multiplies a kept feature by candidates * attention, which is 1 under
            uniform attention, and lets gradients flow to the logits; "hard" leaves features
            unscaled, and logits without gradient; "straight_through" leaves features unscaled too,
            and gives logits the gradient s - attention * (the frame's sum of s), where s is the
            product of a kept feature and its gradient: no derivative of the forward pass, but
            what the loss would gain to first order by weighing kept sites.

    Returns:
        The kept sites. On a CPU without padding rows; on a GPU and in compiled graphs with N rows.

    Raises:
        ValueError: p is not in (0, 1], there is no such selection, or a shape, dtype or device does
            not fit.
    """
    out = _forward(_arguments(x, logits, p, selection))
    return SparseFeatureMaps._trusted(out.features, out.sites, out.offsets, x.height, x.width)


def top_p_mask(logits: Tensor, p: float) -> Tensor:
    """Say which sites `top_p_select` keeps, for frames of equally many candidates.

    Args:
        logits: (F, L), float32, bfloat16, float16 or float64.
        p: The share of the attention to keep, in (0, 1].

    Returns:
        (F, L) bool.

    Raises:
        ValueError: p is not in (0, 1], or logits are no floating-point matrix.
    """
    if not isinstance(logits, Tensor):
        raise ValueError(f"top_p_mask: logits must be a tensor, got {type(logits).__name__}")
    if logits.dim() != 2 or logits.dtype not in DTYPES or logits.layout is not torch.strided:
        raise ValueError(
            "top_p_mask: logits must be (F, L) of float32, bfloat16, float16 or float64, got "
            f"{tuple(logits.shape)} {logits.dtype}"
            f"{'' if logits.layout is torch.strided else f' {logits.layout}'}"
        )
    p = check_p("top_p_mask", p)
    if logits.shape[1] == 0:
        return logits.new_empty(logits.shape, dtype=torch.bool)
    wide = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    x = SparseFeatureMaps.from_dense(wide[:, None, None, :])
    return top_p_select(x, wide.reshape(-1), p, "hard").mask()[:, 0]
