"""Turns flat arguments, as torch passes them, into the one object that Python takes, and back."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, get_type_hints

import torch

from ..reference import Selection
from .schemas import SELECTION_PROPERTIES, Signature, signature_of

__all__ = ["Arguments", "Contract", "Results", "getter"]

Arguments = TypeVar("Arguments", bound=tuple[Any, ...])  # a NamedTuple
Results = TypeVar("Results")  # a tensor, or a NamedTuple of tensors


class Contract(Generic[Arguments, Results]):
    """An op's arguments and results, as its reference annotates them.

    Attributes:
        signature: Name and annotations, from which the schemas follow.
        takes: The class of the arguments.
        fields: The names of the arguments, in order.
        returned: The names of the results, in order; () if the result is one tensor.
        arguments: Makes the op's arguments from flat ones; an enum comes from torch as a number.
        results: Makes the op's results from the return value of torch or of a kernel.
        tensors: Returns the arguments annotated as tensors or optional tensors, in order.
    """

    def __init__(self, reference: Callable[[Arguments], Results]) -> None:
        self.signature: Signature = signature_of(reference)
        takes, returns = get_type_hints(reference).values()
        self.takes: Callable[..., Arguments] = takes
        self.fields: tuple[str, ...] = takes._fields
        self.returned: tuple[str, ...] = getattr(returns, "_fields", ())
        self._selections = self.positions("Selection")
        self.arguments: Callable[..., Arguments] = self._with_enums if self._selections else takes
        self.results: Callable[[Any], Results] = returns._make if self.returned else _same
        self.tensors = getter(self.positions("Tensor", "Tensor | None", "TritonState"))

    def positions(self, *kinds: str) -> list[int]:
        """Return the positions of the arguments with one of these annotations, in order."""
        given = self.signature.arguments.values()
        return [position for position, kind in enumerate(given) if kind in kinds]

    def _with_enums(self, *flat: Any) -> Arguments:
        values = list(flat)
        for position in self._selections:
            values[position] = Selection(values[position])
        return self.takes(*values)

    def compiled(self, kernel: Callable[..., Any]) -> Callable[[Arguments], Any]:
        """Return a function of the op's arguments that calls a compiled kernel.

        The kernel's schema is `Signature.kernel_schema`: Triton's state is left out, and empty
        among the results; the selection's properties stand in its place.
        """
        kinds = [kind for kind in self.signature.arguments.values() if kind != "TritonState"]
        selections = [position for position, kind in enumerate(kinds) if kind == "Selection"]
        left_out = self.positions("TritonState")
        kept = getter(
            [position for position in range(len(self.fields)) if position not in left_out]
        )
        added = [i for i, kind in enumerate(self.signature.results) if kind == "TritonState"]
        properties = operator.attrgetter(*SELECTION_PROPERTIES)
        if not (selections or left_out or added):
            return lambda a: kernel(*a)

        def run(a: Arguments) -> Any:
            given = list(kept(a))
            for position in reversed(selections):  # the places before stay as they are
                given[position : position + 1] = properties(given[position])
            found = kernel(*given)
            if not added:
                return found
            found = list(found)
            for position in added:
                found.insert(position, torch.empty(0, dtype=torch.int32, device=a[0].device))
            return tuple(found)

        return run


def getter(positions: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return a function that returns the items at these positions, always as a tuple."""
    if len(positions) > 1:
        return operator.itemgetter(*positions)
    return lambda items: tuple(items[position] for position in positions)


def _same(found: Any) -> Any:
    return found
