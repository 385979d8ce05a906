"""Who is told of launches, instead of or beside the GPU, while a call runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

__all__ = ["Listener", "computes", "listener"]

_FRESH = {
    *("aten::empty", "aten::empty_like", "aten::empty_strided"),
    *("aten::new_empty", "aten::new_empty_strided"),
}


class Listener(Protocol):
    """Hears of each launch and each call, in order.

    Attributes:
        is_dry: Whether nothing is to run: kernels that were not launched yet are compiled.
    """

    is_dry: bool

    def heard(self, run: Any, args: tuple[Any, ...]) -> None:
        """Note down that `run(*args)` was or would be the same.

        Args:
            run: The function that was called; None: another call is not possible.
            args: Its arguments; tensors where a kernel takes addresses.
        """


listener: ContextVar[Listener | None] = ContextVar("mesm_ops_launches", default=None)


def computes(func: Any) -> bool:
    """Return whether an operator of torch computes: some lend memory or view a tensor."""
    return not (func.is_view or func._schema.name in _FRESH)
