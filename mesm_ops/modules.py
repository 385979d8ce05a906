"""The ops as layers with parameters."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from . import ops
from .all_sites import shared_sites
from .eager import is_eager
from .layer import Layer, check_sizes
from .norms import SparseBatchNorm, SparseSyncBatchNorm
from .ops.checks import (
    check_flag,
    check_maps,
    check_p,
    check_selection,
    check_tensor,
    check_untraced,
)
from .ops.cross_modal_score import check_lengths
from .ops.parameters import Stage
from .parts import (
    changed,
    hooked_everywhere,
    lacks_bias,
    linears_changed,
    overridden,
    tensor_of,
    there,
)
from .sparse_feature_maps import SparseFeatureMaps

__all__ = [
    "CrossModalAttention",
    "SparseCrossModalBlock",
    "SparseMaxPool2d",
    "SubmConv2d",
]

Selection = Literal["weighted", "hard", "straight_through"]


class CrossModalAttention(Layer):
    """Keep the sites that matter most to a query (Dai et al., 2021, Eq. 1 to 4).

    `p` and `selection` are settings, which a state_dict does not hold: a layer that loads another's
    state keeps its own.

    Args:
        in_channels: Channels C of the maps.
        query_dim: Size D of a query.
        attention_dim: Size k of the space in which maps and query meet.
        p: The share of the attention to keep, in (0, 1]; may be set at any time.
        selection: "weighted", "hard" or "straight_through", as in `top_p_select`.

    Raises:
        ValueError: A size is no positive integer, p is not in (0, 1], or there is no such
            selection.
    """

    def __init__(
        self,
        in_channels: int,
        query_dim: int,
        attention_dim: int,
        p: float = 0.5,
        selection: Selection = "weighted",
    ) -> None:
        super().__init__()
        check_sizes(self, in_channels=in_channels, query_dim=query_dim, attention_dim=attention_dim)
        check_selection("CrossModalAttention", selection)
        self.map_proj = nn.Linear(in_channels, attention_dim)
        self.query_proj = nn.Linear(query_dim, attention_dim, bias=False)
        self.score = nn.Linear(attention_dim, 1)
        self.selection: Selection = selection
        self.p = p

    @property
    def p(self) -> float:
        """The share of the attention to keep, in (0, 1]."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = check_p("CrossModalAttention", p)

    def parameter_tuple(self) -> ops.AttentionParameters:
        """Return the parameters as `cross_modal_score` takes them."""
        parts = (self.map_proj, self.map_proj, self.query_proj, self.score, self.score)
        names = ("weight", "bias", "weight", "weight", "bias")
        return ops.AttentionParameters(*map(tensor_of, parts, names))

    def logits(self, x: SparseFeatureMaps, query: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the score of each active site, (N,), zero in padding."""
        projections = (self.map_proj, self.query_proj, self.score)
        if linears_changed(*projections) is None and hooked_everywhere() is None:
            return ops.cross_modal_score(x, query, lengths, *self.parameter_tuple())
        return self._logits_of_modules(x, query, lengths)

    def _logits_of_modules(
        self, x: SparseFeatureMaps, query: Tensor, lengths: Tensor | None
    ) -> Tensor:
        """Return what `logits` does, where a projection must be called as a module."""
        name = type(self).__name__
        check_maps(name, x)
        samples = x.frames if lengths is None else lengths.shape[0]
        check_tensor(name, "query", query, (samples, "D"), x.device, "for {0} samples")
        if lengths is not None and torch.compiler.is_compiling():
            right = (lengths.sum() == x.frames) & (lengths >= 0).all()
            torch._assert_async(right, f"{name}: lengths must sum to the frames")
        else:
            check_lengths(lengths, x.offsets, x.features)
        sample = x.frame_of_row()
        if lengths is not None:
            sample = torch.bucketize(sample, lengths.to(torch.int64).cumsum(0), right=True)
        real = torch.arange(sample.shape[0], device=x.device) < x.offsets[-1]
        asked = there(name, "query_proj", self.query_proj)(query)
        asked = torch.cat([asked, asked.new_zeros(1, asked.shape[1])])  # padding asks the last
        seen = torch.where(real[:, None], x.features, 0)
        hidden = there(name, "map_proj", self.map_proj)(seen) + asked[sample]
        logits = there(name, "score", self.score)(torch.tanh(hidden))[:, 0]
        return torch.where(real, logits, 0).to(torch.promote_types(x.dtype, torch.float32))

    def forward(
        self, x: SparseFeatureMaps, query: Tensor, lengths: Tensor | None
    ) -> SparseFeatureMaps:
        """Return the kept sites; shapes as in `cross_modal_score`."""
        return ops.top_p_select(x, self.logits(x, query, lengths), self.p, self.selection)

    def extra_repr(self) -> str:
        """Return p and the selection."""
        return f"p={self.p}, selection={self.selection!r}"


class SubmConv2d(Layer):
    """Submanifold 3 x 3 convolution (Graham and van der Maaten, 2017).

    Args:
        in_channels: Channels Cin of the input.
        out_channels: Channels Cout of the output.
        bias: Add a learned bias at active sites.

    Raises:
        ValueError: A size is no positive integer, or bias is no bool.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        check_sizes(self, in_channels=in_channels, out_channels=out_channels)
        check_flag("SubmConv2d", "bias", bias)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight after He et al. (2015), for the ReLU that follows; zero the bias."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:
        """Return the sites of x with Cout channels."""
        return ops.subm_conv2d(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the channels."""
        cout, cin = self.weight.shape[:2]
        return f"{cin}, {cout}, bias={self.bias is not None}"


class SparseMaxPool2d(Layer):
    """2 x 2 max-pooling with stride 2 over active sites."""

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:
        """Return maps of half the height and width."""
        return ops.sparse_max_pool2d(x)


class SparseCrossModalBlock(Layer):
    """A cross-modal sparse block (Dai et al., 2021, section 4.3): select, convolve twice, pool.

    `p` and `selection` are settings, which a state_dict does not hold: a block that loads another's
    state keeps its own. Parts may be replaced by modules that take and return `SparseFeatureMaps`,
    and hooked; the block then calls its parts one by one, to the same effect. A ReLU follows each
    norm; one with an attribute `relu` sees to that itself.

    Args:
        in_channels: Channels of the maps.
        out_channels: Channels of the output.
        query_dim: Size D of a query.
        attention_dim: Size k of the space in which maps and query meet.
        p: The share of the attention to keep, in (0, 1]; may be set at any time, at the price of
            another compilation in a compiled block.
        selection: "weighted" lets the attention learn; "hard", the original, does not;
            "straight_through" lets the attention learn and leaves features as "hard" does.
        pool: End with a 2 x 2 max-pool; without, maps keep their size.
        convolutions: How many convolutions, each with its norm and ReLU: 1, 2 or 3. Kernels of the
            whole block are for 2 and a pool; others run by the single ops.

    Raises:
        ValueError: A size is no positive integer, p is not in (0, 1], there is no such selection,
            pool is no bool, or convolutions is none of 1, 2 and 3.
    """

    conv1: SubmConv2d
    norm1: SparseBatchNorm
    conv2: SubmConv2d
    norm2: SparseBatchNorm

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        query_dim: int,
        attention_dim: int,
        p: float = 0.5,
        selection: Selection = "weighted",
        pool: bool = True,
        convolutions: int = 2,
    ) -> None:
        super().__init__()
        check_sizes(self, in_channels=in_channels, out_channels=out_channels)
        check_flag("SparseCrossModalBlock", "pool", pool)
        if isinstance(convolutions, bool) or convolutions not in (1, 2, 3):
            raise ValueError(
                f"SparseCrossModalBlock: convolutions must be 1, 2 or 3, got {convolutions!r}"
            )
        self.attention = CrossModalAttention(in_channels, query_dim, attention_dim, p, selection)
        self.convolutions = int(convolutions)
        for number in range(1, self.convolutions + 1):
            before = in_channels if number == 1 else out_channels
            self.add_module(f"conv{number}", SubmConv2d(before, out_channels, bias=False))
            self.add_module(f"norm{number}", SparseBatchNorm(out_channels, relu=True))
        self.pool = SparseMaxPool2d() if pool else nn.Identity()

    @property
    def p(self) -> float:
        """The share of the attention to keep, in (0, 1]."""
        return self.attention.p

    @p.setter
    def p(self, p: float) -> None:
        self.attention.p = p

    def apart(self) -> str | None:
        """Return why the block now calls its parts one by one, in words; None: it is one op."""
        if self.convolutions != 2:
            return f"kernels are for 2 convolutions, not {self.convolutions}"
        own = overridden(self, SparseCrossModalBlock, "attend", "convolve")
        if own is not None:
            return f"{own} is overridden"
        inside: dict[str, Any] = self._modules
        attention, conv1, conv2 = inside["attention"], inside["conv1"], inside["conv2"]
        norm1, norm2 = inside["norm1"], inside["norm2"]
        found = changed(
            (
                ("attention", attention, CrossModalAttention),
                ("conv1", conv1, SubmConv2d),
                ("norm1", norm1, _norm_class(norm1)),
                ("conv2", conv2, SubmConv2d),
                ("norm2", norm2, _norm_class(norm2)),
                ("pool", inside["pool"], SparseMaxPool2d),
            )
        )
        if found is not None:
            return found
        if overridden(attention, CrossModalAttention, "logits"):
            return "attention.logits is overridden"
        within = attention._modules
        found = linears_changed(within["map_proj"], within["query_proj"], within["score"])
        if found is not None:
            return f"attention.{found}"
        if not (lacks_bias(conv1) and lacks_bias(conv2)):
            return "conv1 or conv2 has a bias"
        if norm1 is norm2:
            return "norm1 and norm2 are one module"
        if norm1.training is not norm2.training:
            return "one norm alone is in training"
        if not (norm1.relu and norm2.relu):
            return "norm1 or norm2 has no ReLU"
        for norm in (norm1, norm2):
            if isinstance(norm, SparseSyncBatchNorm) and norm.synchronises:
                return "its norms take the statistics of several processes"
        return hooked_everywhere()

    def attend(
        self, maps: Tensor | SparseFeatureMaps, query: Tensor, lengths: Tensor | None = None
    ) -> SparseFeatureMaps:
        """Return the sites that the attention keeps: the block's first half."""
        return _maps_of("attention", self.attention, _sparse(maps), query, lengths)

    def convolve(self, selected: SparseFeatureMaps) -> SparseFeatureMaps:
        """Convolve and pool what `attend` kept: the block's second half.

        Raises:
            ValueError: A part that was put in place of another does not return SparseFeatureMaps.
        """
        x = selected
        for number in range(1, self.convolutions + 1):
            for name in (f"conv{number}", f"norm{number}"):
                x = _maps_of(name, getattr(self, name), x)
            if not hasattr(getattr(self, f"norm{number}"), "relu"):
                x = x.with_features(x.features.relu())
        return _maps_of("pool", self.pool, x)

    def forward(
        self, maps: Tensor | SparseFeatureMaps, query: Tensor, lengths: Tensor | None = None
    ) -> SparseFeatureMaps:
        """Run the block; the same as `convolve(attend(maps, query, lengths))`.

        Args:
            maps: (F, C, H, W), all sites active, or sparse; with a pool, height and width at least
                2.
            query: (B, D), one for each sample.
            lengths: (B,) int64 or int32, the frames of each sample; None: one query for each frame.

        Returns:
            Maps of half the height and width, or of the same without a pool, with out_channels.

        Raises:
            ValueError: A shape, dtype or device does not fit, lengths do not sum to F, or a part
                that was put in place of another does not return SparseFeatureMaps.
        """
        x = _sparse(maps)
        if self.apart() is not None:
            return self.convolve(self.attend(x, query, lengths))
        inside: dict[str, Any] = self._modules
        norms = (inside["norm1"], inside["norm2"])
        # On a GPU a launch that the op needs anyway counts the batch too.
        leaves = x.features.is_cuda and is_eager()
        leaves = leaves and all(norm.training and norm.momentum is not None for norm in norms)
        counts = tuple(norm.num_batches_tracked for norm in norms if norm.track_running_stats)
        leaves = leaves and len(counts) == 2 and not any(count is None for count in counts)
        return ops.sparse_cross_modal_block(
            *self.op_arguments(x, query, lengths, counts=not leaves),
            counts if leaves else None,  # type: ignore[arg-type]
        )

    def op_arguments(
        self,
        maps: Tensor | SparseFeatureMaps,
        query: Tensor,
        lengths: Tensor | None = None,
        *,
        counts: bool = False,
    ) -> _OpArguments:
        """Return the arguments of `sparse_cross_modal_block`, where the block is that op.

        Args:
            maps: As for `forward`; so are the next two.
            query: (B, D).
            lengths: (B,), or None.
            counts: In training, count the batch.
        """
        x = _sparse(maps)
        inside: dict[str, Any] = self._modules
        attention = inside["attention"]
        stage1, stage2 = (
            (tensor_of(inside[conv], "weight"), inside[norm].parameter_tuple(x, counts=counts))
            for conv, norm in (("conv1", "norm1"), ("conv2", "norm2"))
        )
        attends, settings = attention.parameter_tuple(), (attention.p, attention.selection)
        return x, query, lengths, attends, (stage1, stage2), *settings


_OpArguments: TypeAlias = tuple[
    SparseFeatureMaps,
    Tensor,
    Tensor | None,
    ops.AttentionParameters,
    tuple[Stage, Stage],
    float,
    Selection,
]


def _norm_class(norm: Any) -> type[nn.Module]:
    return SparseSyncBatchNorm if isinstance(norm, SparseSyncBatchNorm) else SparseBatchNorm


def _maps_of(name: str, part: Any, *given: Any) -> SparseFeatureMaps:
    """Return what a part of a block makes of what it is given."""
    found = there("SparseCrossModalBlock", name, part)(*given)
    if not isinstance(found, SparseFeatureMaps):
        raise ValueError(
            f"SparseCrossModalBlock: {name} is {type(part).__name__}, which must return "
            f"SparseFeatureMaps, got {type(found).__name__}"
        )
    return found


def _sparse(maps: Tensor | SparseFeatureMaps) -> SparseFeatureMaps:
    if isinstance(maps, SparseFeatureMaps):
        return maps
    check_untraced("SparseCrossModalBlock", maps)
    return SparseFeatureMaps._of_all_sites(maps, shared_sites)  # which never leave the block
