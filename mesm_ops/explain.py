"""Says which backend would run an op, and why no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from . import backends
from .backends import BACKENDS

__all__ = ["explain"]

_BLOCK = "sparse_cross_modal_block"
_PARTS = (
    *("cross_modal_score", "top_p_select"),
    *("subm_conv2d", "sparse_batch_norm", "sparse_max_pool2d"),
)


def explain(op: str | Callable[..., Any] | nn.Module, *args: Any) -> str:
    """Say which backend would run an op, and why no other.

    Args:
        op: The name of an op, as `"subm_conv2d"`, or its public function; or a
            `SparseCrossModalBlock`, of which it is also said whether it runs as one op, and why
            not.
        *args: The arguments of the public function or of the block (for a backward op: those of its
            schema); left out, the answer is about this machine alone.

    Returns:
        The name of the backend that runs, then a line for each backend. For a function composed of
        several ops, one such answer for each op, about this machine alone.

    Raises:
        ValueError: There is no such op, or the arguments do not fit the op.
    """
    if isinstance(op, nn.Module):
        return _of_block(op, args)
    op = op if isinstance(op, str) else str(getattr(op, "__name__", op))
    compositions = backends.compositions()
    if op in compositions:
        return "\n".join([f"{op} is composed of:", *map(explain, compositions[op])])
    if op not in backends.ops():
        known = ", ".join((*backends.ops(), *compositions))
        raise ValueError(f"explain: op must be one of {known}, got {op!r}")
    if args:
        a = backends.arguments_of(op, args)
        reasons = {backend: backends.refusal(op, backend, a) for backend in BACKENDS}
        added = {b: backends.how(op, b, a) for b in BACKENDS if reasons[b] is None}
    else:
        reasons = {backend: backends.available(op, backend) for backend in BACKENDS}
        added = {b: None for b in BACKENDS if reasons[b] is None}
    can = {b: f"can run, {more}" if more else "can run" for b, more in added.items()}
    lines = [f"  {backend}: {can.get(backend, reasons[backend])}" for backend in BACKENDS]
    return "\n".join([f"{op}: {_verdict(list(can))}", *lines])


def _of_block(block: Any, args: tuple[Any, ...]) -> str:
    if not hasattr(block, "apart"):
        raise ValueError(
            f"explain: a module must be a SparseCrossModalBlock, got {type(block).__name__}"
        )
    name, reason = type(block).__name__, block.apart()
    if reason is None:
        given = block.op_arguments(*args) if args else ()
        return f"{name}: one op\n{explain(_BLOCK, *given)}"
    return "\n".join([f"{name}: part by part, as {reason}:", *map(explain, _PARTS)])


def _verdict(able: list[str]) -> str:
    wanted = backends.requested()
    if wanted == "auto":
        return f"{able[0]} runs"
    if wanted in able:
        return f"{wanted} runs, asked for with use_backend"
    return f"nothing runs: use_backend asks for {wanted}"
