"""A block whose launches were recorded finds, bit for bit, what the first call would find."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps, reference, use_backend
from mesm_ops.triton.parts import replay
from tests.mesm_ops.block_passes import OWN, backward, both_passes, forward
from tests.mesm_ops.triton.test_sparse_cross_modal_block import DEVICE, arguments, gradient, maps

launcher = importlib.import_module("mesm_ops.triton.sparse_cross_modal_block")


def forget() -> None:
    for recorded in (launcher._forward, launcher._backward):
        recorded.cache_clear()


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Grows by one with each pass whose launches were recorded before."""
    run, seen = replay._Launches.run, list[Any]()

    def noted(self: Any, *args: Any) -> Any:
        if self._results:  # the running statistics' launch has none
            seen.append(self)
        return run(self, *args)

    monkeypatch.setattr(replay._Launches, "run", noted)
    forget()
    yield seen
    forget()


def given(seed: int, *shape: int, channels: int = 6, **settings: Any) -> tuple[Any, Tensor]:
    """Arguments and a gradient that differ from seed to seed in all values but the sites."""
    x = maps(*(shape or (2, 4, 3, 4)), 0.7, torch.float32)
    a = arguments(x, channels, settings.pop("lengths", None), **settings)
    random = torch.Generator().manual_seed(seed)

    def other(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.clone()
        moved = tensor.cpu() + 0.1 * torch.rand(tensor.shape, generator=random)
        return moved.to(DEVICE)

    a = a._replace(**{n: other(t) for n, t in a._asdict().items() if isinstance(t, Tensor)})
    return a, other(gradient(x, channels))


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, tensor in wanted.items():
        if name not in OWN:  # the padding between these results' parts is undefined
            assert torch.equal(found[name], tensor), name


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"lengths": [2, 0], "selection": "hard"},
    {"selection": "straight_through", "training": False},
    {"training": False, "keep": False, "trim": True},
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_equals_the_first_call(settings: dict[str, Any], runs: list[Any]) -> None:
    every = []
    for seed in range(3):
        a, grad = given(seed, **settings)
        forget()
        needs = None if settings.get("keep") is False else grad
        every.append((a, needs, both_passes("triton", a, needs)))
    forget()
    assert not runs
    for a, needs, wanted in every:
        assert_equal(both_passes("triton", a, needs), wanted)
    assert len(runs) == (1 if settings.get("keep") is False else 2)


def test_kinds_of_calls_take_turns(runs: list[Any]) -> None:
    """Two blocks, another p, frozen weights, misaligned and transposed arguments."""
    kinds: list[tuple[Any, Tensor, tuple[bool, bool]]] = []
    for seed in range(3):
        a, grad = given(seed)
        kinds += [(a, grad, (True, True)), (a._replace(p=0.3), grad, (True, True))]
        kinds += [(a, grad, (True, False)), (*given(seed, channels=5), (True, True))]
        room = torch.empty(a.features.numel() + 1, device=DEVICE)[1:].view_as(a.features)
        kinds.append((a._replace(features=room.copy_(a.features)), grad, (True, True)))
        across = a.features.t().contiguous().t()
        kinds.append((a._replace(features=across), grad.t().contiguous().t(), (True, True)))
    wanted = []
    for a, grad, needs in kinds:
        forget()
        wanted.append(both_passes("triton", a, grad, needs))
    forget()
    for (a, grad, needs), want in zip(kinds, wanted, strict=True):
        assert_equal(both_passes("triton", a, grad, needs), want)
    # Four kinds each way, one of nine calls, the others of three; all but two are replayed.
    assert len(runs) == 2 * (7 + 1 + 1 + 1)


def test_saved_tensors_may_come_back_elsewhere(runs: list[Any]) -> None:
    a, grad = given(0)
    kept = forward("triton", a)
    wanted = backward("triton", a, kept, grad)._asdict()
    for by in (0, 1, 4):
        for _ in range(3):
            moved = {}
            for name in ("y1", "rulebook", "argmax", "attention", "rows", "mean1"):
                tensor = getattr(kept, name)
                room = tensor.new_empty(tensor.numel() + by)[by:].view_as(tensor)
                moved[name] = room.copy_(tensor)
            found = backward("triton", a, kept._replace(**moved), grad)._asdict()
            assert_equal(found, wanted)
    # Moved by 1, floats must be copied, which runs as written.
    assert len(runs) == 2 + 0 + 1


def test_what_was_not_kept_is_refused_every_time() -> None:
    a, grad = given(0)
    kept = forward("triton", a)
    for _ in range(4):
        with pytest.raises(RuntimeError, match="cannot read what the forward pass kept"):
            backward("triton", a, kept._replace(y1=kept.y1[:-1]), grad)
        backward("triton", a, kept, grad)


def test_lengths_are_checked_every_time() -> None:
    right, _ = given(0, lengths=[1, 1], training=False, keep=False)
    wrong = right._replace(lengths=torch.tensor([1, 2], device=DEVICE))
    for _ in range(4):
        forward("triton", right)
        if DEVICE == "cpu":  # a GPU stops
            with pytest.raises(ValueError, match="sum to 2 frames"):
                launcher.sparse_cross_modal_block(wrong)


def test_backward_passes_after_other_forward_passes(runs: list[Any]) -> None:
    """Two blocks' graphs, passes in any order, a graph that is kept, and weights that move."""
    found: list[list[Tensor]] = []
    x = maps(2, 4, 3, 4, 0.7, torch.float32)
    torch.manual_seed(0)
    blocks = [SparseCrossModalBlock(4, n, 5, 7, p=1.0).to(DEVICE) for n in (6, 5)]
    start = [{n: t.clone() for n, t in block.state_dict().items()} for block in blocks]
    queries = [torch.randn(2, 5, device=DEVICE) for _ in range(3)]
    for recorded in (False, True):
        for block, state in zip(blocks, start, strict=True):
            block.load_state_dict(state)
        found.append([])
        forget()
        for query in queries:
            if not recorded:
                forget()
            leaf = x.features.nan_to_num().to(DEVICE).requires_grad_()
            place = SparseFeatureMaps(leaf, x.sites.to(DEVICE), x.offsets.to(DEVICE), 3, 4)
            with use_backend("triton"):
                outs = [
                    block(place, query + number).features for number, block in enumerate(blocks)
                ]
            for block, out in reversed([*zip(blocks, outs, strict=True)]):
                leaves = (leaf, *block.parameters())
                for retain in (True, False):
                    if not recorded:
                        forget()
                    grads = torch.autograd.grad(out, leaves, 2 * out, retain_graph=retain)
                    found[-1] += [out.detach().clone(), *grads]
                with torch.no_grad():
                    for parameter, grad in zip(block.parameters(), grads[1:], strict=True):
                        parameter -= 0.1 * grad
        found[-1] += [t for block in blocks for t in block.buffers()]
        found[-1] = [t.clone() for t in found[-1]]
        assert len(runs) == (6 if recorded else 0)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_shared_parameters_run_as_written(runs: list[Any]) -> None:
    a, grad = given(0)
    a = a._replace(norm_weight2=a.norm_weight1, norm_bias1=a.norm_weight1)
    for _ in range(3):
        found = both_passes("triton", a, grad)
    assert not runs
    apart = a._replace(norm_weight2=a.norm_weight1.clone(), norm_bias1=a.norm_weight1.clone())
    assert_equal(found, both_passes("triton", apart, grad))


def test_results_of_two_calls_share_no_memory() -> None:
    a, grad = given(0)
    calls = [both_passes("triton", a, grad) for _ in range(4)]  # two of them recorded
    every = [tensor for found in calls for tensor in found.values() if tensor.numel()]
    assert len({tensor.untyped_storage().data_ptr() for tensor in every}) == len(every)
    assert isinstance(launcher._forward(a), reference.SparseCrossModalBlockResult)
