"""Gives an op its gradient: one call in each op's file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Generic

import torch
from torch import Tensor
from torch._library.autograd import Info, make_autograd_impl
from torch._ops import OpOverload
from torch.autograd import forward_ad

from .. import backends
from .contract import Arguments, Contract, Results, getter
from .direct import Op, any_requires_grad
from .registration import libraries

__all__ = ["LATER", "make_differentiable"]

transforms_are_active = torch._C._are_functorch_transforms_active

# In `saved`, `LATER` stands for an argument of the backward op that only the backward pass knows.
LATER: Any = None


class _Passage(Generic[Arguments]):
    """Carries the backward op's arguments from the forward to the backward pass.

    Autograd saves tensors, and the context saves all other arguments; the gradient and the
    `needs_<input>` are known in the backward pass alone.
    """

    def __init__(self, inputs: tuple[str, ...], backward: Contract[Arguments, Any]) -> None:
        self._takes = backward.takes
        self._inputs = len(inputs)
        needs = [i for i, name in enumerate(backward.fields) if name.startswith("needs_")]
        others = [
            i for i in backward.positions("Selection", "int", "float", "bool") if i not in needs
        ]
        tensors = [i for i in range(1, len(backward.fields)) if i not in (*needs, *others)]
        self._tensors, self._others = getter(tensors), getter(others)
        self._needed = getter([inputs.index(backward.fields[i][len("needs_") :]) for i in needs])
        come = [0, *tensors, *others, *needs]
        self._in_order = getter([come.index(i) for i in range(len(come))])
        self._gradients = [(inputs.index(name), name) for name in backward.returned or inputs[:1]]

    def save(self, ctx: Any, a: Arguments) -> None:
        """Keep the backward op's arguments."""
        ctx.save_for_backward(*self._tensors(a))
        ctx.others = self._others(a)

    def restore(self, ctx: Any, grad: Tensor) -> Arguments:
        """Return the backward op's arguments, `LATER` replaced."""
        come = (grad, *ctx.saved_tensors, *ctx.others, *self._needed(ctx.needs_input_grad))
        return self._takes(*self._in_order(come))

    def gradients(
        self, ctx: Any, found: tuple[Tensor, ...], without: Collection[str]
    ) -> tuple[Tensor | None, ...]:
        """Return a gradient or None for each input, given the backward op's results."""
        wanted = ctx.needs_input_grad
        made: list[Tensor | None] = [None] * self._inputs
        for (position, name), gradient in zip(self._gradients, found, strict=True):
            if wanted[position] and name not in without:
                made[position] = gradient
        return tuple(made)


def make_differentiable(
    forward: Op[Arguments, Results],
    backward: Op[Any, Any],
    *,
    saved: Callable[[Arguments, Results], Any],
    without: Callable[[Any], Collection[str]] = lambda _: (),
) -> None:
    """Give an op its gradient, and refuse a gradient of that gradient.

    Only the first result has a gradient. The backward op returns the gradients of the inputs that
    its results are named after; a single tensor is the gradient of the first input.

    Args:
        forward: The op.
        backward: The op that computes the gradients. Its first argument is the gradient of the
            first result; an argument `needs_<input>` says whether that input's gradient is needed.
        saved: Given arguments and results, returns the backward op's arguments, with `LATER` for
            the first and for each `needs_<input>`.
        without: Given the backward op's arguments, names the inputs that get no gradient.

    Raises:
        RuntimeError: From a backward pass through the gradient itself.
    """
    passage = _Passage(forward.contract.fields, backward.contract)

    def keep(ctx: Any, a: Arguments, found: Any) -> None:
        ctx.backend = backends.requested()
        ctx.set_materialize_grads(False)  # else autograd makes zeros for all other results
        if forward.contract.returned:
            ctx.mark_non_differentiable(*found[1:])
        passage.save(ctx, saved(a, forward.contract.results(found)))

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        keep(ctx, forward.contract.arguments(*inputs), output)

    def gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a = passage.restore(ctx, grad)
        found = backward(a)
        every = found if backward.contract.returned else (found,)
        return passage.gradients(ctx, every, without(a))

    def run(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * len(forward.contract.fields)
        # Autograd may run in a thread of its own, outside the caller's use_backend.
        if ctx.backend == backends.requested():
            return gradients(ctx, grad)
        with backends.use_backend(ctx.backend):
            return gradients(ctx, grad)

    def refuse(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(f"{forward.overload.name()}: second-order gradients are not supported")

    class Direct(torch.autograd.Function):
        """The op's gradient for calls that bypass torch's dispatcher."""

        @staticmethod
        def forward(ctx: Any, *flat: Any) -> Any:
            a = forward.contract.takes(*flat)  # enums come as they are, unlike from torch
            found = forward.run(a)
            keep(ctx, a, found)
            return found

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return run(ctx, *grads)

    forward.differentiable = Direct.apply
    _register(forward.overload, run, setup)
    _register(backward.overload, refuse, None)


def _register(
    overload: OpOverload, backward: Callable[..., Any], setup: Callable[..., None] | None
) -> None:
    """Do what `torch.library.register_autograd` does, and refuse by name what has no formula.

    torch would take a tangent off without a word, and names its own class, not the op, to
    `torch.func.grad`.
    """
    differentiate = make_autograd_impl(overload, Info(backward, setup))

    def run(keyset: Any, *flat: Any) -> Any:
        if forward_ad._current_level >= 0 and any(map(_has_tangent, flat)):
            raise RuntimeError(f"{overload.name()}: forward-mode derivatives are not supported")
        if transforms_are_active() and torch.is_grad_enabled() and any_requires_grad(*flat):
            raise RuntimeError(
                f"{overload.name()}: the gradients of torch.func (grad, vjp, jacrev, hessian) are "
                "not supported; use backward or torch.autograd.grad"
            )
        return differentiate(keyset, *flat)

    libraries["mesm_ops"].impl(overload, run, "Autograd", with_keyset=True)


def _has_tangent(value: Any) -> bool:
    return isinstance(value, Tensor) and forward_ad.unpack_dual(value).tangent is not None
