"""The short way from an op to its C++ kernel.

torch's dispatcher, an op's Python implementation and the choice of a backend take some hundred
microseconds of a cold call. Eager calls on plain CPU tensors need none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import Parameter

from .. import backends
from ..eager import is_eager
from .contract import Arguments, Contract, Results

__all__ = ["Op"]


class Op(Generic[Arguments, Results]):
    """An op that is called directly where that is the same, and through torch elsewhere.

    Attributes:
        contract: What it takes and returns.
        overload: `mesm_ops::<name>`, for compiled graphs, other devices and modes.
        differentiable: Runs the kernel on flat arguments and records its gradient, if it has one.
    """

    def __init__(
        self,
        contract: Contract[Arguments, Results],
        overload: OpOverload,
        dtypes: tuple[torch.dtype, ...],
        check: Callable[[Arguments], None] | None,
        autocast: bool,
    ) -> None:
        self.contract = contract
        self.overload = overload
        self.differentiable: Callable[..., Any] | None = None
        self._name = contract.signature.name
        self._kernel = contract.compiled(getattr(torch.ops.mesm_ops_cpp, self._name).default)
        self._results = contract.results
        self._dtypes = dtypes
        self._check = check
        self._autocast = autocast
        self._built: bool | None = None

    def __call__(self, a: Arguments) -> Results:
        """Run the op."""
        first = a[0]
        if (
            not is_eager()
            or not first.is_cpu
            or first.dtype not in self._dtypes
            or (self._autocast and torch.is_autocast_enabled("cpu"))
            or not self._is_chosen()
        ):
            return self._results(self.overload(*a))
        grad_enabled = torch.is_grad_enabled()
        learns = False
        for value in a:
            kind = type(value)
            if kind is Tensor or kind is Parameter:
                learns = learns or (grad_enabled and value.requires_grad)
            elif isinstance(value, Tensor):  # of a class that may have its own say
                return self._results(self.overload(*a))
        if learns:
            run = self.differentiable or self.overload
            return self._results(run(*a))
        return self._results(self.run(a))

    def run(self, a: Arguments) -> Any:
        """Run the C++ kernel on arguments that are known to suit it."""
        if self._check is not None:
            self._check(a)
        return self._kernel(a)

    def _is_chosen(self) -> bool:
        wanted = backends.requested()
        if wanted != "cpp" and not (
            wanted == "auto" and backends.is_first(self._name, "cpp", "cpu")
        ):
            return False
        if self._built is None:
            self._built = backends.available(self._name, "cpp") is None
        return self._built
