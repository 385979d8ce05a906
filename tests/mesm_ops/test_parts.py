"""How users adapt a block's parts: each way works, to the effect of its single ops, or is refused.

The table in docs/adapting.md says which; `WAYS` holds the ways that work.
"""

from __future__ import annotations

import copy
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import mesm_ops
from mesm_ops import (
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseFeatureMaps,
    SubmConv2d,
    explain,
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
        "part by part, as conv1 and conv2 are frozen",
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


@pytest.mark.filterwarnings("ignore:quantized")  # torch has no gradient of it
@pytest.mark.parametrize("way", list(WAYS))
def test_has_the_effect_that_it_has_on_single_ops(way: str) -> None:
    one, other = changed(way), changed(way)
    said = WAYS[way][1]
    assert explain(one).startswith(f"SparseCrossModalBlock: {said}")
    for seed in range(2):
        got, gradient = run(one, one, seed)
        wanted, wanted_gradient = run(lambda *given: by_single_ops(other, *given), other, seed)
        torch.testing.assert_close(got, wanted, **CLOSE)
        torch.testing.assert_close(gradient, wanted_gradient, **CLOSE)
    for (name, parameter), (_, same) in zip(
        one.named_parameters(), other.named_parameters(), strict=True
    ):
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, same.grad, **CLOSE, msg=name)
        else:
            assert parameter.grad is None
    for name, value in one.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(value, other.state_dict()[name], **CLOSE, msg=name)


def test_hooks_of_all_modules_are_called_and_those_that_count_flops_change_nothing() -> None:
    net, seen = block(), []
    x, query, lengths = inputs()
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append(type(module).__name__)
    )
    try:
        assert net.apart() == "all modules have a hook"
        net(x, query, lengths)
    finally:
        handle.remove()
    assert seen.count("SubmConv2d") == 2
    assert seen[-1] == "SparseCrossModalBlock"
    with FlopCounterMode(display=False) as counter:
        net(x, query, lengths)
    assert list(counter.get_flop_counts()["Global"]) == [
        torch.ops.mesm_ops.sparse_cross_modal_block
    ]


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("convolutions", [1, 2, 3])
def test_other_numbers_of_convolutions(backend: str, pool: bool, convolutions: int) -> None:
    net = block(pool=pool, convolutions=convolutions)
    plain = pool and convolutions == 2
    assert (net.apart() is None) == plain
    wanted = (
        "one op"
        if plain
        else "part by part, as pool is Identity"
        if convolutions == 2
        else f"part by part, as kernels are for 2 convolutions, not {convolutions}"
    )
    assert explain(net).startswith(f"SparseCrossModalBlock: {wanted}")
    other = copy.deepcopy(net)
    for training in (True, False):
        got = net.train(training)(*inputs())
        single = by_single_ops(other.train(training), *inputs())
        assert got.difference(single, **CLOSE) is None
        assert (got.height, got.width) == ((3, 3) if pool else (6, 7))
    names = {name.partition(".")[0] for name in net.state_dict()}
    numbered = {f"{kind}{n + 1}" for n in range(convolutions) for kind in ("conv", "norm")}
    assert names == {"attention"} | numbered


@pytest.mark.parametrize(("pool", "convolutions"), [(False, 1), (True, 3)])
def test_gradients_compilation_and_export_of_other_blocks(pool: bool, convolutions: int) -> None:
    net = block(pool=pool, convolutions=convolutions)
    x, query, lengths = inputs()
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True, backend="aot_eager", dynamic=True)
    assert compiled(x, query, lengths).difference(net(x, query, lengths), **CLOSE) is None
    net.eval()
    program = torch.export.export(net, (x, query, lengths))
    assert program.module()(x, query, lengths).difference(net(x, query, lengths), **CLOSE) is None

    net.double().train()
    x = make_case(2, 4, 3, 3, 0.7, torch.float64).x
    features = x.features.requires_grad_()
    query = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    named = dict(net.named_parameters())

    def by_values(features: Tensor, query: Tensor, *values: Tensor) -> Tensor:
        given = (x.with_features(features), query)
        out = torch.func.functional_call(net, dict(zip(named, values, strict=True)), given)
        return out.features

    assert torch.autograd.gradcheck(by_values, (features, query, *named.values()), fast_mode=True)


@pytest.mark.parametrize("number", [0, 4, -1, 2.5, True, "2", None])
def test_numbers_of_convolutions_that_there_are_not(number: Any) -> None:
    with pytest.raises(ValueError, match=r"^SparseCrossModalBlock: convolutions must be 1, 2 or 3"):
        block(convolutions=number)
    with pytest.raises(ValueError, match=r"^SparseCrossModalBlock: pool must be True or False"):
        block(pool=number if number is not True else 1)


def test_compiled_hooks_and_replacements_hold() -> None:
    net = block()
    hook("conv1")(net)
    put("attention.score", LowRankLinear)(net)
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True, backend="aot_eager")
    assert compiled(*inputs()).difference(net(*inputs()), **CLOSE) is None


def test_modules_that_are_none_for_maps_are_refused() -> None:
    for dense in (nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Linear(4, 4)):
        net = block()
        net.norm1 = dense
        with pytest.raises((TypeError, AttributeError), match="no tensor; use the layers of mesm"):
            net(*inputs())
    net = block()
    net.conv2 = nn.Sequential()
    net.conv2.forward = lambda x: x.features
    with pytest.raises(ValueError, match="conv2 is Sequential, which must return SparseFeatureM"):
        net(*inputs())


def test_backward_hooks_are_refused() -> None:
    for part in (block(), block().conv1, block().norm1, block().attention, block().pool):
        for register in (
            part.register_full_backward_hook,
            part.register_full_backward_pre_hook,
            part.register_backward_hook,
        ):
            with pytest.raises(RuntimeError, match="backward hooks are not supported, as sparse"):
                register(lambda *_: None)


def test_symbolic_tracing_is_refused() -> None:
    for layer in (block(), SubmConv2d(3, 4), SparseBatchNorm(3), block().attention):
        with pytest.raises(RuntimeError, match=r"torch\.fx\.symbolic_trace is not supported; use"):
            torch.fx.symbolic_trace(layer)


def test_fusing_by_a_list_of_names_is_refused_by_torch() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            (NotImplementedError, AssertionError), match=r"Cannot fuse modules|did not find fuser"
        ):
            torch.ao.quantization.fuse_modules(block().eval(), [["conv1", "norm1"]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_of_another_dtype(dtype: torch.dtype) -> None:
    net = block()
    net.p = 1  # rounded scores may keep other sites
    x, query, lengths = inputs()
    wanted = net.eval()(x, query, lengths)
    got = net.to(dtype)(x.to(dtype), query.to(dtype), lengths)
    assert got.dtype == dtype
    # As in test_modules: five roundings in a row.
    scale = float(wanted.features.detach().abs().max()) * 5
    rounding = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    assert got.to(torch.float32).difference(wanted, atol=scale * rounding) is None


def test_a_network_on_no_device_is_filled_or_assigned() -> None:
    net = block()
    state = net.state_dict()
    with torch.device("meta"):
        empty = SparseCrossModalBlock(4, 4, 6, 5, p=0.7)
    filled = copy.deepcopy(empty).to_empty(device="cpu")
    for module in filled.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    filled.load_state_dict(state)
    empty.load_state_dict(state, assign=True)
    for other in (filled, empty, copy.deepcopy(net)):
        assert other(*inputs()).difference(net.train()(*inputs())) is None


def test_channels_last_weights_and_maps_change_nothing() -> None:
    net, maps = block().eval(), torch.randn(4, 4, 6, 7)
    wanted = net(maps, *inputs()[1:])
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    got = last(maps.to(memory_format=torch.channels_last), *inputs()[1:])
    assert got.difference(wanted) is None


def test_averaged_networks_count_their_norms_again() -> None:
    net = block()
    averaged = AveragedModel(net)
    averaged.update_parameters(net)
    batches = [inputs(seed) for seed in range(3)]

    class Batch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = averaged.module

        def forward(self, number: Tensor) -> Any:
            return self.net(*batches[int(number)])

    update_bn([torch.tensor(number) for number in range(3)], Batch())
    assert int(averaged.module.norm1.num_batches_tracked) == 3
    counted = block()
    for norm in (counted.norm1, counted.norm2):
        norm.momentum = None
    for batch in batches:
        counted(*batch)
    for name, value in counted.state_dict().items():
        torch.testing.assert_close(averaged.module.state_dict()[name], value, **CLOSE)


def test_checkpointed_activations_and_hooks_on_gradients() -> None:
    one, other = block(), block()
    hooked = []
    for parameter in other.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: hooked.append(p.grad is not None))
    run(one, one, 0)
    run(lambda *given: checkpoint(other, *given, use_reentrant=False), other, 0)
    for parameter, same in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, same.grad)
    assert hooked == [True] * len(list(other.parameters()))
    norm = nn.utils.clip_grad_norm_(one.parameters(), 1e-3)
    assert norm > 1e-3
    assert nn.utils.get_total_norm([p.grad for p in one.parameters()]) <= 1.001e-3


def test_gradients_accumulate_over_steps_and_shared_blocks() -> None:
    net = block()
    shared = block()
    shared.conv1.weight = net.conv1.weight
    run(net, net, 0)
    once = net.conv1.weight.grad.clone()
    run(shared, shared, 0)
    torch.testing.assert_close(net.conv1.weight.grad, 2 * once, **CLOSE)
    run(net, net, 0)
    torch.testing.assert_close(net.conv1.weight.grad, 3 * once, **CLOSE)


def test_slices_of_a_batch_are_mapped() -> None:
    net = block().eval()
    maps, query = torch.randn(3, 2, 4, 6, 7), torch.randn(3, 2, 6)
    with torch.no_grad():
        got = torch.func.vmap(lambda m, q: net(m, q).to_dense())(maps, query)
        wanted = torch.stack([net(m, q).to_dense() for m, q in zip(maps, query, strict=True)])
    torch.testing.assert_close(got, wanted, **CLOSE)
    with pytest.raises(RuntimeError, match="vmap: inplace arithmetic"):  # of running statistics
        torch.func.vmap(lambda m, q: net.train()(m, q).to_dense())(maps, query)


def test_a_replica_of_data_parallel_runs() -> None:
    net = block().eval()
    replica = net._replicate_for_data_parallel()
    for name, part in net.named_children():
        replica._modules[name] = part
    assert replica(*inputs()).difference(net(*inputs())) is None


def test_saved_whole_and_by_state() -> None:
    net, file = block(), io.BytesIO()
    hook("conv1")(net)
    torch.save(net, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert loaded.eval()(*inputs()).difference(net.eval()(*inputs())) is None
    assert mesm_ops.explain(loaded).splitlines()[0] == mesm_ops.explain(net).splitlines()[0]


def test_the_page_about_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "adapting.md").read_text()
    names: dict[str, Any] = {"__name__": "page"}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "adapting.md", "exec"), names)
    said = capsys.readouterr().out
    for line in re.findall(r"print\(explain\(block\)\)  # (.*)", page):
        assert line in said
    assert names["block"](torch.randn(2, 4, 6, 6), torch.randn(2, 6)).channels == 8
