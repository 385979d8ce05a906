"""How an op is made known to torch: one call in each op's file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.flop_counter import register_flop_formula

from .. import backends, extension
from .direct import Op

__all__ = ["define_kernel", "define_op", "make_differentiable"]

_COMPILED = ("mesm_ops_cpp", "mesm_ops_cuda")
# Fragments live as long as the module: their registrations die with them.
_libraries = {name: torch.library.Library(name, "FRAGMENT") for name in ("mesm_ops", *_COMPILED)}
_CPP_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_CUDA_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def _as_it_is(kernel: Callable[..., Any]) -> Callable[..., Any]:
    return kernel


def _nothing(*_: Any) -> None:
    return None


def define_op(
    name: str,
    schema: str,
    *,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    flops: Callable[..., int] | None = None,
    check: Callable[..., None] | None = None,
    arguments: Callable[..., tuple[Any, ...]] | None = None,
    autocast: bool | tuple[int, ...] = False,
    triton: bool = False,
    cuda_refuses: Callable[..., str | None] = _nothing,
    cuda_how: Callable[..., str | None] = _nothing,
    cuda_queries: tuple[str, ...] = (),
    compiled_schema: str | None = None,
    adapt: Callable[[Callable[..., Any]], Callable[..., Any]] = _as_it_is,
) -> Op:
    """Define `mesm_ops::<name>` and register all that torch asks of an op but its gradient.

    The same schema is defined in `mesm_ops_cpp` and `mesm_ops_cuda`, where a shared library
    implements it.

    Args:
        name: The op's name, the same in every folder.
        schema: Its arguments and results, `(Tensor x) -> Tensor`.
        reference: The plain torch implementation.
        fake: Shapes and dtypes of the results without values.
        flops: Floating-point operations, given the arguments and `out_val`. None: none are counted,
            as torch counts none outside products of matrices.
        check: Looks at values that shapes do not tell, on real tensors, before any kernel starts.
        arguments: Turns what the public function takes into what the op takes.
        autocast: Cast floating-point inputs but float64 to the autocast dtype, as convolutions do;
            a tuple: those inputs alone, the op itself does the rest.
        triton: `mesm_ops.triton.<stem>` has a launcher of the op's name.
        cuda_refuses: Given the arguments, why the CUDA kernel does not take them; None if it does.
        cuda_how: Given arguments that it takes, what `explain` adds of them, if anything.
        cuda_queries: Schemas of what its shared library answers beside the op.
        compiled_schema: That of the shared libraries' kernels, where it is another.
        adapt: Given such a kernel, what takes the op's arguments and returns its results.

    Returns:
        The op, ready to be called.
    """
    for namespace, library in _libraries.items():
        library.define(name + (compiled_schema or schema if namespace in _COMPILED else schema))
    backends.register(name, "reference", reference)
    backends.register_compiled(name, "cpp", "cpu", _CPP_DTYPES, extension.cpu_missing, adapt=adapt)
    more = (extension.cuda_missing, cuda_refuses, cuda_how, adapt)
    backends.register_compiled(name, "cuda", "cuda", _CUDA_DTYPES, *more)
    for query in cuda_queries:
        _libraries["mesm_ops_cuda"].define(query)
    if triton:
        backends.register_triton(name, _CUDA_DTYPES)
    if arguments is not None:
        backends.register_arguments(name, arguments)

    def run(*args: Any) -> Any:
        if check is not None:
            check(*args)
        args = tuple(arg.contiguous() if isinstance(arg, Tensor) else arg for arg in args)
        return backends.run(name, args)

    library = _libraries["mesm_ops"]
    library.impl(name, run, "CPU")
    library.impl(name, run, "CUDA")
    torch.library.register_fake(f"mesm_ops::{name}", fake, lib=library)
    packet = getattr(torch.ops.mesm_ops, name)
    overload: OpOverload = packet.default
    if autocast:
        for device in ("cpu", "cuda"):
            library.impl(
                name, _autocast_kernel(overload, device, autocast), f"Autocast{device.upper()}"
            )
    register_flop_formula(packet, get_raw=True)(flops or _no_flops)
    return Op(name, overload, adapt, _CPP_DTYPES, check, autocast)


def define_kernel(name: str, schema: str) -> None:
    """Define `mesm_ops_cuda::<name>`, a kernel that other backends' ops call; no op itself."""
    _libraries["mesm_ops_cuda"].define(name + schema)


def make_differentiable(
    forward: Op,
    backward: Op,
    *,
    save: Callable[[Any, tuple[Any, ...], Any], None],
    gradients: Callable[..., Any],
) -> None:
    """Give an op its gradient, and refuse a gradient of that gradient.

    Args:
        forward: The op.
        backward: The op that `gradients` calls.
        save: Keeps in ctx what the backward pass needs, given inputs and outputs.
        gradients: Given ctx and the outputs' gradients, the inputs' (None where there is none).
    """

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.backend = backends.requested()
        save(ctx, inputs, output)

    def run(ctx: Any, *grads: Any) -> Any:
        # Autograd may call this from a thread of its own, outside the caller's use_backend.
        if ctx.backend == backends.requested():
            return gradients(ctx, *grads)
        with backends.use_backend(ctx.backend):
            return gradients(ctx, *grads)

    def refuse(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(f"{forward.overload.name()}: second-order gradients are not supported")

    class Direct(torch.autograd.Function):
        """The same for calls that do not go through torch's dispatcher."""

        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            output = forward.run(args)
            keep(ctx, args, output)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return run(ctx, *grads)

    forward.differentiable = Direct.apply
    library = _libraries["mesm_ops"]
    torch.library.register_autograd(forward.overload, run, setup_context=keep, lib=library)
    torch.library.register_autograd(backward.overload, refuse, lib=library)


def _autocast_kernel(
    overload: OpOverload, device: str, which: bool | tuple[int, ...]
) -> Callable[..., Any]:
    def kernel(*args: Any) -> Any:
        dtype = torch.get_autocast_dtype(device)
        chosen = which if isinstance(which, tuple) else range(len(args))
        with torch.autocast(device, enabled=False):
            return overload(
                *(_cast(arg, dtype) if i in chosen else arg for i, arg in enumerate(args))
            )

    return kernel


def _cast(arg: Any, dtype: torch.dtype) -> Any:
    if isinstance(arg, Tensor) and arg.is_floating_point() and arg.dtype != torch.float64:
        return arg.to(dtype)
    return arg


def _no_flops(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return 0
