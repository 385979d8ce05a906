"""sparse_cross_modal_block in few launches, none of which depends on what only the device knows.

Kept rows lie in the order of the tiles from the selection on: convolutions gather the rows that
they read, and write whole tiles. Forward: all small work in one launch, scores, the selection, and
for each convolution its product with the batch's sums and a pass for the norm. Backward: the same
in the other order. Two of the op's results, `y1` and `rulebook`, hold what the backward pass needs,
in a layout that only this module reads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..reference import (
    SparseCrossModalBlock,
    SparseCrossModalBlockBackward,
    SparseCrossModalBlockGradients,
    SparseCrossModalBlockResult,
)
from ..reference.sparse_cross_modal_block import refuse_saved
from .parts.convolution import Epilogue, convolve, partial_rows
from .parts.finish import finish
from .parts.layout import book_layout, maps_layout
from .parts.norm_gradients import norm_gradient
from .parts.norm_pool import norm_pool, norm_pool_gradient, norm_pool_parts, norm_pool_sums
from .parts.norms import Norm, norm_rows
from .parts.prepare import Fold, Pack, prepare
from .parts.reductions import combine, total
from .parts.replay import Recorded
from .parts.rulebook import Rulebook
from .parts.schedule import Schedule, schedule_of
from .parts.score import score
from .parts.score_gradients import score_gradients
from .parts.selection import Selected, select_and_place
from .parts.selection_gradients import grad_attention, scatter_kept_rows
from .parts.weight_gradient import room_for_tap_tiles, weight_gradient

__all__ = ["sparse_cross_modal_block", "sparse_cross_modal_block_backward"]


class _Plan:
    """The sizes of a call, and the layouts of what its backward pass needs."""

    def __init__(
        self, a: SparseCrossModalBlock | SparseCrossModalBlockBackward, keeps: bool
    ) -> None:
        (self.rows, channels), samples = a.features.shape, a.query.shape[0]
        self.frames = a.offsets.shape[0] - 1
        self.middle, self.out = a.weight1.shape[0], a.weight2.shape[0]
        self.windows = min(self.rows, self.frames * (a.height // 2) * (a.width // 2))
        k, dtype, device = a.map_weight.shape[0], a.features.dtype, a.features.device
        self.schedule: Schedule = schedule_of(self.rows, samples, channels, k, dtype, device)
        self.maps, self.book = maps_layout(a, keeps), book_layout(a, self.windows)


_FLOATS = (
    "projected_query",
    "scale1",
    "shift1",
    "scale2",
    "shift2",
)  # float32 parts of the rulebook
_plans: dict[tuple[Any, ...], _Plan] = {}


def _plan(a: SparseCrossModalBlock | SparseCrossModalBlockBackward, keeps: bool = True) -> _Plan:
    key = (
        *(a.features.shape, a.query.shape, a.offsets.shape, a.height, a.width, a.features.dtype),
        *(a.map_weight.shape, a.weight1.shape, a.weight2.shape, a.features.device, keeps),
    )
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) >= 256:  # sizes change from batch to batch
            _plans.clear()
        plan = _plans[key] = _Plan(a, keeps)
    return plan


def _parts(plan: _Plan, maps: Tensor, book: Tensor) -> dict[str, Tensor]:
    parts = plan.maps.views(maps) | plan.book.views(book)
    for name in _FLOATS:
        parts[name] = parts[name].view(torch.float32)
    return parts


def sparse_cross_modal_block(a: SparseCrossModalBlock) -> SparseCrossModalBlockResult:
    """Run `mesm_ops::sparse_cross_modal_block` in Triton."""
    if not a.features.shape[0] or a.offsets.shape[0] < 2:
        return _of_no_sites(a)
    found = _forward(a)
    if not a.trim:
        return found
    windows, kept = int(found.offsets[-1]), int(found.kept_offsets[-1])  # on a CPU alone
    return found._replace(
        features=found.features[:windows], sites=found.sites[:windows], rows=found.rows[:kept]
    )


def _launch_forward(a: SparseCrossModalBlock) -> SparseCrossModalBlockResult:
    features, keeps = a.features, a.training or a.keep
    plan = _plan(a, keeps)
    maps = features.new_empty(plan.maps.size)
    book = a.sites.new_empty(plan.book.size)
    of = _parts(plan, maps, book)
    # Apart from the book, because tensors that an op returns must not share memory.
    logits = _floats(features, plan.rows)
    attention = torch.empty_like(logits)
    mean1, var1, mean2, var2 = map(logits.new_empty, (plan.middle,) * 2 + (plan.out,) * 2)
    norm1 = Norm(a.norm_weight1, a.norm_bias1, mean1, var1, of["scale1"], of["shift1"], a.eps1)
    norm2 = Norm(a.norm_weight2, a.norm_bias2, mean2, var2, of["scale2"], of["shift2"], a.eps2)
    rows, sample_of_row = (a.sites.new_empty(plan.rows) for _ in range(2))
    kept_offsets, out_offsets = (torch.empty_like(a.offsets) for _ in range(2))
    out_sites = a.sites.new_empty(plan.windows)

    folds: tuple[Fold, ...] = ()
    if not a.training:
        folds = (
            Fold(*norm1[:2], a.running_mean1, a.running_var1, a.eps1, *norm1[4:6], mean1, var1),
            Fold(*norm2[:2], a.running_mean2, a.running_var2, a.eps2, *norm2[4:6], mean2, var2),
        )
    learns = keeps and a.selection.learns
    prepare(
        *(features, a.offsets, a.query, a.lengths),
        *(
            a.map_weight,
            a.map_bias,
            a.query_weight,
            of["projected_query"],
            of["mapped"],
            sample_of_row,
        ),
        plan=plan.schedule,
        schedule=of["schedule"] if learns else None,
        packs=(Pack(a.weight1, of["packed1"]), Pack(a.weight2, of["packed2"])),
        folds=folds,
    )
    score(
        *(features, a.offsets, of["projected_query"], sample_of_row, of["mapped"]),
        *(a.score_weight, a.score_bias, logits),
    )
    select_and_place(
        *(features, a.sites, a.offsets, logits, a.height, a.width, a.p, a.selection),
        Selected(
            *(attention, rows, kept_offsets, of["place"], of["lists"], of["masks"], of["x"]),
            *(of["windows"], of["window_of"], out_sites, out_offsets),
        ),
    )

    number = kept_offsets[-1:]
    rules = Rulebook(of["lists"], of["masks"], number, None)
    if a.training:
        size = partial_rows(plan.rows, features.device)
        sums = _floats(features, size * 2 * max(plan.middle, plan.out))
        _convolve_and_norm(of["x"], rules, of["packed1"], of["y1"], norm1, sums)
        norm_rows(of["y1"], number, norm1, of["z1"])
        _convolve_and_norm(of["z1"], rules, of["packed2"], of["y2"], norm2, sums)
    elif keeps:  # the backward pass reads the norms' inputs
        convolve(of["x"], rules, of["packed1"], of["y1"])
        norm_rows(of["y1"], number, norm1, of["z1"])
        convolve(of["z1"], rules, of["packed2"], of["y2"])
    else:
        convolve(
            *(of["x"], rules, of["packed1"], of["y1"]),
            epilogue=Epilogue.NORM,
            scale=norm1.scale,
            shift=norm1.shift,
        )
        convolve(of["y1"], rules, of["packed2"], of["y2"])
    out = features.new_empty(plan.windows, plan.out)
    argmax = features.new_empty((plan.windows, plan.out) if keeps else (0,), dtype=torch.uint8)
    norm_pool(of["y2"], of["windows"], out_offsets[-1:], norm2, out, argmax if keeps else None)
    return SparseCrossModalBlockResult(
        features=out,
        sites=out_sites,
        offsets=out_offsets,
        mean1=mean1,
        var1=var1,
        mean2=mean2,
        var2=var2,
        rows=rows,
        kept_offsets=kept_offsets,
        attention=attention if keeps else _floats(features, 0),
        y1=maps if keeps else features.new_empty(0),
        y2=features.new_empty(0),
        argmax=argmax,
        rulebook=book if keeps else a.sites.new_empty(0),
    )


def _of_no_sites(a: SparseCrossModalBlock) -> SparseCrossModalBlockResult:
    """Return the reference's result; what the backward pass keeps has the sizes of all results."""
    found = reference.sparse_cross_modal_block(a)
    if not (a.training or a.keep):
        return found
    return found._replace(
        y1=a.features.new_zeros(maps_layout(a).size),
        y2=a.features.new_empty(0),
        argmax=found.argmax.to(torch.uint8),
        rulebook=a.sites.new_zeros(book_layout(a, 0).size),
    )


def _launch_both_passes(a: SparseCrossModalBlock) -> None:
    """Launch the forward pass, and the backward pass that will follow."""
    found = _launch_forward(a)
    learns = any(isinstance(value, Tensor) and value.requires_grad for value in a)
    if not learns or not (a.training or a.keep):
        return
    # Names that both have are what the pass was given, not what the pass returned.
    known = found._asdict() | a._asdict()
    known |= {
        "grad_out": torch.empty_like(found.features),
        "out_offsets": found.offsets,
        "needs_weight1": a.weight1.requires_grad,
        "needs_weight2": a.weight2.requires_grad,
    }
    fields = SparseCrossModalBlockBackward._fields
    _launch_backward(SparseCrossModalBlockBackward(*map(known.__getitem__, fields)), spent=True)


_forward = Recorded(_launch_forward, ahead=_launch_both_passes)
again_sparse_cross_modal_block = _forward.again


def _convolve_and_norm(
    x: Tensor,
    rules: Rulebook,
    weight: Tensor,
    out: Tensor,
    norm: Norm,
    sums: Tensor,
) -> None:
    """Convolve, and find the norm of the batch."""
    channels = out.shape[1]
    partial = sums[: sums.shape[0] // (2 * channels) * 2 * channels].view(-1, 2, channels)
    parts = convolve(x, rules, weight, out, epilogue=Epilogue.MOMENTS, partial=partial)
    combine(partial, parts.number, rules.number, norm, centred=parts.centred)


def sparse_cross_modal_block_backward(
    a: SparseCrossModalBlockBackward,
) -> SparseCrossModalBlockGradients:
    """Run `mesm_ops::sparse_cross_modal_block_backward` in Triton.

    Raises:
        RuntimeError: The forward pass ran on a backend that keeps other tensors.
    """
    if not a.features.shape[0] or a.offsets.shape[0] < 2:
        rows, out = a.rows.shape[0], a.weight2.shape[0]
        return reference.sparse_cross_modal_block_backward(
            a._replace(
                y1=a.features.new_zeros(rows, a.weight1.shape[0]),
                y2=a.features.new_zeros(rows, out),
                argmax=a.rows.new_empty(0, out),
            )
        )
    return _backward(a, _is_spent())


def _launch_backward(
    a: SparseCrossModalBlockBackward, spent: bool
) -> SparseCrossModalBlockGradients:
    plan, features = _plan(a), a.features
    # A kernel would read beyond what another backend kept.
    sizes, kind = (plan.maps.size, plan.book.size), a.argmax.dtype
    if (a.y1.numel(), a.rulebook.numel()) != sizes or kind != torch.uint8:
        raise refuse_saved(
            f"y1 and rulebook of {sizes[0]} and {sizes[1]} elements and argmax of torch.uint8",
            f"{a.y1.numel()} and {a.rulebook.numel()} elements and {kind}",
        )
    of = _parts(plan, a.y1, a.rulebook)
    norm1 = Norm(
        *(a.norm_weight1, a.norm_bias1, a.mean1, a.var1, of["scale1"], of["shift1"], a.eps1)
    )
    norm2 = Norm(
        *(a.norm_weight2, a.norm_bias2, a.mean2, a.var2, of["scale2"], of["shift2"], a.eps2)
    )
    number = a.kept_offsets[-1:]
    rules = Rulebook(of["lists"], of["masks"], number, None)
    taps = room_for_tap_tiles(rules)
    weights = [
        weight if needed else weight.new_empty(0)
        for weight, needed in ((a.weight1, a.needs_weight1), (a.weight2, a.needs_weight2))
    ]
    grads = _like(
        *(weights[0], a.norm_weight1, a.norm_bias1, weights[1], a.norm_weight2, a.norm_bias2)
    )
    of_weight1, of_norm_weight1, of_norm_bias1, of_weight2, of_norm_weight2, of_norm_bias2 = grads

    grad_out = a.grad_out
    windows = a.out_offsets[-1:]
    parts = norm_pool_parts(grad_out)
    size = max(partial_rows(plan.rows, features.device) * plan.middle, parts * plan.out)
    wide = _floats(features, 2 * size + 2 * (plan.middle + plan.out))
    partial, sums1, sums2 = wide.split_with_sizes((2 * size, 2 * plan.middle, 2 * plan.out))
    of_norm1, of_norm2 = sums1.view(2, plan.middle), sums2.view(2, plan.out)

    pooled = partial[: 2 * parts * plan.out].view(parts, 2, plan.out)
    norm_pool_sums(grad_out, a.argmax, of["y2"], of["windows"], windows, norm2, pooled)
    total(
        *(pooled, None, a.var2, a.eps2, of_norm2, of_norm_weight2, of_norm_bias2, rules, taps),
    )
    grad = of["y2"] if spent else torch.empty_like(of["y2"])
    norm_pool_gradient(
        *(grad_out, a.argmax, of["y2"], of["window_of"], number, norm2, of_norm2, grad),
        training=a.training,
    )
    weight1 = weight2 = None
    if a.needs_weight2:
        weight2 = weight_gradient(of["z1"], grad, rules, taps, of_weight2)

    grad1 = of["z1"] if spent else torch.empty_like(of["z1"])
    most = 2 * size // (2 * plan.middle)
    lines = partial[: most * 2 * plan.middle].view(most, 2, plan.middle)
    written = convolve(
        *(grad, rules, of["packed2"], grad1),
        transposed=True,
        epilogue=Epilogue.NORM_SUMS,
        scale=norm1.scale,
        shift=norm1.shift,
        middle=norm1.mean,
        before=of["y1"],
        partial=lines,
    )
    total(lines[: written.number], None, a.var1, a.eps1, of_norm1, of_norm_weight1, of_norm_bias1)
    norm_gradient(grad1, of["y1"], number, norm1, of_norm1, grad1, training=a.training)
    if a.needs_weight1:
        weight1 = weight_gradient(of["x"], grad1, rules, taps, of_weight1)
    grad_x = of["x"] if spent else torch.empty_like(of["x"])
    convolve(grad1, rules, of["packed1"], grad_x, transposed=True)

    of_features = torch.empty_like(features)
    learned = (a.query, a.map_weight, a.map_bias, a.query_weight, a.score_weight, a.score_bias)
    kept = (a.rows, a.kept_offsets, of["place"])
    position_of = a.rows.new_empty(plan.rows)
    scores = None
    if a.selection.learns:
        of_learned = _like(*learned)
        of_logits, scales = wide.new_empty((2, plan.rows))
        factor = scales if a.selection.scales else None
        grad_attention(
            *(grad_x, features, a.offsets, *kept, a.attention, of_logits, position_of, factor)
        )
        given = (of_features, *of_learned, grad_x, position_of, factor)
        scores = score_gradients(
            *(plan.schedule, of_logits, features, a.offsets, a.query, of["projected_query"]),
            *(of["schedule"], of["mapped"], a.query_weight, a.score_weight),
            *given,  # type: ignore[arg-type]
        )
    else:
        of_learned = [features.new_empty(0) for _ in learned]
        scatter_kept_rows(grad_x, a.offsets, *kept, position_of, of_features)
    finish(weight1, weight2, scores)
    return SparseCrossModalBlockGradients(of_features, *of_learned, *grads)


_backward = Recorded(_launch_backward)


def again_sparse_cross_modal_block_backward(
    a: SparseCrossModalBlockBackward,
) -> SparseCrossModalBlockGradients | None:
    """Run the backward pass if one of its kind was recorded."""
    return _backward.again(a, _is_spent())


# Private, as AOTAutograd's own check before it reuses saved memory; torch without it: never.
_keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


def _is_spent() -> bool:
    """Return whether saved tensors may be written: no backward pass comes after the one running."""
    return not _keeps_graph()


def _floats(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def _like(*tensors: Tensor) -> list[Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]
