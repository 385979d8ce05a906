"""The layers' common base: refuses what torch would do to a layer in vain."""

from __future__ import annotations

from typing import Any

from torch import nn

from .ops.checks import check_size

__all__ = ["Layer", "check_sizes"]


class Layer(nn.Module):
    """A module that takes and returns `SparseFeatureMaps`."""

    def __prepare_scriptable__(self) -> nn.Module:
        raise RuntimeError(
            f"{type(self).__name__}: torch.jit.script is not supported, use torch.compile or "
            "torch.export"
        )

    def _without_backward_hooks(self, *_: Any, **__: Any) -> Any:
        # torch hands these hooks tensors alone, and would call them never, or with a warning.
        raise RuntimeError(
            f"{type(self).__name__}: backward hooks are not supported, as sparse maps are no "
            "tensors; register a hook on `features` in a forward hook"
        )

    register_full_backward_hook = _without_backward_hooks
    register_full_backward_pre_hook = _without_backward_hooks
    register_backward_hook = _without_backward_hooks


def check_sizes(layer: nn.Module, **sizes: int) -> None:
    """Refuse sizes of a layer that are no positive integers.

    Raises:
        ValueError: A size is no integer, or less than 1; names layer and size.
    """
    for name, size in sizes.items():
        check_size(type(layer).__name__, name, size)
