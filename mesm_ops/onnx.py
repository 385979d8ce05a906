"""The ops for ONNX: importing this module lets `torch.onnx.export(dynamo=True)` take them.

    import mesm_ops.onnx

    torch.onnx.export(block, (maps, query, lengths), "block.onnx", dynamo=True)

Each op is decomposed, for inference, into torch's own on dense maps: sites are selected by their
cumulative mass, and convolutions run everywhere under the mask of active sites. An ONNX model thus
gives the same maps as the ops, and saves none of their FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._decomp import meta_table, register_decomposition
from torch._inductor.lowering import lowerings, make_fallback, tag_to_layout_constraint
from torch._library.utils import get_layout_constraint_tag
from torch.utils import _pytree as pytree

from . import ops, reference
from .modules import CrossModalAttention
from .ops.contract import Contract
from .parts import overridden
from .reference import Selection
from .sparse_feature_maps import SparseFeatureMaps, count_ends

__all__ = ["OPSET", "WithP"]

# The opset of ONNX's default domain that the tests export with and onnxruntime runs.
OPSET = 20


class _Grid(NamedTuple):
    """Where rows of sparse maps lie in dense ones."""

    frames: int
    height: int
    width: int
    place: Tensor  # (N,) int64, index into (F * H * W,); F * H * W for padding rows

    @classmethod
    def of(cls, a: Any) -> _Grid:
        """Return the grid of an op's arguments."""
        frames, area = a.offsets.shape[0] - 1, a.height * a.width
        frame = count_ends(a.offsets[1:], a.features.shape[0])
        place = torch.where(frame < frames, frame * area + a.sites, frames * area)
        return cls(frames, a.height, a.width, place)

    def spread(self, rows: Tensor, fill: float | bool = 0) -> Tensor:
        """Return rows (N, ...) as (F * H * W, ...), `fill` where no site is active."""
        size = self.frames * self.height * self.width
        dense = rows.new_full((size + 1, *rows.shape[1:]), fill)
        return dense.index_put((self.place,), rows)[:-1]

    def mask(self) -> Tensor:
        """Return which sites are active, (F, H * W) bool."""
        active = self.spread(torch.ones_like(self.place, dtype=torch.bool), False)
        return active.view(self.frames, self.height * self.width)

    def maps(self, rows: Tensor) -> Tensor:
        """Return rows (N, C) as maps (F, C, H, W)."""
        return self.nchw(self.spread(rows))

    def nchw(self, dense: Tensor) -> Tensor:
        """Return (F * H * W, C) as maps (F, C, H, W)."""
        return dense.view(self.frames, self.height, self.width, dense.shape[1]).permute(0, 3, 1, 2)

    def rows(self, maps: Tensor) -> Tensor:
        """Return maps (F, C, H, W) as rows (N, C), zero in padding."""
        flat = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        return torch.cat([flat, flat.new_zeros(1, flat.shape[1])])[self.place]


class _Packed(NamedTuple):
    """Dense sites made rows again: kept sites first, then padding."""

    source: Tensor  # (N,) int64, the index of each row's site into (F * L,)
    real: Tensor  # (N,) bool
    sites: Tensor  # (N,) int32, zero in padding
    offsets: Tensor  # (F + 1,) int32

    @classmethod
    def of(cls, keep: Tensor, rows: int) -> _Packed:
        """Return the rows of a mask (F, L), of which at most `rows` are True."""
        frames, size = keep.shape
        flat = keep.reshape(-1)
        until = flat.to(torch.int64).cumsum(0)
        number = torch.arange(frames * size)
        target = torch.where(flat, until - 1, rows)  # all others write to one spare row
        source = torch.zeros(rows + 1, dtype=torch.int64).scatter(0, target, number)[:rows]
        ends = torch.cat([until.new_zeros(1), keep.to(torch.int64).sum(1).cumsum(0)])
        real = torch.arange(rows) < ends[-1]
        sites = torch.where(real, source % size, 0)
        return cls(source, real, sites.to(torch.int32), ends.to(torch.int32))

    def rows(self, dense: Tensor) -> Tensor:
        """Return the rows of (F * L, C), zero in padding."""
        return torch.where(self.real[:, None], dense[self.source], 0)


def _score(a: Any) -> Tensor:
    rows, frames = a.features.shape[0], a.offsets.shape[0] - 1
    sample = count_ends(a.offsets[1:], rows)
    if a.lengths is not None:
        of_frame = count_ends(a.lengths.to(torch.int64).cumsum(0), frames)
        sample = torch.cat([of_frame, of_frame.new_zeros(1)])[sample.clamp(max=frames)]
    wide = torch.promote_types(a.features.dtype, torch.float32)
    query = a.query.to(wide) @ a.query_weight.to(wide).T
    query = torch.cat([query, query.new_zeros(1, query.shape[1])])[sample]
    hidden = a.features.to(wide) @ a.map_weight.to(wide).T + a.map_bias.to(wide) + query
    logits = hidden.tanh() @ a.score_weight[0].to(wide) + a.score_bias.to(wide)
    return torch.where(torch.arange(rows) < a.offsets[-1], logits, 0)


def _nucleus(logits: Tensor, candidate: Tensor, p: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return which sites are kept and the attention, both (F, L), of logits (F, L)."""
    attention = logits.masked_fill(~candidate, -torch.inf).softmax(dim=1)
    # ONNX's TopK, which this becomes, puts the lower site first among equals.
    ordered = attention.masked_fill(~candidate, -1).sort(dim=1, descending=True)
    mass = ordered.values.to(torch.float64).cumsum(dim=1)
    before = torch.cat([mass.new_zeros(mass.shape[0], 1), mass[:, :-1]], dim=1)
    keep = torch.zeros_like(mass).scatter(1, ordered.indices, ((before < p) | (p >= 1)).to(mass))
    odd = (attention.isnan() & candidate).any(dim=1, keepdim=True)
    return ((keep > 0) | odd) & candidate, attention


class _Kept(NamedTuple):
    """The result of a selection, on dense maps."""

    keep: Tensor  # (F, L) bool
    features: Tensor  # (F * L, C), scaled, zero elsewhere


def _select(
    grid: _Grid, features: Tensor, logits: Tensor, p: float | Tensor, selection: Selection
) -> _Kept:
    candidate = grid.mask()
    keep, attention = _nucleus(grid.spread(logits).view(candidate.shape), candidate, p)
    dense = grid.spread(features)
    if selection.scales:
        count = candidate.to(attention.dtype).sum(1, keepdim=True)
        scale = (count * attention).reshape(-1, 1)
        dense = (dense.to(scale.dtype) * scale).to(dense.dtype)
    return _Kept(keep, torch.where(keep.reshape(-1, 1), dense, 0))


def _refuse_training(op: str, training: bool) -> None:
    if training:
        raise ValueError(
            f"{op}: ONNX models are for inference, and this one takes a batch's statistics; call "
            "eval() first, and give norms running statistics (track_running_stats=True)"
        )


def _normalise(
    maps: Tensor, mask: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Return relu(norm(maps)) at the sites of a mask (F, 1, H, W), zero elsewhere."""
    normalised = F.batch_norm(maps, mean, var, weight, bias, False, 0.0, eps)
    return torch.where(mask, normalised.relu(), 0)


def _pool(maps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps (F, C, h, w) and the mask (F, h * w) of half their height and width."""
    greatest = F.max_pool2d(torch.where(mask, maps, -torch.inf), 2)
    active = F.max_pool2d(mask.to(maps.dtype), 2) > 0
    return torch.where(active, greatest, 0), active.flatten(1)


def _pooled_rows(maps: Tensor, active: Tensor, rows: int) -> tuple[Tensor, _Packed]:
    size = torch.sym_min(rows, active.shape[0] * active.shape[1])
    packed = _Packed.of(active, size)
    return packed.rows(maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])), packed


def _top_p_select(a: reference.TopPSelect) -> reference.TopPSelectResult:
    return _selected(a, a.logits, a.p, a.selection)


def _selected(
    a: Any, logits: Tensor, p: float | Tensor, selection: Selection
) -> reference.TopPSelectResult:
    kept = _select(_Grid.of(a), a.features, logits, p, selection)
    packed = _Packed.of(kept.keep, a.features.shape[0])
    none = packed.sites.new_empty(0)  # results for the backward pass
    return reference.TopPSelectResult(
        packed.rows(kept.features), packed.sites, packed.offsets, none, logits.new_empty(0)
    )


def _subm_conv2d(a: reference.SubmConv2d) -> Tensor:
    grid = _Grid.of(a)
    return grid.rows(F.conv2d(grid.maps(a.features), a.weight, a.bias, padding=1))


def _sparse_batch_norm(a: reference.SparseBatchNorm) -> reference.SparseBatchNormResult:
    _refuse_training("sparse_batch_norm", a.training)
    return reference.sparse_batch_norm(a)


def _sparse_max_pool2d(a: reference.SparseMaxPool2d) -> reference.SparseMaxPool2dResult:
    grid = _Grid.of(a)
    mask = grid.mask().view(grid.frames, 1, grid.height, grid.width)
    features, packed = _pooled_rows(*_pool(grid.maps(a.features), mask), a.features.shape[0])
    none = packed.sites.new_empty(0)
    return reference.SparseMaxPool2dResult(features, packed.sites, packed.offsets, none)


def _block(a: reference.SparseCrossModalBlock) -> reference.SparseCrossModalBlockResult:
    _refuse_training("sparse_cross_modal_block", a.training)
    grid = _Grid.of(a)
    kept = _select(grid, a.features, _score(a), a.p, a.selection)
    mask = kept.keep.view(grid.frames, 1, grid.height, grid.width)
    maps = F.conv2d(grid.nchw(kept.features), a.weight1, padding=1)
    norm1 = (a.running_mean1, a.running_var1, a.norm_weight1, a.norm_bias1, a.eps1)
    maps = F.conv2d(_normalise(maps, mask, *norm1), a.weight2, padding=1)
    norm2 = (a.running_mean2, a.running_var2, a.norm_weight2, a.norm_bias2, a.eps2)
    maps = _normalise(maps, mask, *norm2)
    features, packed = _pooled_rows(*_pool(maps, mask), a.features.shape[0])
    none = packed.sites.new_empty(0)
    unused = dict.fromkeys(reference.SparseCrossModalBlockResult._fields, none)
    found = {"features": features, "sites": packed.sites, "offsets": packed.offsets}
    return reference.SparseCrossModalBlockResult(**unused | found)


_DECOMPOSED: dict[Callable[[Any], Any], Callable[[Any], Any]] = {
    reference.cross_modal_score: _score,
    reference.top_p_select: _top_p_select,
    reference.subm_conv2d: _subm_conv2d,
    reference.sparse_batch_norm: _sparse_batch_norm,
    reference.sparse_max_pool2d: _sparse_max_pool2d,
    reference.sparse_cross_modal_block: _block,
}


def _register() -> None:
    for definition, decomposed in _DECOMPOSED.items():
        contract: Contract[Any, Any] = Contract(definition)
        overload = getattr(torch.ops.mesm_ops, contract.signature.name).default

        def run(*flat: Any, made: Any = contract.arguments, into: Any = decomposed) -> Any:
            found = into(made(*flat))
            return tuple(found) if isinstance(found, tuple) else found

        register_decomposition(overload)(run)
        # Else fake tensors would take their shapes from the decomposition.
        meta_table[overload] = run
        # Else torch.compile would refuse an op that has a decomposition where CI is set.
        if overload not in lowerings:
            constraint = tag_to_layout_constraint(get_layout_constraint_tag(overload))
            make_fallback(overload, constraint, warn=False)


_register()


class WithP(nn.Module):
    """A network whose p is an input, for `torch.onnx.export`: `WithP(network)(*inputs, p)`.

    Args:
        network: Has one `CrossModalAttention` or more, alone or in `SparseCrossModalBlock`s, and is
            in eval mode.

    Attributes:
        shares: The p of each attention, in the order of `network.modules()`.

    Raises:
        ValueError: The network has no attention, one that is called by a forward of its own, or is
            in training.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._attentions = [m for m in network.modules() if isinstance(m, CrossModalAttention)]
        if not self._attentions:
            raise ValueError(f"WithP: {type(network).__name__} has no CrossModalAttention")
        for attention in self._attentions:
            if overridden(attention, CrossModalAttention, "forward"):
                raise ValueError(
                    f"WithP: {type(attention).__name__} has a forward of its own, which takes no p "
                    "from the input; override `logits` instead"
                )
        _refuse_training("WithP", network.training)
        self.train(False)

    @property
    def shares(self) -> list[float]:
        """The p of each attention, in the order of `network.modules()`."""
        return [attention.p for attention in self._attentions]

    def forward(self, *inputs: Any) -> Any:
        """Run the network.

        Args:
            inputs: The network's, then p, (number of attentions,) float64, each in (0, 1]; else
                all outputs of floating point are NaN.

        Raises:
            ValueError: p is not one number for each attention.
        """
        *given, p = inputs
        count = len(self._attentions)
        if p.shape != (count,):
            raise ValueError(
                f"WithP: p must be ({count},), one for each attention, got {tuple(p.shape)}"
            )
        with _asking(self._attentions, p):
            found = self.network(*given)
        # An ONNX model can refuse no input.
        right = ((p > 0) & (p <= 1)).all()
        return pytree.tree_map_only(
            Tensor, lambda t: t.where(right, torch.nan) if t.is_floating_point() else t, found
        )


@contextmanager
def _asking(attentions: list[CrossModalAttention], p: Tensor) -> Iterator[None]:
    """Have attentions take their p from a tensor; their blocks then call them as modules."""
    try:
        for attention, share in zip(attentions, p.unbind(), strict=True):
            attention.forward = _attend(attention, share)  # type: ignore[method-assign]
        yield
    finally:
        for attention in attentions:
            attention.__dict__.pop("forward", None)


def _attend(attention: CrossModalAttention, p: Tensor) -> Callable[..., SparseFeatureMaps]:
    def forward(x: SparseFeatureMaps, query: Tensor, lengths: Tensor | None) -> SparseFeatureMaps:
        kind = ops.checks.check_selection("top_p_select", attention.selection)
        found = _selected(x, attention.logits(x, query, lengths), p, kind)
        return SparseFeatureMaps._trusted(
            found.features, found.sites, found.offsets, x.height, x.width
        )

    return forward
