"""How an op is given its gradient: one call in each op's file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Generic

import torch
from torch import Tensor

from .. import backends
from .contract import Arguments, Contract, Results
from .direct import Op
from .registration import libraries
from .schemas import NO_TENSORS

__all__ = ["LATER", "make_differentiable"]

# In `saved`, stands for an argument of the backward op that only the backward pass knows.
LATER: Any = None


class _Passage(Generic[Arguments]):
    """Carries the backward op's arguments from the forward to the backward pass.

    The first argument is the gradient of the first result; an argument `needs_<input>` is whether
    autograd wants the gradient of that input; tensors are saved as autograd saves them, and all
    other arguments as they are.
    """

    def __init__(self, inputs: tuple[str, ...], backward: Contract[Arguments, Any]) -> None:
        self._takes = backward.takes
        self._inputs = inputs
        kinds = list(backward.signature.arguments.values())[1:]
        places = range(1, len(backward.fields))
        needs = [i for i in places if backward.fields[i].startswith("needs_")]
        self._tensors = [i for i, kind in zip(places, kinds, strict=True) if kind not in NO_TENSORS]
        self._others = [i for i in places if i not in (*self._tensors, *needs)]
        self._needed = [inputs.index(backward.fields[i].removeprefix("needs_")) for i in needs]
        come = [0, *self._tensors, *needs, *self._others]
        self._order = [come.index(i) for i in range(len(come))]
        self._gradients = [(name, inputs.index(name)) for name in backward.returned or inputs[:1]]
        self._is_tensor = not backward.returned

    def save(self, ctx: Any, a: Arguments) -> None:
        """Keep the backward op's arguments."""
        ctx.save_for_backward(*[a[i] for i in self._tensors])
        ctx.others = [a[i] for i in self._others]

    def restore(self, ctx: Any, grad: Tensor) -> Arguments:
        """Return the backward op's arguments as they were kept, with all that was not known yet."""
        wanted = ctx.needs_input_grad
        come = [grad, *ctx.saved_tensors, *[wanted[i] for i in self._needed], *ctx.others]
        return self._takes(*[come[i] for i in self._order])

    def gradients(
        self, ctx: Any, found: Any, without: Collection[str]
    ) -> tuple[Tensor | None, ...]:
        """Return a gradient or None for each input, of the backward op's results."""
        made: list[Tensor | None] = [None] * len(self._inputs)
        every = (found,) if self._is_tensor else found
        for (name, place), gradient in zip(self._gradients, every, strict=True):
            if ctx.needs_input_grad[place] and name not in without:
                made[place] = gradient
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
        backward: The op that computes its gradients. Its first argument is the gradient of the
            first result; `needs_<input>` among them says whether that input's gradient is needed.
        saved: Given arguments and results, returns the backward op's arguments, with `LATER` for
            the first and for each `needs_<input>`.
        without: Given the backward op's arguments, names the inputs that get no gradient.
    """
    passage = _Passage(forward.contract.fields, backward.contract)

    def keep(ctx: Any, a: Arguments, found: Any) -> None:
        ctx.backend = backends.requested()
        if forward.contract.returned:
            ctx.mark_non_differentiable(*found[1:])
        passage.save(ctx, saved(a, forward.contract.results(found)))

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        keep(ctx, forward.contract.arguments(*inputs), output)

    def gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a = passage.restore(ctx, grad)
        return passage.gradients(ctx, backward(a), without(a))

    def run(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        # Autograd may call this from a thread of its own, outside the caller's use_backend.
        if ctx.backend == backends.requested():
            return gradients(ctx, grad)
        with backends.use_backend(ctx.backend):
            return gradients(ctx, grad)

    def refuse(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(f"{forward.overload.name()}: second-order gradients are not supported")

    class Direct(torch.autograd.Function):
        """The same for calls that do not go through torch's dispatcher."""

        @staticmethod
        def forward(ctx: Any, *flat: Any) -> Any:
            a = forward.contract.arguments(*flat)
            found = forward.run(a)
            keep(ctx, a, found)
            return found

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return run(ctx, *grads)

    forward.differentiable = Direct.apply
    library = libraries["mesm_ops"]
    torch.library.register_autograd(forward.overload, run, setup_context=setup, lib=library)
    torch.library.register_autograd(backward.overload, refuse, lib=library)
