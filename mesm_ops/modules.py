"""The ops as layers with parameters."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from . import ops
from .all_sites import shared_sites
from .eager import is_eager
from .ops.checks import check_flag, check_maps, check_number, check_p, check_selection, check_size
from .sparse_feature_maps import SparseFeatureMaps

__all__ = [
    "CrossModalAttention",
    "SparseBatchNorm",
    "SparseCrossModalBlock",
    "SparseMaxPool2d",
    "SubmConv2d",
]

Selection = Literal["weighted", "hard", "straight_through"]


class _Layer(nn.Module):
    def __prepare_scriptable__(self) -> nn.Module:
        raise RuntimeError(
            f"{type(self).__name__}: torch.jit.script is not supported, use torch.compile or "
            "torch.export"
        )


def _check_sizes(layer: nn.Module, **sizes: int) -> None:
    for name, size in sizes.items():
        check_size(type(layer).__name__, name, size)


class CrossModalAttention(_Layer):
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
        _check_sizes(
            self, in_channels=in_channels, query_dim=query_dim, attention_dim=attention_dim
        )
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
        return ops.AttentionParameters(
            self.map_proj.weight,
            self.map_proj.bias,
            self.query_proj.weight,
            self.score.weight,
            self.score.bias,
        )

    def logits(self, x: SparseFeatureMaps, query: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the score of each active site, (N,)."""
        return ops.cross_modal_score(x, query, lengths, *self.parameter_tuple())

    def forward(
        self, x: SparseFeatureMaps, query: Tensor, lengths: Tensor | None
    ) -> SparseFeatureMaps:
        """Return the kept sites; shapes as in `cross_modal_score`."""
        return ops.top_p_select(x, self.logits(x, query, lengths), self.p, self.selection)

    def extra_repr(self) -> str:
        """Return p and the selection."""
        return f"p={self.p}, selection={self.selection!r}"


class SubmConv2d(_Layer):
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
        _check_sizes(self, in_channels=in_channels, out_channels=out_channels)
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


class SparseBatchNorm(_Layer, nn.BatchNorm1d):
    """Batch normalisation over active sites, with its ReLU; state as `torch.nn.BatchNorm1d`.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
        momentum: The share of a batch in the running statistics; None: their plain average.
        relu: Apply a ReLU to the normalised features, in the same pass.

    Raises:
        ValueError: num_features is no positive integer, eps not finite or negative, or momentum
            neither None nor a number from 0 to 1.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        relu: bool = False,
    ) -> None:
        check_size("SparseBatchNorm", "num_features", num_features)
        check_number("SparseBatchNorm", "eps", eps)
        if momentum is not None:
            check_number("SparseBatchNorm", "momentum", momentum, 1, " or None")
        check_flag("SparseBatchNorm", "relu", relu)
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.relu = relu

    def parameter_tuple(self, x: SparseFeatureMaps, *, counts: bool = True) -> ops.NormParameters:
        """Return the arguments of `sparse_batch_norm` after x; in training, count the batch.

        Args:
            x: The norm's input.
            counts: Count the batch; False: the caller does, and momentum is not None.
        """
        check_maps("SparseBatchNorm", x)  # before the batch is counted
        momentum: float | Tensor | None = self.momentum
        if self.training and counts:
            rows = x.offsets[-1]
            if rows.is_cpu and is_eager():
                self.num_batches_tracked += int(rows) > 0
            else:
                self.num_batches_tracked.add_(rows > 0)
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.clamp(min=1)
        return ops.NormParameters(
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            0.0 if momentum is None else momentum,
            self.eps,
        )

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:  # type: ignore[override]
        """Return the sites of x with normalised features."""
        return ops.sparse_batch_norm(x, *self.parameter_tuple(x), relu=self.relu)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, relu={self.relu}"


class SparseMaxPool2d(_Layer):
    """2 x 2 max-pooling with stride 2 over active sites."""

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:
        """Return maps of half the height and width."""
        return ops.sparse_max_pool2d(x)


class SparseCrossModalBlock(_Layer):
    """A cross-modal sparse block (Dai et al., 2021, section 4.3): select, convolve twice, pool.

    `p` and `selection` are settings, which a state_dict does not hold: a block that loads another's
    state keeps its own.

    Args:
        in_channels: Channels of the maps.
        out_channels: Channels of the output.
        query_dim: Size D of a query.
        attention_dim: Size k of the space in which maps and query meet.
        p: The share of the attention to keep, in (0, 1]; may be set at any time, at the price of
            another compilation in a compiled block.
        selection: "weighted" lets the attention learn; "hard", the original, does not;
            "straight_through" lets the attention learn and leaves features as "hard" does.

    Raises:
        ValueError: A size is no positive integer, p is not in (0, 1], or there is no such
            selection.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        query_dim: int,
        attention_dim: int,
        p: float = 0.5,
        selection: Selection = "weighted",
    ) -> None:
        super().__init__()
        _check_sizes(self, in_channels=in_channels, out_channels=out_channels)
        self.attention = CrossModalAttention(in_channels, query_dim, attention_dim, p, selection)
        self.conv1 = SubmConv2d(in_channels, out_channels, bias=False)
        self.norm1 = SparseBatchNorm(out_channels, relu=True)
        self.conv2 = SubmConv2d(out_channels, out_channels, bias=False)
        self.norm2 = SparseBatchNorm(out_channels, relu=True)
        self.pool = SparseMaxPool2d()

    @property
    def p(self) -> float:
        """The share of the attention to keep, in (0, 1]."""
        return self.attention.p

    @p.setter
    def p(self, p: float) -> None:
        self.attention.p = p

    def attend(
        self, maps: Tensor | SparseFeatureMaps, query: Tensor, lengths: Tensor | None = None
    ) -> SparseFeatureMaps:
        """Return the sites that the attention keeps: the block's first half."""
        selected: SparseFeatureMaps = self.attention(_sparse(maps), query, lengths)
        return selected

    def convolve(self, selected: SparseFeatureMaps) -> SparseFeatureMaps:
        """Convolve and pool what `attend` kept: the block's second half."""
        x = self.norm1(self.conv1(selected))
        pooled: SparseFeatureMaps = self.pool(self.norm2(self.conv2(x)))
        return pooled

    def forward(
        self, maps: Tensor | SparseFeatureMaps, query: Tensor, lengths: Tensor | None = None
    ) -> SparseFeatureMaps:
        """Run the block; the same as `convolve(attend(maps, query, lengths))`.

        Args:
            maps: (F, C, H, W), all sites active, or sparse; height and width at least 2.
            query: (B, D), one for each sample.
            lengths: (B,) int64 or int32, the frames of each sample; None: one query for each frame.

        Returns:
            Maps of half the height and width, with out_channels.

        Raises:
            ValueError: A shape, dtype or device does not fit, or lengths do not sum to F.
        """
        x = _sparse(maps)
        norms, attention = (self.norm1, self.norm2), self.attention
        # On a GPU a launch that the op needs anyway counts the batch too.
        leaves = x.features.is_cuda and is_eager()
        leaves = leaves and all(norm.training and norm.momentum is not None for norm in norms)
        norm1, norm2 = (norm.parameter_tuple(x, counts=not leaves) for norm in norms)
        return ops.sparse_cross_modal_block(
            x,
            query,
            lengths,
            attention.parameter_tuple(),
            ((self.conv1.weight, norm1), (self.conv2.weight, norm2)),
            self.p,
            attention.selection,
            (self.norm1.num_batches_tracked, self.norm2.num_batches_tracked) if leaves else None,
        )


def _sparse(maps: Tensor | SparseFeatureMaps) -> SparseFeatureMaps:
    if isinstance(maps, SparseFeatureMaps):
        return maps
    return SparseFeatureMaps._of_all_sites(maps, shared_sites)  # which never leave the block
