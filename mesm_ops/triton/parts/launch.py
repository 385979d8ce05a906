"""Repeated launches of a kernel without the work that Triton does before each of them.

Triton binds the arguments, specialises them, looks the compiled kernel up and asks the driver for
the address of each tensor: some tens of microseconds of the host for a kernel with many arguments.
Few properties of the arguments decide which compiled kernel runs: a dictionary here maps them to
the kernel.
"""

from __future__ import annotations

import functools
from numbers import Number
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from triton import knobs
from triton.runtime.driver import driver

from ...extension import triton_interprets
from .ahead import side_by_side
from .listener import listener

__all__ = ["STREAM", "call", "current_stream", "is_profiled", "launch"]

_INTERPRETED = triton_interprets()  # read when kernels are defined, as Triton reads it
_MOST = 4096  # compiled kernels that are remembered; changing shapes leave unused ones behind
_TENSORS, _PLAIN = {Tensor, Parameter}, {int, float, type(None)}  # `isinstance` is slower
_KNOWN = _TENSORS | _PLAIN
_launches: dict[Any, tuple[Any, tuple[Any, ...]]] = {}
STREAM = object()  # stands for the current stream in what a listener hears


def call(function: Any, *args: Any) -> None:
    """Call a function of tensors between launches, whose work a listener takes for one launch.

    Args:
        function: Writes into its arguments, and returns nothing.
        args: Tensors, and what follows from their shapes and from settings alone.
    """
    hears = listener.get()
    if hears is not None and hears.is_dry:
        return
    token = listener.set(None)
    try:
        function(*args)
    finally:
        listener.reset(token)
    if hears is not None:
        hears.heard(function, args)


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Launch a Triton or Gluon kernel.

    Args:
        kernel: A function under `@triton.jit` or `@gluon.jit`.
        grid: One or two sizes.
        args: The arguments that the compiler does not know: tensors, None for a tensor that is not
            there, tensor descriptors and numbers. All tensors are on the current device.
        constants: All other arguments, and the launch's options.

    Raises:
        TypeError: A constant was given by place: another value of it would not be noticed.
    """
    if _INTERPRETED:
        call(functools.partial(kernel[grid], **constants), *args)
        return
    values: list[Any] = []
    key: list[Any] = [id(kernel), *constants, *constants.values()]
    device, addresses = None, 0
    for value in args:
        kind = type(value)
        if kind not in _KNOWN and isinstance(value, Number):  # NumPy's, or a bool
            value = float(value) if isinstance(value, float) else int(value)  # type: ignore[call-overload]
            kind = type(value)
        if kind in _TENSORS or (kind not in _PLAIN and isinstance(value, Tensor)):
            key.append(value.dtype)
            if device is None:
                device = value.get_device()
            value = value.data_ptr()
            addresses |= value
        elif kind is int:
            # As Triton specialises: one, multiples of 16, and numbers beyond 32 bits.
            wide = value >> 31 not in (0, -1)
            key.append(1 if value == 1 else 2 | (value & 15 == 0) | wide << 2)
        elif kind in _PLAIN:
            key.append(kind)
        else:
            key.append((value.base.dtype, *value.block_shape))
        values.append(value)
    key.append(device)
    if addresses & 15:
        key += (value.data_ptr() & 15 == 0 for value in args if isinstance(value, Tensor))
    known = _launches.get(tuple(key))
    hears = listener.get()
    if hears is not None and hears.is_dry:
        if known is None:
            kernel.warmup(*args, grid=grid, **constants)
        return
    if known is None or is_profiled():
        known = _first_launch(tuple(key), kernel, grid, args, constants)
    else:
        stream = current_stream(device)
        known[0].run(*_before(known[0], grid, stream), *values, *known[1])
    if hears is not None:
        if known is None:
            hears.heard(None, ())
            return
        given = [
            arg if isinstance(arg, Tensor) else value
            for arg, value in zip(args, values, strict=True)
        ]
        hears.heard(known[0].run, (*_before(known[0], grid, STREAM), *given, *known[1]))


def _before(compiled: Any, grid: tuple[int, ...], stream: Any) -> tuple[Any, ...]:
    """Return what a compiled kernel is given before the kernel's own arguments."""
    second = grid[1] if len(grid) > 1 else 1
    nobody = (None, None, None)  # launch metadata and hooks, of profilers
    return (grid[0], second, 1, stream, compiled.function, compiled.packed_metadata, *nobody)


def current_stream(device: int | None) -> Any:
    """Return a device's stream, as launches take it; interpreted, there is none."""
    return None if _INTERPRETED else driver.active.get_current_stream(device)


def is_profiled() -> bool:
    """Return whether a profiler wants to know of launches; Triton tells a profiler by hooks."""
    enter, leave = knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook
    return bool(getattr(enter, "calls", enter) or getattr(leave, "calls", leave))


def _first_launch(
    key: tuple[Any, ...],
    kernel: Any,
    grid: tuple[int, ...],
    args: tuple[Any, ...],
    constants: dict[str, Any],
) -> tuple[Any, tuple[Any, ...]] | None:
    """Launch as Triton does, and remember and return the compiled kernel, if there is one."""
    for value, parameter in zip(args, kernel.params, strict=False):
        if parameter.is_constexpr and value is not None:
            raise TypeError(f"{kernel.__name__}: {parameter.name} is a constant: give it by name")
    with side_by_side():
        compiled = kernel[grid](*args, **constants)
    if compiled is None:  # benchmarks.gpu_check noted the launch down instead of compiling
        return None
    if len(_launches) >= _MOST:
        _launches.clear()
    # A launch passes over constants, but wants something in the place of each.
    known = _launches[key] = (compiled, (None,) * (len(kernel.params) - len(args)))
    return known
