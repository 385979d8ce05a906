"""Which backends an op has, and which of them runs it.

A new backend of an op registers itself from the op's file in `mesm_ops/ops`:

    register("subm_conv2d", "triton", run, supports)

`run` takes the op's arguments as one object, here a `mesm_ops.reference.SubmConv2d`, and returns
its results; `supports`, given the same object, returns None or the reason why `run` cannot take it.
C++ and CUDA kernels need no line of their own: `define_op` finds an implementation of
`mesm_ops_cpp::subm_conv2d` (CPU key) or `mesm_ops_cuda::subm_conv2d` (CUDA key) by name.
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
    "arguments_of",
    "available",
    "choose",
    "compositions",
    "device_of",
    "how",
    "is_first",
    "ops",
    "refusal",
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
_arguments: dict[str, Callable[..., Any]] = {}
_compositions: dict[str, tuple[str, ...]] = {}
_warned = False
_AS_IT_IS = contextlib.nullcontext()


@dataclass(frozen=True)
class Kernel:
    """One backend's implementation of one op.

    Attributes:
        run: Takes the op's arguments as one object and returns the op's results.
        supports: Given the arguments, says why `run` cannot take them; None if `run` can.
        available: Says why `run` cannot work on this machine at all; None if `run` can.
        device: The only kind of device whose tensors `run` takes; None: any.
        how: Given arguments that `run` takes, says for `explain` how they are computed, or None.
        again: Runs arguments that are as those of an earlier `run` on a GPU; None: they are not.
    """

    run: Callable[[Any], Any]
    supports: Callable[[Any], str | None]
    available: Callable[[], str | None]
    device: str | None
    how: Callable[[Any], str | None]
    again: Callable[[Any], Any]


def _always(*_: Any) -> None:
    return None


def register(
    op: str,
    backend: str,
    run: Callable[[Any], Any],
    supports: Callable[[Any], str | None] = _always,
    available: Callable[[], str | None] = _always,
    device: str | None = None,
    how: Callable[[Any], str | None] = _always,
    again: Callable[[Any], Any] = _always,
) -> None:
    """Register `run` as a backend's kernel of an op.

    Args:
        op: The op's name.
        backend: "cuda", "triton", "cpp" or "reference".
        run: Takes the op's arguments as one object and returns the op's results.
        supports: As `Kernel.supports`, for all arguments by default; so are the others.
        again: As `Kernel.again`, never by default.
        available: As `Kernel.available`.
        device: As `Kernel.device`.
        how: As `Kernel.how`.

    Raises:
        ValueError: There is no backend of that name.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    _kernels.setdefault(op, {})[backend] = Kernel(run, supports, available, device, how, again)


def register_compiled(
    op: str,
    backend: str,
    device: str,
    dtypes: tuple[torch.dtype, ...],
    adapt: Callable[[Callable[..., Any]], Callable[[Any], Any]],
    missing: Callable[[], str | None],
) -> None:
    """Register the kernel that a shared library implements as `mesm_ops_<backend>::<op>`.

    Args:
        op: The op's name.
        backend: "cpp" or "cuda".
        device: The kind of device whose tensors the kernel takes.
        dtypes: The floating-point dtypes that the kernel takes.
        adapt: Given the kernel, which takes flat arguments, returns a `Kernel.run`.
        missing: Says why the shared library is not there; None if it is there.
    """
    name = f"mesm_ops_{backend}::{op}"
    overload = getattr(getattr(torch.ops, f"mesm_ops_{backend}"), op).default

    def supports(a: Any) -> str | None:
        for value in a:
            if not isinstance(value, Tensor):
                continue
            if value.device.type != device:
                return f"it runs on {device} tensors, got one on {value.device}"
            if value.is_floating_point() and value.dtype not in dtypes:
                return f"it takes {', '.join(map(_short, dtypes))}, got {_short(value.dtype)}"
        return None

    @functools.cache
    def available() -> str | None:
        if reason := missing():
            return reason
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, device.upper()):
            return f"the {backend} extension has no kernel for {op}"
        return None

    register(op, backend, adapt(overload), supports, available, device)


def device_of(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Make a tensor's GPU the current one, on which kernels are launched."""
    index = tensor.get_device()  # -1 on a CPU
    if index < 0 or index == torch.cuda.current_device():
        return _AS_IT_IS
    return torch.cuda.device(index)


def register_triton(op: str, dtypes: tuple[torch.dtype, ...]) -> None:
    """Register the launcher `mesm_ops.triton.<stem>.<op>`, which is imported when first run.

    Args:
        op: The op's name; the stem is the name without `_backward`.
        dtypes: The floating-point dtypes that the launcher takes.
    """
    stem = op.removesuffix("_backward")
    taken = {*dtypes, torch.int32, torch.int64, torch.uint8}  # known without a call of torch's

    @functools.cache
    def named(prefix: str = "") -> Callable[[Any], Any]:
        module = importlib.import_module(f"mesm_ops.triton.{stem}")
        found: Callable[[Any], Any] = getattr(module, prefix + op, _always)
        return found

    def run(a: Any) -> Any:
        with device_of(a[0]):
            return named()(a)

    def again(a: Any) -> Any:
        with device_of(a[0]):
            return named("again_")(a)

    def supports(a: Any) -> str | None:
        # On a CPU only Triton's interpreter runs, which is for tests: "auto" never takes Triton.
        interpreted = extension.triton_interprets() and _requested.get() == "triton"
        for value in a:
            if not isinstance(value, Tensor):
                continue
            if not (value.is_cuda or interpreted):
                return f"it runs on cuda tensors, got one on {value.device}"
            if value.dtype not in taken and value.is_floating_point():
                return f"it takes {', '.join(map(_short, dtypes))}, got {_short(value.dtype)}"
            if value.numel() >= 2**31:
                return f"it takes tensors of fewer than 2^31 elements, got {value.numel()}"
        return None

    def how(a: Any) -> str | None:
        said = named("how_")(a)
        return None if said is None else str(said)

    missing = extension.triton_missing
    register(op, "triton", run, supports, missing, device="cuda", how=how, again=again)


def register_arguments(op: str, arguments: Callable[..., Any]) -> None:
    """Tell `explain` how a public function's arguments become the op's one object.

    Args:
        op: The op's name.
        arguments: Takes the public function's arguments and returns the op's one object.
    """
    _arguments[op] = arguments


def register_composition(name: str, parts: tuple[str, ...]) -> None:
    """Tell `explain` which ops make up a public function that is no op itself.

    Args:
        name: The public function's name.
        parts: The ops' names, in the order in which the function calls the ops.
    """
    _compositions[name] = parts


def ops() -> tuple[str, ...]:
    """Return the names of all ops, those of the backward passes included."""
    return tuple(_kernels)


def compositions() -> dict[str, tuple[str, ...]]:
    """Return the public functions that are composed of several ops, with these ops' names."""
    return dict(_compositions)


def arguments_of(op: str, args: tuple[Any, ...]) -> Any:
    """Return an op's arguments as one object, given the arguments of the public function.

    Args:
        op: The op's name.
        args: The arguments of the op's public function, in order.

    Raises:
        ValueError: An argument does not fit; says what was wanted and what came.
    """
    return _arguments[op](*args)


def requested() -> str:
    """Return the backend that `use_backend` names here, or "auto"."""
    return _requested.get()


def use_backend(name: str) -> contextlib.AbstractContextManager[None]:
    """Run every op inside the `with` on one backend.

    The choice holds for the current thread (or asyncio task). A backward pass runs on the backend
    that was named when its forward pass ran, whichever thread autograd uses. A compiled graph
    chooses its backend when the graph runs, not when the graph is compiled: put the `with` around
    the compiled function, not into the function, and around the backward pass too. A graph of
    `sparse_cross_modal_block` on a GPU holds sizes of the backend it was compiled on: no other
    backend can run its training.

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
    """Return why a backend cannot run an op on this machine; None if the backend can.

    Args:
        op: The op's name.
        backend: One of `BACKENDS`.
    """
    kernel = _kernels[op].get(backend)
    return f"there is no {backend} kernel for {op}" if kernel is None else kernel.available()


def is_first(op: str, backend: str, device: str) -> bool:
    """Return whether "auto" tries no earlier backend for a device's tensors.

    Args:
        op: The op's name.
        backend: One of `BACKENDS`.
        device: The kind of device, as "cpu" or "cuda".
    """
    kernels = _kernels[op]
    for earlier in BACKENDS:
        if earlier == backend:
            break
        if earlier in kernels and kernels[earlier].device in (None, device):
            return False
    return True


def refusal(op: str, backend: str, a: Any) -> str | None:
    """Return why a backend cannot run an op on these arguments; None if the backend can.

    Args:
        op: The op's name.
        backend: One of `BACKENDS`.
        a: The op's arguments as one object.
    """
    kernel = _kernels[op].get(backend)
    if kernel is None:
        return f"there is no {backend} kernel for {op}"
    # Arguments first: the CUDA library is loaded only for CUDA tensors.
    return kernel.supports(a) or kernel.available()


def choose(op: str, a: Any) -> str:
    """Return the backend that runs an op on these arguments.

    Args:
        op: The op's name.
        a: The op's arguments as one object.

    Raises:
        RuntimeError: The backend that `use_backend` names cannot run the op; says why.
    """
    name = _requested.get()
    if name == "auto":
        return next(backend for backend in BACKENDS if refusal(op, backend, a) is None)
    if reason := refusal(op, name, a):
        raise RuntimeError(f"{op}: backend {name!r} cannot run: {reason}")
    return name


def how(op: str, backend: str, a: Any) -> str | None:
    """Return, for `explain`, how a backend computes an op; None: nothing to say.

    Args:
        op: The op's name.
        backend: One of `BACKENDS`, which can run the op on these arguments.
        a: The op's arguments as one object.
    """
    return _kernels[op][backend].how(a)


def run(op: str, a: Any) -> Any:
    """Run an op on the backend that `choose` names; return its results.

    Args:
        op: The op's name.
        a: The op's arguments as one object.

    Raises:
        RuntimeError: The backend that `use_backend` names cannot run the op; says why.
    """
    if a[0].is_cuda and _requested.get() in ("auto", "triton"):
        known = _kernels[op].get("triton")
        if known is not None and (found := known.again(a)) is not None:
            return found
    backend = choose(op, a)
    if backend == "reference":
        _warn_once()
        # torch's own ops inside the reference must not be cast again.
        with torch.autocast(a[0].device.type, enabled=False):
            return _kernels[op][backend].run(a)
    return _kernels[op][backend].run(a)


def _warn_once() -> None:
    global _warned
    if _warned or _requested.get() == "reference":
        return
    _warned = True
    if reason := extension.cpu_missing():
        warnings.warn(f"mesm_ops runs on its slow reference backend; {reason}", stacklevel=2)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
