"""Finds what would make the host wait for a GPU, on a machine without one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# The host learns from these ops what depends on values: a number, or how long the result is.
READS = {
    *(aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select),
    *(aten._unique, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.bincount),
}
INDEXES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
# Numbers of the host become a tensor in pageable memory, which is copied to the device.
FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


class WaitingError(AssertionError):
    """The host would wait for the device."""


class _Calls(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in FROM_NUMBERS and out.device.type != "cpu":
            raise WaitingError(f"{func.__name__} copies numbers of the host to {out.device}")
        return out


class _Ops(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type != "cpu" for tensor in given):
            if packet in READS:
                raise WaitingError(f"{func} reads what only the device knows")
            if packet in INDEXES and any(
                index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
            ):
                raise WaitingError(f"{func} by a mask: its result's size depends on values")
        if packet is aten._to_copy:
            _check_copy(args[0], kwargs.get("device"), kwargs.get("non_blocking", False))
        elif packet is aten.copy_:
            non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
            _check_copy(args[1], args[0].device, non_blocking)
        return func(*args, **kwargs)


def _check_copy(source: Tensor, target: torch.device | None, non_blocking: bool) -> None:
    if target is None or non_blocking:
        return
    if (source.device.type == "cpu") != (torch.device(target).type == "cpu"):
        raise WaitingError(f"a copy from {source.device} to {target} blocks")


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Raise WaitingError where a tensor that is not on the CPU would make the host wait.

    Meta tensors stand for a GPU's. Tensors on the CPU, such as Adam's count of steps, may be
    read. A copy to or from the CPU blocks unless it is asked not to; whether such a copy's memory
    is page-locked, a meta tensor does not tell.
    """
    with _Calls(), _Ops():
        yield
