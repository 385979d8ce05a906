from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.kept import kept_by
from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps
from mesm_ops.ops.block_arguments import arguments_of_block
from mesm_ops.ops.sparse_cross_modal_block import _saved
from mesm_ops.reference import SparseCrossModalBlockResult
from tests.mesm_ops.cases import make_case

LENGTHS = torch.tensor([1, 0, 2])


def make_block(
    selection: str = "weighted", training: bool = True, channels: tuple[int, int] = (6, 10)
) -> SparseCrossModalBlock:
    torch.manual_seed(0)
    block = SparseCrossModalBlock(*channels, 5, 4, p=0.6, selection=selection).train(training)
    torch.nn.init.normal_(block.attention.score.weight)
    for norm in (block.norm1, block.norm2):
        torch.nn.init.normal_(norm.running_mean, std=0.3)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.3)
    return block


def make_maps(padding: int = 0, channels: int = 6) -> SparseFeatureMaps:
    case = make_case(3, channels, 7, 9, dtype=torch.float32, padding=padding)
    return case.x.with_features(case.x.features.requires_grad_())


def results(
    block: SparseCrossModalBlock, x: SparseFeatureMaps, query: Tensor, halves: bool
) -> dict[str, Tensor]:
    """Outputs, gradients and statistics of one step on a copy of the block."""
    block, query = copy.deepcopy(block), query.clone().requires_grad_()
    x = x.with_features(x.features.detach().clone().requires_grad_())
    out = block.convolve(block.attend(x, query, LENGTHS)) if halves else block(x, query, LENGTHS)
    generator = torch.Generator().manual_seed(1)
    out.features.backward(torch.randn(out.features.shape, generator=generator).to(out.dtype))
    named = {"x": x.features, "query": query, **dict(block.named_parameters())}
    found = {f"grad of {name}": tensor.grad for name, tensor in named.items()}
    found |= dict(block.named_buffers())
    found |= {"features": out.features.detach(), "sites": out.sites, "offsets": out.offsets}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("selection", ["weighted", "hard"])
def test_gradcheck(backend: str, selection: str, training: bool) -> None:
    block = SparseCrossModalBlock(3, 4, 5, 3, p=0.6, selection=selection).double().train(training)
    torch.nn.init.normal_(block.attention.score.weight)
    names = [
        n for n, _ in block.named_parameters() if selection == "weighted" or "attention" not in n
    ]
    parameters = [block.get_parameter(name) for name in names]
    maps = torch.randn(3, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    query = torch.randn(3, 5, dtype=torch.float64, requires_grad=selection == "weighted")

    def run(maps: Tensor, query: Tensor, *values: Tensor) -> Tensor:
        # Statistics of its own for every call: in training they change.
        state = {name: buffer.clone() for name, buffer in block.named_buffers()}
        state |= dict(zip(names, values, strict=True))
        out: SparseFeatureMaps = functional_call(block, state, (maps, query, LENGTHS))
        return out.features

    assert torch.autograd.gradcheck(run, (maps, query, *parameters))


def test_is_its_two_halves(backend: str) -> None:
    block = SparseCrossModalBlock(3, 4, 5, 3).eval()
    maps, query = torch.randn(3, 3, 5, 6), torch.randn(3, 5)
    whole, halves = block(maps, query, LENGTHS), block.convolve(block.attend(maps, query, LENGTHS))
    assert torch.equal(whole.features, halves.features)
    assert torch.equal(whole.mask(), halves.mask())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("selection", ["weighted", "hard", "straight_through"])
@pytest.mark.parametrize("channels", [(6, 10), (5, 7), (64, 96)])
def test_equals_the_composed_ops(
    backend: str, selection: str, training: bool, channels: tuple[int, int]
) -> None:
    block = make_block(selection, training, channels)
    x, query = make_maps(padding=5, channels=channels[0]), torch.randn(3, 5)
    whole = results(block, x, query, halves=False)
    halves = results(block, x, query, halves=True)
    assert whole.keys() == halves.keys()
    for name, tensor in halves.items():
        # The same sums of float32, in another order here and there. The gradient of the score's
        # bias is nothing but rounding.
        scale = halves["grad of attention.score.weight"] if "score.bias" in name else tensor
        atol = 1e-5 * max(float(scale.abs().max()), 1e-3)
        torch.testing.assert_close(
            whole[name], tensor, rtol=1e-5, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("training", [True, False])
def test_autocast_errs_little_more_than_the_composed_ops(backend: str, training: bool) -> None:
    block, x, query = make_block(training=training), make_maps(), torch.randn(3, 5)
    x = x.with_features(
        x.features.bfloat16().float()
    )  # rounded to bfloat16, as the layer before leaves features
    exact = results(block, x, query, halves=False)
    with torch.autocast("cpu", torch.bfloat16):
        whole = results(block, x, query, halves=False)
        halves = results(block, x, query, halves=True)
    assert whole["features"].dtype == halves["features"].dtype == torch.bfloat16
    if not torch.equal(whole["sites"], exact["sites"]):
        pytest.fail("choose another seed: rounding changed which sites are kept")
    for name in exact:
        assert whole[name].dtype == halves[name].dtype, name
        if "score.bias" in name or not exact[name].is_floating_point():
            continue
        wanted = exact[name].float()
        error = (whole[name].float() - wanted).norm()
        # As for other kernels of low precision: at most twice the error of the replaced ops.
        assert error <= 2 * (halves[name].float() - wanted).norm() + 1e-2 * wanted.norm(), name


@pytest.mark.parametrize("training", [True, False])
def test_autocast_keeps_the_sites_of_the_two_halves(backend: str, training: bool) -> None:
    """One rule of casting: query and parameters are rounded to the features' dtype."""
    changed = 0
    for seed in range(4):
        block = make_block(training=training, channels=(16, 10))
        x = make_case(3, 16, 12, 12, 0.9, torch.float32, padding=3, seed=seed).x
        query = torch.randn(3, 5)
        exact = block.attend(x, query, LENGTHS).mask()
        with torch.autocast("cpu", torch.bfloat16):
            halves = block.attend(x, query, LENGTHS)
            assert torch.equal(kept_by(block, x, query, LENGTHS), halves.mask())
            pooled = block.convolve(halves).mask()
            assert torch.equal(block(x, query, LENGTHS).mask(), pooled)
        changed += int((exact != halves.mask()).sum())
    assert changed > 0  # else no rule of casting could be seen


def test_inference_folds_the_norms(backend: str) -> None:
    block, x, query = make_block(training=False), make_maps(padding=3), torch.randn(3, 5)
    kept = block(x, query, LENGTHS)
    with torch.no_grad():
        folded = block(x, query, LENGTHS)
    assert torch.equal(kept.sites, folded.sites)
    torch.testing.assert_close(kept.features, folded.features, rtol=1e-5, atol=1e-5)


def test_frames_without_sites_stay_empty(backend: str) -> None:
    block = make_block(training=False)
    nothing = SparseFeatureMaps.from_dense(
        torch.randn(3, 6, 7, 9), torch.zeros(3, 7, 9, dtype=torch.bool)
    )
    out = block(nothing, torch.randn(3, 5), LENGTHS)
    assert out.features.shape == (0, 10)
    out = make_block(training=True)(nothing, torch.randn(3, 5), LENGTHS)
    out.features.sum().backward()
    assert out.offsets.tolist() == [0, 0, 0, 0]


def test_threads_change_no_bit(backend: str) -> None:
    block, x, query = make_block(), make_maps(), torch.randn(3, 5)
    threads = torch.get_num_threads()
    try:
        found = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(results(block, x, query, halves=False))
    finally:
        torch.set_num_threads(threads)
    if backend == "reference":  # torch has its own order of sums
        return
    for other in found[1:]:
        assert all(torch.equal(other[name], tensor) for name, tensor in found[0].items())


FROZEN = [("conv1",), ("conv2",), ("conv1", "conv2")]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", FROZEN)
def test_frozen_weights_get_no_gradient_and_change_no_other(
    backend: str, frozen: tuple[str, ...], training: bool
) -> None:
    block, x, query = make_block(training=training), make_maps(padding=5), torch.randn(3, 5)
    every = results(block, x, query, halves=False)
    for name in frozen:
        block.get_submodule(name).requires_grad_(False)
    assert block.apart() is None
    others = results(block, x, query, halves=False)
    assert every.keys() - others.keys() == {f"grad of {name}.weight" for name in frozen}
    for name, tensor in others.items():
        assert torch.equal(tensor, every[name]), name


@pytest.mark.parametrize("frozen", [(), *FROZEN])
def test_gradients_count_as_the_composed_ops_do(backend: str, frozen: tuple[str, ...]) -> None:
    block, x, query = make_block(), make_maps(), torch.randn(3, 5)
    for name in frozen:
        block.get_submodule(name).requires_grad_(False)
    counts = []
    for halves in (False, True):
        with FlopCounterMode(display=False) as counter:
            results(block, x, query, halves)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("selection", ["weighted", "hard", "straight_through"])
def test_opcheck(backend: str, selection: str, training: bool) -> None:
    block, x = make_block(selection, training), make_maps()
    stages = tuple(
        (conv.weight, norm.parameter_tuple(x))
        for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2))
    )
    attention, query = block.attention.parameter_tuple(), torch.randn(3, 5)
    args = arguments_of_block(x, query, LENGTHS, attention, stages, 0.6, selection)
    torch.library.opcheck(torch.ops.mesm_ops.sparse_cross_modal_block.default, tuple(args))
    with torch.no_grad():
        a = arguments_of_block(x, query, LENGTHS, attention, stages, 0.6, selection)._replace(
            keep=True
        )
        out = SparseCrossModalBlockResult(*torch.ops.mesm_ops.sparse_cross_modal_block(*a))
    saved = _saved(tree_map_only(Tensor, Tensor.detach, a), out)
    backward = saved._replace(
        grad_out=torch.randn_like(out.features), needs_weight1=training, needs_weight2=True
    )
    op = torch.ops.mesm_ops.sparse_cross_modal_block_backward.default
    torch.library.opcheck(op, tuple(backward))


def test_refuses_what_its_parts_refuse(backend: str) -> None:
    block, x = make_block(), make_maps()
    with pytest.raises(ValueError, match=r"lengths must be at least 0 and sum to 3 frames"):
        block(x, torch.randn(3, 5), torch.tensor([1, 1, 2]))
    with pytest.raises(ValueError, match=r"query_weight must be \(4, 6\) for queries of 6"):
        block(x, torch.randn(3, 6), LENGTHS)
    block.attention, x = make_block(channels=(4, 10)).attention, make_maps(channels=4)
    with pytest.raises(ValueError, match=r"weight must be \(Cout, 4, 3, 3\) for 4 input channels"):
        block(x, torch.randn(3, 5), LENGTHS)
