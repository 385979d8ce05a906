"""An op calls its kernel directly where the result is the same, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mesm_ops import SparseFeatureMaps, backends, subm_conv2d, use_backend
from mesm_ops.ops.subm_conv2d import _backward, _forward
from mesm_ops.reference import SubmConv2d
from tests.mesm_ops.cases import drawn, make_case


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say which ops came the short way."""
    seen: list[str] = []
    for name, op in (("forward", _forward), ("backward", _backward)):
        run = op.run

        def noted(a: Any, name: str = name, run: Callable[[Any], Any] = run) -> Any:
            seen.append(name)
            return run(a)

        monkeypatch.setattr(op, "run", noted)
    return seen


def maps() -> SparseFeatureMaps:
    return make_case(2, 3, 5, 4, dtype=torch.float32).x


def weights() -> Tensor:
    return drawn(5, 3, 3, 3, dtype=torch.float32)


def test_eager_calls_come_the_short_way(short: list[str]) -> None:
    weight = weights()
    subm_conv2d(maps(), weight).features.sum().backward()
    assert short == ["forward", "backward"]
    with torch.no_grad():
        subm_conv2d(maps(), weight)
    with torch.inference_mode():
        subm_conv2d(maps(), weight.detach())
    with use_backend("cpp"):
        subm_conv2d(maps(), weight)
    assert short == ["forward", "backward"] + 3 * ["forward"]


def test_both_ways_give_the_same_bits() -> None:
    x, weight = maps(), weights()
    results = []
    for way in (_forward, lambda a: _forward.overload(*a)):
        weight.grad = None
        features = x.features.detach().requires_grad_()
        out = way(SubmConv2d(features, x.sites, x.offsets, x.height, x.width, weight, None))
        out.square().sum().backward()
        results.append((out, features.grad, weight.grad))
    for short, long in zip(*results, strict=True):
        assert torch.equal(short, long)


class Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def test_modes_see_the_op(short: list[str]) -> None:
    x, weight = maps(), weights().detach()
    with Watch() as watch:
        subm_conv2d(x, weight)
    assert "mesm_ops::subm_conv2d" in watch.seen
    with FlopCounterMode(display=False) as counter:
        subm_conv2d(x, weight)
    assert counter.get_total_flops() > 0
    with FakeTensorMode() as mode:
        fake = SparseFeatureMaps._trusted(
            *(mode.from_tensor(t) for t in (x.features, x.sites, x.offsets)), x.height, x.width
        )
        assert subm_conv2d(fake, mode.from_tensor(weight)).channels == 5
    assert short == []


def test_transforms_see_the_op_and_refuse(short: list[str]) -> None:
    x, weight = maps(), weights().detach()

    def total(w: Tensor) -> Tensor:
        return subm_conv2d(x, w).features.sum()

    # The short way would silently lose the gradient.
    with pytest.raises(RuntimeError, match="subm_conv2d: the gradients of torch"):
        torch.func.grad(total)(weight)
    assert short == []


def test_autocast_and_other_classes_go_through_torch(short: list[str]) -> None:
    x, weight = maps(), weights().detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert subm_conv2d(x, weight).dtype == torch.bfloat16

    class Mine(Tensor):
        pass

    subm_conv2d(x, weight.as_subclass(Mine))
    with use_backend("reference"):
        subm_conv2d(x, weight)
    half = x.with_features(x.features.half())
    subm_conv2d(half, weight.half())  # the C++ kernels do not take it
    assert short == []


def test_the_backward_pass_keeps_its_backend(short: list[str]) -> None:
    weight = weights()
    out = subm_conv2d(maps(), weight).features.sum()
    with use_backend("reference"):
        out.backward()
    assert short == ["forward", "backward"]


def test_second_order_gradients_are_refused() -> None:
    weight = weights()
    out = subm_conv2d(maps(), weight).features
    (grad,) = torch.autograd.grad(out.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="subm_conv2d: second-order gradients"):
        grad.sum().backward()


def test_is_first_asks_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backends.is_first("subm_conv2d", "cpp", "cpu")
    monkeypatch.setitem(backends._kernels, "subm_conv2d", dict(backends._kernels["subm_conv2d"]))
    backends.register("subm_conv2d", "triton", lambda *_: None, device="cuda")
    assert backends.is_first("subm_conv2d", "cpp", "cpu")
    backends.register("subm_conv2d", "triton", lambda *_: None)
    assert not backends.is_first("subm_conv2d", "cpp", "cpu")
