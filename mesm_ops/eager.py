"""Tells whether torch merely runs ops, or traces, transforms or watches them."""

from __future__ import annotations

import torch

__all__ = ["is_eager"]

_transforms = torch._C._functorch.maybe_current_level
_modes = torch._C._len_torch_dispatch_stack


def is_eager() -> bool:
    """Return whether nothing traces, transforms or watches ops, so that tensors hold values.

    False inside a compiled graph, a dispatch mode (fake tensors, a FLOP counter), or a function
    transform (`vmap`, `grad`).
    """
    return not (torch.compiler.is_compiling() or _modes() or _transforms() is not None)
