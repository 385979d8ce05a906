"""Tells whether torch merely runs ops, or traces, transforms or watches them."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad

__all__ = ["is_eager", "is_transformed"]

_transforms = torch._C._functorch.maybe_current_level
_modes = torch._C._len_torch_dispatch_stack


def is_transformed() -> bool:
    """Return whether a function transform (`vmap`, `grad`) runs, in which tensors are wrapped."""
    return _transforms() is not None


def is_eager() -> bool:
    """Return whether nothing traces, transforms or watches ops, so that tensors hold values.

    False inside a compiled graph, a dispatch mode (fake tensors, a FLOP counter), a function
    transform (`vmap`, `grad`), or a level of forward-mode derivatives.
    """
    return not (
        torch.compiler.is_compiling()
        or _modes()
        or _transforms() is not None
        or forward_ad._current_level >= 0
    )
