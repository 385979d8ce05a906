"""How users adapt a block's parts: each way works, to the effect of its single ops, or is refused.

The table in docs/adapting.md says which; `WAYS` (`adapted.py`) holds the ways that work.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mesm_ops import (
    CrossModalAttention,
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseFeatureMaps,
    SubmConv2d,
    explain,
)
from mesm_ops.parts import tensor_of
from tests.mesm_ops.adapted import (
    CLOSE,
    WAYS,
    LowRankLinear,
    block,
    by_single_ops,
    changed,
    hook,
    inputs,
    put,
    run,
)
from tests.mesm_ops.cases import make_case


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
    assert (seen.count("SubmConv2d"), seen.count("Linear")) == (2, 3)
    assert seen[-1] == "SparseCrossModalBlock"
    with FlopCounterMode(display=False) as counter:
        net(x, query, lengths)
    assert list(counter.get_flop_counts()["Global"]) == [
        torch.ops.mesm_ops.sparse_cross_modal_block
    ]


class Sharper(CrossModalAttention):
    def logits(self, x: SparseFeatureMaps, query: Tensor, lengths: Tensor | None) -> Tensor:
        return super().logits(x, query, lengths) * 9


class Doubled(SparseCrossModalBlock):
    def convolve(self, selected: SparseFeatureMaps) -> SparseFeatureMaps:
        x = super().convolve(selected)
        return x.with_features(x.features * 2)


class Asked(SparseCrossModalBlock):
    def attend(self, maps: Any, query: Tensor, lengths: Tensor | None = None) -> SparseFeatureMaps:
        return super().attend(maps, -query, lengths)


def test_methods_that_a_class_overrides_are_called() -> None:
    plain, given = block().eval(), inputs()
    sharper = block().eval()
    sharper.attention = Sharper(4, 6, 5, p=0.7)
    sharper.attention.load_state_dict(plain.attention.state_dict())
    patched = block().eval()
    convolve = patched.convolve
    vars(patched)["convolve"] = lambda selected: convolve(selected[:0])
    for net, why in (
        (sharper, "attention.logits is overridden"),
        (Doubled(4, 4, 6, 5, p=0.7), "convolve is overridden"),
        (Asked(4, 4, 6, 5, p=0.7), "attend is overridden"),
        (patched, "convolve is overridden"),
    ):
        net.eval().load_state_dict(plain.state_dict())
        assert net.apart() == why
        got = net(*given)
        assert got.difference(net.convolve(net.attend(*given)), **CLOSE) is None
        assert got.difference(plain(*given), **CLOSE) is not None


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


@pytest.mark.parametrize("part", ["attention", "conv1", "norm2", "pool"])
def test_parts_that_are_none_are_refused(part: str) -> None:
    net = block()
    setattr(net, part, None)
    message = f"^SparseCrossModalBlock: {part} must be a module, got None; torch.nn.Identity()"
    with pytest.raises(ValueError, match=message):
        net(*inputs())


@pytest.mark.parametrize("part", ["map_proj", "query_proj", "score"])
def test_projections_that_are_none_are_refused(part: str) -> None:
    net = block()
    setattr(net.attention, part, None)
    with pytest.raises(ValueError, match=f"^CrossModalAttention: {part} must be a module, got No"):
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


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_backward_hooks_of_all_modules_reach_those_that_take_tensors() -> None:
    seen: list[str] = []
    handle = nn.modules.module.register_module_full_backward_hook(
        lambda module, *_: seen.append(type(module).__name__)
    )
    try:
        run(net := block(), net, 0)
    finally:
        handle.remove()
    assert seen == ["Linear"] * 3


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


def test_a_tensor_of_a_part_is_the_attribute() -> None:
    """Parameters, buffers, parametrised ones, plain attributes, and those that are not there."""
    norm, plain = SparseBatchNorm(3), nn.Linear(2, 3, bias=False)
    assert tensor_of(norm, "weight") is norm.weight
    assert tensor_of(norm, "running_mean") is norm.running_mean
    assert tensor_of(plain, "bias") is None
    assert tensor_of(SparseBatchNorm(3, track_running_stats=False), "running_mean") is None
    assert tensor_of(LowRankLinear(plain), "weight") is plain.weight
    nn.utils.parametrize.register_parametrization(plain, "weight", nn.Tanh())
    assert torch.equal(tensor_of(plain, "weight"), plain.weight)
    nn.utils.parametrize.register_parametrization(norm, "running_var", nn.Softplus())
    assert torch.equal(tensor_of(norm, "running_var"), norm.running_var)
    del norm.weight
    norm.weight = torch.ones(3)  # type: ignore[assignment]
    assert tensor_of(norm, "weight") is norm.weight
    with pytest.raises(AttributeError, match="nothing"):
        tensor_of(norm, "nothing")
