"""Which backend runs an op, and why not another.

A kernel joins with one registration, from its op's file:

    register("subm_conv2d", "triton", run, supports)

`run` takes the op's arguments as in its schema; `supports`, given the same, returns None or the
reason why it cannot run. C++ and CUDA kernels need no registration here: an implementation of
`mesm_ops_cpp::subm_conv2d` (CPU key) or `mesm_ops_cuda::subm_conv2d` (CUDA key) is found by name.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import extension

__all__ = [
    "BACKENDS",
    "Kernel",
    "available",
    "choose",
    "explain",
    "how",
    "is_first",
    "ops",
    "register",
    "register_arguments",
    "register_compiled",
    "register_composition",
    "register_triton",
    "requested",
    "run",
    "use_backend",
]

BACKENDS = ("cuda", "triton", "cpp", "reference")  # in the order "auto" tries them

_requested: ContextVar[str] = ContextVar("mesm_ops_backend", default="auto")
_kernels: dict[str, dict[str, Kernel]] = {}
_arguments: dict[str, Callable[..., tuple[Any, ...]]] = {}
_compositions: dict[str, tuple[str, ...]] = {}
_warned = False


@dataclass(frozen=True)
class Kernel:
    """One backend's implementation of one op."""

    run: Callable[..., Any]
    supports: Callable[..., str | None]  # given the op's arguments: why it cannot run
    available: Callable[[], str | None]  # why it cannot run on this machine at all
    device: str | None  # the only kind of device whose tensors it takes, if there is one
    how: Callable[..., str | None]  # given arguments that it takes: what `explain` adds of them


def _always(*_: Any) -> None:
    return None


def register(
    op: str,
    backend: str,
    run: Callable[..., Any],
    supports: Callable[..., str | None] = _always,
    available: Callable[[], str | None] = _always,
    device: str | None = None,
    how: Callable[..., str | None] = _always,
) -> None:
    """Make `run` the kernel of a backend for an op (see the module's head)."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    _kernels.setdefault(op, {})[backend] = Kernel(run, supports, available, device, how)


def register_compiled(
    op: str,
    backend: str,
    device: str,
    dtypes: tuple[torch.dtype, ...],
    missing: Callable[[], Any],
    refuses: Callable[..., str | None] = _always,
    how: Callable[..., str | None] = _always,
    adapt: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda kernel: kernel,
) -> None:
    """Register the kernel that a shared library implements as `mesm_ops_<backend>::<op>`.

    `refuses`, given the op's arguments, says what else the kernel does not take; `how`, given ones
    that it takes, what `explain` adds. `adapt`, given the kernel, returns what takes the op's
    arguments where the kernel takes others.
    """
    name = f"mesm_ops_{backend}::{op}"
    overload = getattr(getattr(torch.ops, f"mesm_ops_{backend}"), op).default

    def supports(*args: Any) -> str | None:
        for arg in args:
            if not isinstance(arg, Tensor):
                continue
            if arg.device.type != device:
                return f"it runs on {device} tensors, got one on {arg.device}"
            if arg.is_floating_point() and arg.dtype not in dtypes:
                return f"it takes {', '.join(_short(d) for d in dtypes)}, got {_short(arg.dtype)}"
        return refuses(*args)

    @functools.cache
    def available() -> str | None:
        if reason := missing():
            return str(reason)
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, device.upper()):
            return f"the {backend} extension has no kernel for {op}"
        return None

    register(op, backend, adapt(overload), supports, available, device, how)


def register_triton(op: str, dtypes: tuple[torch.dtype, ...]) -> None:
    """Register the kernel that `mesm_ops.triton.<stem>.<op>` launches; imported when first run."""
    stem = op.removesuffix("_backward")

    def run(*args: Any) -> Any:
        return getattr(importlib.import_module(f"mesm_ops.triton.{stem}"), op)(*args)

    def supports(*args: Any) -> str | None:
        # On a CPU only Triton's interpreter runs, which is for tests: it must be asked for.
        interpreted = extension.triton_interprets() and _requested.get() == "triton"
        for arg in args:
            if not isinstance(arg, Tensor):
                continue
            if arg.device.type != "cuda" and not interpreted:
                return f"it runs on cuda tensors, got one on {arg.device}"
            if arg.is_floating_point() and arg.dtype not in dtypes:
                return f"it takes {', '.join(_short(d) for d in dtypes)}, got {_short(arg.dtype)}"
            if arg.numel() >= 2**31:
                return f"it takes tensors of fewer than 2^31 elements, got {arg.numel()}"
        return None

    register(op, "triton", run, supports, extension.triton_missing, device="cuda")


def register_arguments(op: str, arguments: Callable[..., tuple[Any, ...]]) -> None:
    """Tell `explain` how a public function's arguments become its op's."""
    _arguments[op] = arguments


def register_composition(name: str, parts: tuple[str, ...]) -> None:
    """Tell `explain` which ops a public function is composed of that is none itself."""
    _compositions[name] = parts


def ops() -> tuple[str, ...]:
    """Return the names of all ops, those of the backward passes included."""
    return tuple(_kernels)


def requested() -> str:
    """Return the backend that `use_backend` asks for here, or "auto"."""
    return _requested.get()


def use_backend(name: str) -> contextlib.AbstractContextManager[None]:
    """Run every op inside the `with` on one backend.

    It holds for the current thread (or asyncio task). A backward pass runs on what was asked for
    when its forward pass ran, whichever thread autograd runs it in. A compiled graph asks when
    it runs, not when it is compiled; so put the `with` around the compiled function, not into it.

    Args:
        name: "auto" (the fastest that can run), "reference", "cpp", "cuda" or "triton".

    Raises:
        ValueError: There is no backend of that name.
        RuntimeError: From an op inside the `with` that the backend cannot run, with the reason.
    """
    if name != "auto" and name not in BACKENDS:
        wanted = ", ".join(("auto", *reversed(BACKENDS)))
        raise ValueError(f"use_backend: name must be one of {wanted}, got {name!r}")
    return _use(name)


@contextlib.contextmanager
def _use(name: str) -> Iterator[None]:
    token = _requested.set(name)
    try:
        yield
    finally:
        _requested.reset(token)


def available(op: str, backend: str) -> str | None:
    """Return why a backend cannot run an op on this machine; None if it can."""
    kernel = _kernels[op].get(backend)
    return f"there is no {backend} kernel for {op}" if kernel is None else kernel.available()


def is_first(op: str, backend: str, device: str) -> bool:
    """Return whether no backend that "auto" tries before this one takes a device's tensors."""
    kernels = _kernels[op]
    for earlier in BACKENDS:
        if earlier == backend:
            break
        if earlier in kernels and kernels[earlier].device in (None, device):
            return False
    return True


def _refusal(op: str, backend: str, args: tuple[Any, ...]) -> str | None:
    kernel = _kernels[op].get(backend)
    if kernel is None:
        return f"there is no {backend} kernel for {op}"
    # Arguments first: whether a CUDA kernel loads is asked only when there are CUDA tensors.
    return kernel.supports(*args) or kernel.available()


def choose(op: str, args: tuple[Any, ...]) -> str:
    """Return the backend that runs an op on these arguments.

    Raises:
        RuntimeError: The backend asked for with `use_backend` cannot run them; says why.
    """
    name = _requested.get()
    if name == "auto":
        return next(backend for backend in BACKENDS if _refusal(op, backend, args) is None)
    if reason := _refusal(op, name, args):
        raise RuntimeError(f"{op}: backend {name!r} cannot run: {reason}")
    return name


def how(op: str, backend: str, args: tuple[Any, ...]) -> str | None:
    """Return what a backend that can run an op on these arguments says of how it does."""
    return _kernels[op][backend].how(*args)


def run(op: str, args: tuple[Any, ...]) -> Any:
    """Run an op on the backend that `choose` names."""
    backend = choose(op, args)
    if backend == "reference":
        _warn_once()
        # torch's own ops inside the reference must not be cast again.
        with torch.autocast(args[0].device.type, enabled=False):
            return _kernels[op][backend].run(*args)
    return _kernels[op][backend].run(*args)


def _warn_once() -> None:
    global _warned
    if _warned or _requested.get() == "reference":
        return
    _warned = True
    if reason := extension.cpu_missing():
        warnings.warn(f"mesm_ops runs on its slow reference backend; {reason}", stacklevel=2)


def explain(op: str | Callable[..., Any], *args: Any) -> str:
    """Say which backend would run an op, and why no other.

    Args:
        op: The name of an op, as `"subm_conv2d"`, or its public function.
        *args: What its public function takes (for a backward op: what its schema takes); left out,
            the answer is about this machine alone.

    Returns:
        The backend's name, then a line for each backend; of a function composed of several ops,
        that for each of them, about this machine alone.

    Raises:
        ValueError: There is no such op, or the arguments do not fit it.
    """
    op = op if isinstance(op, str) else str(getattr(op, "__name__", op))
    if op in _compositions:
        return "\n".join([f"{op} is composed of:", *map(explain, _compositions[op])])
    if op not in _kernels:
        known = ", ".join((*_kernels, *_compositions))
        raise ValueError(f"explain: op must be one of {known}, got {op!r}")
    if args:
        lowered = _arguments[op](*args) if op in _arguments else args
        reasons = {backend: _refusal(op, backend, lowered) for backend in BACKENDS}
    else:
        reasons = {backend: available(op, backend) for backend in BACKENDS}
    can = {}
    for backend in (b for b in BACKENDS if reasons[b] is None):
        added = how(op, backend, lowered) if args else None
        can[backend] = "can run" if added is None else f"can run, {added}"
    asked = _requested.get()
    able = list(can)
    if asked == "auto":
        head = f"{op}: {able[0]} runs"
    elif asked in able:
        head = f"{op}: {asked} runs, asked for with use_backend"
    else:
        head = f"{op}: nothing runs: use_backend asks for {asked}"
    lines = [f"  {b}: {can.get(b, reasons[b])}" for b in BACKENDS]
    return "\n".join([head, *lines])


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
