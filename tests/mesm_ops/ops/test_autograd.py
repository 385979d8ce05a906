"""Gradients by name, of an op with arguments and results of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mesm_ops import backends, use_backend
from mesm_ops.ops.autograd import LATER, make_differentiable
from mesm_ops.ops.direct import Op
from mesm_ops.ops.registration import define_op
from mesm_ops.reference import Selection


class Scaling(NamedTuple):
    x: Tensor
    times: int
    selection: Selection
    other: Tensor | None


class ScalingResult(NamedTuple):
    x: Tensor
    twice: Tensor


class ScalingBackward(NamedTuple):
    grad_out: Tensor
    times: int
    x: Tensor
    needs_other: bool
    selection: Selection
    other: Tensor | None
    twice: Tensor


class ScalingGradients(NamedTuple):
    other: Tensor
    x: Tensor


seen: list[ScalingBackward] = []


def scaling(a: Scaling) -> ScalingResult:
    return ScalingResult(a.x * a.times + (0 if a.other is None else a.other), a.x * 2)


def scaling_backward(a: ScalingBackward) -> ScalingGradients:
    seen.append(a)
    grad_other = a.grad_out.clone() if a.needs_other else a.grad_out.new_empty(0)
    return ScalingGradients(grad_other, a.grad_out * a.times)


def saved(a: Scaling, out: ScalingResult) -> ScalingBackward:
    return ScalingBackward(
        grad_out=LATER,
        times=a.times,
        x=a.x,
        needs_other=LATER,
        selection=a.selection,
        other=a.other,
        twice=out.twice,
    )


@pytest.fixture(scope="module", autouse=True)
def op() -> Iterator[Op[Scaling, ScalingResult]]:
    kernels = dict(backends._kernels)
    forward = define_op(scaling, fake=lambda a: ScalingResult(a.x.clone(), a.x.clone()))
    backward = define_op(
        scaling_backward, fake=lambda a: ScalingGradients(a.x.clone(), a.x.clone())
    )
    make_differentiable(
        forward,
        backward,
        saved=saved,
        without=lambda a: () if a.selection.learns else ("other",),
    )
    yield forward
    backends._kernels.clear()
    backends._kernels.update(kernels)


@pytest.fixture(autouse=True)
def forget() -> None:
    seen.clear()


@pytest.mark.parametrize("selection", Selection)
def test_gradients_come_by_name(op: Op[Scaling, ScalingResult], selection: Selection) -> None:
    x, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    out = op(Scaling(x, 6, selection, other))
    assert [one.requires_grad for one in out] == [True, False]
    out.x.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6, 6]
    if selection.learns:
        assert other.grad is not None
        assert other.grad.tolist() == [1, 1]
    else:
        assert other.grad is None


@pytest.mark.parametrize("needed", [True, False])
def test_every_argument_of_the_backward_op_is_in_its_place(
    op: Op[Scaling, ScalingResult], needed: bool
) -> None:
    x, other = torch.ones(2, requires_grad=True), torch.full((2,), 5.0, requires_grad=needed)
    out = op(Scaling(x, 6, Selection.WEIGHTED, other))
    out.x.backward(torch.full((2,), 3.0))
    (a,) = seen
    assert type(a) is ScalingBackward
    assert a.grad_out.tolist() == [3, 3]
    assert (a.times, a.needs_other) == (6, needed)
    assert a.selection is Selection.WEIGHTED
    assert a.other is not None
    assert (a.x.tolist(), a.other.tolist(), a.twice.tolist()) == ([1, 1], [5, 5], [2, 2])
    assert (other.grad is None) == (not needed)


def test_an_optional_tensor_may_be_missing(op: Op[Scaling, ScalingResult]) -> None:
    x = torch.ones(2, requires_grad=True)
    op(Scaling(x, 6, Selection.WEIGHTED, None)).x.sum().backward()
    assert seen[0].other is None
    assert not seen[0].needs_other
    assert not op(Scaling(x.detach(), 6, Selection.WEIGHTED, None)).x.requires_grad


def test_the_backward_pass_keeps_its_backend(op: Op[Scaling, ScalingResult]) -> None:
    x = torch.ones(2, requires_grad=True)
    asked: list[str] = []
    with use_backend("reference"):
        out = op(Scaling(x, 6, Selection.WEIGHTED, None)).x
    out.register_hook(lambda _: asked.append(backends.requested()))
    kernel = backends._kernels["scaling_backward"]["reference"].run

    def noted(a: ScalingBackward) -> ScalingGradients:
        asked.append(backends.requested())
        return kernel(a)

    backends.register("scaling_backward", "reference", noted)
    out.sum().backward()
    assert asked == ["auto", "reference"]


def test_second_order_gradients_are_refused(op: Op[Scaling, ScalingResult]) -> None:
    x = torch.ones(2, requires_grad=True)
    out = op(Scaling(x, 6, Selection.WEIGHTED, None)).x
    (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="scaling: second-order gradients are not supported"):
        grad.sum().backward()
