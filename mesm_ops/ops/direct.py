"""Calls an op's kernel directly where nothing needs torch's dispatcher.

torch's dispatcher, an op's Python implementation and the choice of a backend take some hundred
microseconds of a cold call. Eager calls on plain tensors need none of the three on a CPU, and only
the choice of a backend on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Generic

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import Parameter

from .. import backends
from ..eager import is_eager
from .contract import Arguments, Contract, Results

__all__ = ["Op", "any_requires_grad", "autocast_to"]

any_requires_grad = torch._C._any_requires_grad
_PLAIN = {Tensor, Parameter}


def autocast_to(dtype: torch.dtype, value: Any) -> Any:
    """Return a value as autocast hands it on: float64 and what is no tensor of floats stays."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.to(dtype)
    return value


class Op(Generic[Arguments, Results]):
    """An op that is called directly where the result is the same, and through torch elsewhere.

    Attributes:
        contract: The op's arguments and results.
        overload: `mesm_ops::<name>`, for compiled graphs, other devices and modes.
        differentiable: Runs the kernel on flat arguments and records the op's gradient; None: the
            op has no gradient.
    """

    def __init__(
        self,
        contract: Contract[Arguments, Results],
        overload: OpOverload,
        dtypes: tuple[torch.dtype, ...],
        check: Callable[[Arguments], None] | None,
        casts: dict[str, Collection[int]],
    ) -> None:
        self.contract = contract
        self.overload = overload
        self.differentiable: Callable[..., Any] | None = None
        self._name = contract.signature.name
        self._kernel = contract.compiled(getattr(torch.ops.mesm_ops_cpp, self._name).default)
        self._results = contract.results
        self._tensors = contract.tensors
        self._dtypes = dtypes
        # The gradient of logits is float32 beside float16 features: both must fit the kernel.
        fields = contract.fields
        self._features = fields.index("features") if "features" in fields else 0
        self._check = check
        self._casts = casts  # by device, which arguments autocast casts
        self._built: bool | None = None

    def __call__(self, a: Arguments) -> Results:
        """Run the op."""
        if not is_eager() or not self._is_direct(a):
            return self._results(self.overload(*a))
        tensors = [tensor for tensor in self._tensors(a) if tensor is not None]
        if not _PLAIN.issuperset(map(type, tensors)):  # a subclass may override torch functions
            return self._results(self.overload(*a))
        learns = torch.is_grad_enabled() and any_requires_grad(*tensors)
        if a[0].is_cuda:
            a = self._as_kernels_want(a, tensors)
        if learns:
            run = self.differentiable or self.overload
            return self._results(run(*a))
        return self._results(self.run(a))

    def run(self, a: Arguments) -> Any:
        """Run the kernel on arguments that the kernel is known to take."""
        if self._check is not None:
            self._check(a)
        if a[0].is_cuda:
            return backends.run(self._name, a)
        return self._kernel(a)

    def _is_direct(self, a: Arguments) -> bool:
        first = a[0]
        if first.is_cuda:
            return True
        return (
            first.is_cpu
            and first.dtype in self._dtypes
            and a[self._features].dtype in self._dtypes
            and not (self._casts["cpu"] and torch.is_autocast_enabled("cpu"))
            and self._is_chosen()
        )

    def _as_kernels_want(self, a: Arguments, tensors: Iterable[Tensor]) -> Arguments:
        """Cast to the dtype of autocast, as torch's dispatcher would, and lay out row by row."""
        casts = self._casts["cuda"]
        cast = bool(casts) and torch.is_autocast_enabled("cuda")
        lies = all(map(Tensor.is_contiguous, tensors))
        if lies and not cast:
            return a
        values = list(a)
        if not lies:
            values = [value.contiguous() if isinstance(value, Tensor) else value for value in a]
        if cast:
            dtype = torch.get_autocast_dtype("cuda")
            for position in casts:
                values[position] = autocast_to(dtype, values[position])
        return self.contract.takes(*values)

    def _is_chosen(self) -> bool:
        wanted = backends.requested()
        if wanted != "cpp" and not (
            wanted == "auto" and backends.is_first(self._name, "cpp", "cpu")
        ):
            return False
        if self._built is None:
            self._built = backends.available(self._name, "cpp") is None
        return self._built
