"""Derivatives that the ops do not have are refused by the op's name, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import mesm_ops
from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps
from tests.mesm_ops.cases import make_case

X = make_case(2, 3, 4, 5, dtype=torch.float32).x
FORWARD = "forward-mode derivatives are not supported"


def block(x: SparseFeatureMaps) -> SparseFeatureMaps:
    out: SparseFeatureMaps = BLOCK(x, torch.ones(2, 6))
    return out


BLOCK = SparseCrossModalBlock(3, 5, 6, 4).requires_grad_(False).eval()
ONES = torch.ones(3)
OPS: dict[str, Callable[[SparseFeatureMaps], SparseFeatureMaps]] = {
    "subm_conv2d": lambda x: mesm_ops.subm_conv2d(x, torch.ones(5, 3, 3, 3)),
    "sparse_batch_norm": lambda x: mesm_ops.sparse_batch_norm(x, ONES, ONES.clone(), ONES, ONES),
    "cross_modal_score": lambda x: x.with_features(
        BLOCK.attention.logits(x, torch.ones(2, 6), None)[:, None]
    ),
    "top_p_select": lambda x: mesm_ops.top_p_select(x, x.features.sum(1), 0.5),
    "sparse_max_pool2d": mesm_ops.sparse_max_pool2d,
    "sparse_cross_modal_block": block,
}
ops = pytest.mark.parametrize("name", list(OPS))


def through(name: str) -> Callable[[Tensor], Tensor]:
    return lambda features: OPS[name](X.with_features(features)).features


@ops
def test_forward_mode(name: str, backend: str) -> None:
    f, features = through(name), X.features.clone()
    wanted = pytest.raises(RuntimeError, match=f"{name}: {FORWARD}")
    with wanted:
        torch.func.jvp(f, (features,), (features,))
    with wanted:
        torch.func.jacfwd(f)(features)
    for primal in (features, features.clone().requires_grad_()):
        with forward_ad.dual_level(), wanted:
            f(forward_ad.make_dual(primal, features))
    with forward_ad.dual_level():  # nothing has a tangent
        assert torch.equal(f(features), f(features))


def test_forward_mode_of_a_parameter_and_of_a_gradient() -> None:
    weight = torch.ones(5, 3, 3, 3)

    def convolve(w: Tensor) -> Tensor:
        return mesm_ops.subm_conv2d(X, w).features

    with pytest.raises(RuntimeError, match=f"subm_conv2d: {FORWARD}"):
        torch.func.jvp(convolve, (weight,), (weight,))
    weight.requires_grad_()
    out = convolve(weight)
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(torch.ones_like(out), torch.ones_like(out))
        with pytest.raises(RuntimeError, match=f"subm_conv2d_backward: {FORWARD}"):
            torch.autograd.grad(out, weight, grad)


@ops
def test_reverse_mode_of_torch_func(name: str) -> None:
    f, features = through(name), X.features.clone()
    wanted = pytest.raises(RuntimeError, match=rf"{name}: the gradients of torch\.func")
    for transform in (torch.func.grad, torch.func.hessian):
        with wanted:
            transform(lambda v: f(v).sum())(features)
    with wanted:
        torch.func.jacrev(f)(features)


@ops
def test_second_order(name: str) -> None:
    features = X.features.clone().requires_grad_()
    out = through(name)(features).square().sum()
    (gradient,) = torch.autograd.grad(out, features, create_graph=True)
    with pytest.raises(RuntimeError, match=f"{name}: second-order gradients are not supported"):
        gradient.sum().backward()


def test_a_compiled_function_refuses_too() -> None:
    features = X.features.clone()

    def tangent(v: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(through("subm_conv2d"), (v,), (v,))[1]
        return found

    with pytest.raises(RuntimeError, match=f"subm_conv2d: {FORWARD}"):
        torch.compile(tangent, backend="aot_eager")(features)


@pytest.mark.filterwarnings("ignore")  # torch deprecates torch.jit
def test_torch_jit() -> None:
    with pytest.raises(RuntimeError, match=r"subm_conv2d: torch\.jit\.trace is not supported"):
        torch.jit.trace(through("subm_conv2d"), X.features)
    for layer in (
        BLOCK,
        mesm_ops.SubmConv2d(3, 5),
        torch.nn.Sequential(mesm_ops.SparseMaxPool2d()),
    ):
        with pytest.raises(RuntimeError, match=r"torch\.jit\.script is not supported"):
            torch.jit.script(layer)
