"""The short way from an op to its C++ kernel.

torch's dispatcher, an op's Python implementation and the choice of a backend take some hundred
microseconds of a cold call. Eager calls on plain CPU tensors need none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import Parameter

from .. import backends
from ..eager import is_eager

__all__ = ["Op"]


class Op:
    """An op that is called directly where that is the same, and through torch elsewhere.

    Attributes:
        overload: `mesm_ops::<name>`, for compiled graphs, other devices and modes.
        differentiable: What runs the kernel and records its gradient, if it has one.
    """

    def __init__(
        self,
        name: str,
        overload: OpOverload,
        adapt: Callable[[Callable[..., Any]], Callable[..., Any]],
        dtypes: tuple[torch.dtype, ...],
        check: Callable[..., None] | None,
        autocast: tuple[int, ...] | bool,
    ) -> None:
        self.overload = overload
        self.differentiable: Callable[..., Any] | None = None
        self._kernel = adapt(getattr(torch.ops.mesm_ops_cpp, name).default)
        self._name = name
        self._dtypes = dtypes
        self._check = check
        self._autocast = autocast
        self._built: bool | None = None

    def __call__(self, *args: Any) -> Any:
        """Run the op; `args` as in its schema."""
        first = args[0]
        if (
            not is_eager()
            or not first.is_cpu
            or first.dtype not in self._dtypes
            or (self._autocast and torch.is_autocast_enabled("cpu"))
            or not self._is_chosen()
        ):
            return self.overload(*args)
        grad_enabled = torch.is_grad_enabled()
        learns = False
        for arg in args:
            kind = type(arg)
            if kind is Tensor or kind is Parameter:
                learns = learns or (grad_enabled and arg.requires_grad)
            elif isinstance(arg, Tensor):  # of a class that may have its own say
                return self.overload(*args)
        if learns:
            run = self.differentiable
            return self.overload(*args) if run is None else run(*args)
        return self.run(args)

    def run(self, args: tuple[Any, ...]) -> Any:
        """Run the C++ kernel on arguments that are known to suit it."""
        if self._check is not None:
            self._check(*args)
        return self._kernel(*args)

    def _is_chosen(self) -> bool:
        asked = backends.requested()
        if asked != "cpp" and not (asked == "auto" and backends.is_first(self._name, "cpp", "cpu")):
            return False
        if self._built is None:
            self._built = backends.available(self._name, "cpp") is None
        return self._built
