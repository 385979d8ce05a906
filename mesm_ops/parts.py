"""Tells whether a module's parts are as its own code reads them, or changed, replaced or hooked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules import module as every_module
from torch.utils.module_tracker import ModuleTracker

__all__ = [
    "Part",
    "changed",
    "hooked_everywhere",
    "lacks_bias",
    "linears_changed",
    "overridden",
    "tensor_of",
    "there",
]

Part = tuple[str, Any, type[nn.Module]]  # a name, what is there, and the class that is wanted


def changed(parts: Iterable[Part]) -> str | None:
    """Return which part must be called as a module, and why, in words; None: no part must.

    A part whose parameters alone are others (shared, frozen, parametrised) need not.
    """
    for name, part, kind in parts:
        if getattr(type(part), "forward", None) is not kind.forward:
            return f"{name} is {type(part).__name__}"
        if (
            part._forward_hooks
            or part._forward_pre_hooks
            or part._backward_hooks
            or part._backward_pre_hooks
        ):
            return f"{name} has a hook"
        if "forward" in part.__dict__:
            return f"{name} has a forward of its own"
    return None


def overridden(module: nn.Module, kind: type[nn.Module], *methods: str) -> str | None:
    """Return which of a class's methods a module has of its own; None: none of them."""
    for method in methods:
        if getattr(type(module), method) is not getattr(kind, method) or method in module.__dict__:
            return method
    return None


def linears_changed(map_proj: Any, query_proj: Any, score: Any) -> str | None:
    """Return why the projections of an attention must be called as modules; None: no reason."""
    found = changed(
        (
            ("map_proj", map_proj, nn.Linear),
            ("query_proj", query_proj, nn.Linear),
            ("score", score, nn.Linear),
        )
    )
    if found is not None:
        return found
    if lacks_bias(map_proj) or lacks_bias(score):
        return "map_proj or score has no bias"
    return None if lacks_bias(query_proj) else "query_proj has a bias"


def lacks_bias(part: nn.Module) -> bool:
    """Return whether a part has no bias; a parametrised one, as a rule, is not computed."""
    if "bias" in part._parameters:
        return part._parameters["bias"] is None
    return getattr(part, "bias", None) is None


def tensor_of(part: nn.Module, name: str) -> Any:
    """Return `part.<name>`, by the shortest way if it is a parameter or a buffer."""
    found: Any = part._parameters.get(name)
    if found is None:
        found = part._buffers.get(name)
    return getattr(part, name) if found is None else found  # parametrised, or there is none


def there(owner: str, name: str, part: Any) -> Any:
    """Return a part, or refuse, with a ValueError, to call one that is None."""
    if part is None:
        raise ValueError(
            f"{owner}: {name} must be a module, got None; torch.nn.Identity() leaves its input as "
            "it is"
        )
    return part


def hooked_everywhere() -> str | None:
    """Return that hooks of all modules wait for the parts' calls; None: there are no such hooks.

    Those with which torch counts FLOPs by module do not matter: a block counts as a whole.
    """
    if not every_module._has_any_global_hook():
        return None
    hooks = (
        *every_module._global_forward_hooks.values(),
        *every_module._global_forward_pre_hooks.values(),
        *every_module._global_backward_hooks.values(),
        *every_module._global_backward_pre_hooks.values(),
    )
    if all(isinstance(getattr(hook, "__self__", None), ModuleTracker) for hook in hooks):
        return None
    return "all modules have a hook"
