"""The way between the one object that an op takes in Python and torch's flat arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar, get_type_hints

import torch

from ..reference import Selection
from .schemas import Signature, signature_of

__all__ = ["Arguments", "Contract", "Results"]

Arguments = TypeVar("Arguments", bound=tuple[Any, ...])  # a NamedTuple
Results = TypeVar("Results")  # a tensor, or a NamedTuple of tensors


class Contract(Generic[Arguments, Results]):
    """An op's arguments and results, as its reference annotates them.

    Attributes:
        signature: Name and annotations, from which the schemas follow.
        takes: The class of the arguments.
        fields: The names of the arguments, in order.
        returned: The names of the results, in order; () if the result is one tensor.
        arguments: Makes the op's arguments of flat ones; torch hands an enum over as its number.
        results: Makes the op's results of what torch or a kernel returned.
    """

    def __init__(self, reference: Callable[[Arguments], Results]) -> None:
        self.signature: Signature = signature_of(reference)
        takes, returns = get_type_hints(reference).values()
        self.takes: Callable[..., Arguments] = takes
        self.fields: tuple[str, ...] = takes._fields
        self.returned: tuple[str, ...] = getattr(returns, "_fields", ())
        self.arguments: Callable[..., Arguments] = self._with_enums if self._selections else takes
        self.results: Callable[[Any], Results] = _same
        if self.returned:
            self.results = lambda found: returns(*found)

    @functools.cached_property
    def _selections(self) -> list[int]:
        kinds = self.signature.arguments.values()
        return [place for place, kind in enumerate(kinds) if kind == "Selection"]

    def _with_enums(self, *flat: Any) -> Arguments:
        values = list(flat)
        for place in self._selections:
            values[place] = Selection(values[place])
        return self.takes(*values)

    def compiled(self, kernel: Callable[..., Any]) -> Callable[[Arguments], Any]:
        """Return what runs a compiled kernel, whose schema is `Signature.kernel_schema`.

        Triton's state is left out of its arguments, and empty among the results. A selection is
        passed as whether it is weighted: hard is the only other one that these kernels know.
        """
        selections = self._selections
        kinds = list(self.signature.arguments.values())
        left_out = [place for place, kind in enumerate(kinds) if kind == "TritonState"]
        added = [i for i, kind in enumerate(self.signature.results) if kind == "TritonState"]
        if not (selections or left_out or added):
            return lambda a: kernel(*a)
        weighted = Selection.WEIGHTED

        def run(a: Arguments) -> Any:
            given = list(a)
            for place in selections:
                given[place] = given[place] is weighted
            for place in reversed(left_out):
                del given[place]
            if not added:
                return kernel(*given)
            found = list(kernel(*given))
            for place in added:
                found.insert(place, torch.empty(0, dtype=torch.int32, device=a[0].device))
            return tuple(found)

        return run


def _same(found: Any) -> Any:
    return found
