"""A block and the ways in which users adapt its parts; and its equation by single ops."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from mesm_ops import (
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseFeatureMaps,
    SubmConv2d,
    top_p_select,
)
from tests.mesm_ops.cases import make_case

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def block(**options: Any) -> SparseCrossModalBlock:
    torch.manual_seed(0)
    made = SparseCrossModalBlock(4, 4, 6, 5, p=0.7, **options)
    for number in range(1, made.convolutions + 1):
        nn.init.normal_(getattr(made, f"norm{number}").bias)
    return made


def inputs(seed: int = 0) -> tuple[SparseFeatureMaps, Tensor, Tensor]:
    case = make_case(4, 4, 6, 7, 0.8, torch.float32, padding=2, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return case.x, torch.randn(2, 6, generator=generator), torch.tensor([1, 3])


def by_single_ops(
    net: SparseCrossModalBlock, x: SparseFeatureMaps, query: Tensor, lengths: Tensor
) -> SparseFeatureMaps:
    """The block's equation, with whatever stands in its places; plain torch but for the ops."""
    attention = net.attention
    clips = torch.repeat_interleave(torch.arange(2), lengths)[x.frame_of_row().clamp(max=3)]
    features = x.features.nan_to_num(0)
    asked = attention.query_proj(query)[clips]
    logits = attention.score(torch.tanh(attention.map_proj(features) + asked))[:, 0]
    x = top_p_select(x, logits.float(), net.p, attention.selection)
    for hook in attention._forward_hooks.values():
        x = hook(attention, (), x)
    for number in range(1, net.convolutions + 1):
        x = getattr(net, f"conv{number}")(x)
        norm = getattr(net, f"norm{number}")
        x = norm(x)
        if not isinstance(norm, SparseBatchNorm):
            x = x.with_features(torch.relu(x.features))
    return net.pool(x)


class LowRank(nn.Module):
    """A convolution with a learned update of low rank, as LoRA has it."""

    def __init__(self, conv: SubmConv2d) -> None:
        super().__init__()
        self.conv = conv.requires_grad_(False)
        out, into = conv.weight.shape[:2]
        self.down, self.up = nn.Linear(into, 2, bias=False), nn.Linear(2, out, bias=False)

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:
        y = self.conv(x)
        return y.with_features(y.features + self.up(self.down(x.features)))


class LowRankLinear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.base = linear
        self.down = nn.Linear(linear.in_features, 2)
        self.up = nn.Linear(2, linear.out_features)

    @property
    def weight(self) -> Tensor:  # as PEFT's layers have it: the base's alone
        return self.base.weight

    @property
    def bias(self) -> Tensor:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class RowNorm(nn.Module):
    """A norm of one's own, which follows the rule: maps in, maps out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:
        return x.with_features(self.norm(x.features))


def doubled(_: nn.Module, __: Any, out: Any) -> Any:
    return out.with_features(out.features * 2) if isinstance(out, SparseFeatureMaps) else out * 2


def patched(net: SparseCrossModalBlock) -> None:
    forward = net.conv1.forward
    net.conv1.forward = lambda x: doubled(net, None, forward(x))  # as accelerate's hooks do


def with_bias(net: SparseCrossModalBlock) -> None:
    net.conv1.bias = nn.Parameter(torch.randn(4))


def put(name: str, make: Callable[[Any], nn.Module]) -> Callable[[SparseCrossModalBlock], None]:
    """Put what `make` makes of a part in its place."""
    parent, _, last = name.rpartition(".")

    def change(net: SparseCrossModalBlock) -> None:
        owner = net.get_submodule(parent)
        setattr(owner, last, make(getattr(owner, last)))

    return change


def on(name: str, change: Callable[[Any], Any]) -> Callable[[SparseCrossModalBlock], None]:
    return lambda net: change(net.get_submodule(name))


def quantised(net: SparseCrossModalBlock) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates torch.ao
        torch.ao.quantization.quantize_dynamic(net.eval(), {nn.Linear}, inplace=True)


def fused(net: SparseCrossModalBlock) -> None:
    net.eval()
    net.conv1 = nn.utils.fuse_conv_bn_eval(net.conv1, net.norm1)
    net.norm1 = nn.Identity()


def hook(name: str) -> Callable[[SparseCrossModalBlock], None]:
    return on(name, lambda part: part.register_forward_hook(doubled))


# Per way: what is done, and how `explain` says that the block runs.
WAYS: dict[str, tuple[Callable[[SparseCrossModalBlock], Any], str]] = {
    "nothing": (lambda net: None, "one op"),
    **{
        f"a forward hook on {name}": (hook(name), f"part by part, as {name} has a hook")
        for name in (
            *("attention", "conv1", "norm1", "conv2", "norm2", "pool"),
            *("attention.map_proj", "attention.query_proj", "attention.score"),
        )
    },
    "a forward pre-hook": (
        on("norm2", lambda p: p.register_forward_pre_hook(lambda _, x: doubled(p, None, x[0]))),
        "part by part, as norm2 has a hook",
    ),
    "a forward of one's own": (patched, "part by part, as conv1 has a forward of its own"),
    "a backward hook on a projection": (
        on("attention.map_proj", lambda p: p.register_full_backward_hook(lambda *_: None)),
        "part by part, as attention.map_proj has a hook",
    ),
    "parametrised weights": (
        on("conv1", lambda p: parametrize.register_parametrization(p, "weight", nn.Tanh())),
        "one op",
    ),
    "weight_norm": (on("conv2", parametrizations.weight_norm), "one op"),
    "spectral_norm": (on("conv2", lambda p: parametrizations.spectral_norm(p).eval()), "one op"),
    "weight_norm of a projection": (
        on("attention.map_proj", parametrizations.weight_norm),
        "one op",
    ),
    "pruned weights": (
        on("conv1", lambda p: prune.l1_unstructured(p, "weight", 0.5)),
        "part by part, as conv1 has a hook",
    ),
    "a low-rank update of a convolution": (
        put("conv1", LowRank),
        "part by part, as conv1 is LowRank",
    ),
    "a low-rank update of a projection": (
        put("attention.map_proj", LowRankLinear),
        "part by part, as attention.map_proj is LowRankLinear",
    ),
    "two convolutions in one's place": (
        put("conv1", lambda conv: nn.Sequential(conv, SubmConv2d(4, 4))),
        "part by part, as conv1 is Sequential",
    ),
    "a bias of a convolution": (with_bias, "part by part, as conv1 or conv2 has a bias"),
    "projections quantised": (quantised, "part by part, as attention.map_proj is Linear"),
    "a norm folded into its convolution": (fused, "part by part, as norm1 is Identity"),
    "no norm": (put("norm2", lambda _: nn.Identity()), "part by part, as norm2 is Identity"),
    "another norm": (put("norm1", lambda _: RowNorm(4)), "part by part, as norm1 is RowNorm"),
    "a norm without ReLU": (
        on("norm2", lambda p: setattr(p, "relu", False)),
        "part by part, as norm1 or norm2 has no ReLU",
    ),
    "a norm without parameters": (
        put("norm1", lambda _: SparseBatchNorm(4, relu=True, affine=False)),
        "one op",
    ),
    "a norm without statistics": (
        put("norm2", lambda _: SparseBatchNorm(4, relu=True, track_running_stats=False)),
        "one op",
    ),
    "a norm's bias taken away": (on("norm1", lambda p: setattr(p, "bias", None)), "one op"),
    "plain averages": (on("norm1", lambda p: setattr(p, "momentum", None)), "one op"),
    "one norm in evaluation": (
        on("norm1", lambda p: p.eval()),
        "part by part, as one norm alone is in training",
    ),
    "training statistics in evaluation": (
        lambda net: [net.eval(), net.norm1.train(), net.norm2.train()],
        "one op",
    ),
    "projections without bias": (
        on("attention.map_proj", lambda p: setattr(p, "bias", None)),
        "part by part, as attention.map_proj or score has no bias",
    ),
    "frozen convolutions": (
        lambda net: [net.conv1.requires_grad_(False), net.conv2.requires_grad_(False)],
        "one op",
    ),
    "a frozen block": (lambda net: net.requires_grad_(False), "one op"),
    "one frozen convolution": (on("conv1", lambda p: p.requires_grad_(False)), "one op"),
    "a frozen attention": (on("attention", lambda p: p.requires_grad_(False)), "one op"),
    "one convolution twice": (put("conv2", lambda _: None), "one op"),
    "one norm twice": (put("norm2", lambda _: None), "part by part, as norm1 and norm2 are one"),
    "no pool": (put("pool", lambda _: nn.Identity()), "part by part, as pool is Identity"),
}


def changed(way: str) -> SparseCrossModalBlock:
    net = block()
    if way.endswith("twice"):
        kind = "conv" if "convolution" in way else "norm"
        setattr(net, f"{kind}2", getattr(net, f"{kind}1"))
    else:
        WAYS[way][0](net)
    return net


def run(
    call: Callable[..., SparseFeatureMaps], net: SparseCrossModalBlock, seed: int
) -> tuple[Tensor, Tensor]:
    x, query, lengths = inputs(seed)
    features = x.features.requires_grad_()
    out = call(x, query, lengths).to_dense()
    if out.requires_grad:
        (out * torch.sin(torch.arange(out.numel()).reshape(out.shape))).sum().backward()
    return out, features.grad
