"""Triton's interpreter as the tests use it: right as a GPU is, and stricter.

Triton 3.6's interpreter does three things otherwise than a GPU, which are set right here. It cannot
loop to a number that was given or loaded (NumPy >= 2.4: int(array of one element) raises), tl.dot
takes bfloat16 for the integers that hold it, and float32 is cut, not rounded, to bfloat16.

And each load, store and atomic is checked: its addresses must lie inside the tensor whose pointer
they were made of, lanes that are masked off left out. A pointer's type carries that tensor through
the kernel. An address whose tensor is not known, made of a number say, must lie in one of the
launch's tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter
from triton.tools.tensor_descriptor import TensorDescriptor

from mesm_ops.triton.parts import finish

__all__ = ["OutOfBoundsError", "as_a_gpu"]


class OutOfBoundsError(Exception):
    """A kernel reads or writes outside of the tensors that it was given."""


@dataclass(frozen=True)
class _Argument:
    """A tensor of a launch: where it lies, in bytes, from its first to past its last element."""

    kernel: str
    name: str
    first: int
    end: int
    itemsize: int

    def holds(self, addresses: np.ndarray, width: int) -> bool:
        return bool(self.first <= addresses.min() and int(addresses.max()) + width <= self.end)


class _Bounded(tl.pointer_type):
    """The type of pointers that were made of one argument's."""

    def __init__(self, element: Any, argument: _Argument) -> None:
        super().__init__(element)
        self.argument = argument


_launch: dict[int, _Argument] = {}  # of the launch that is under way, by the id of its tensor


def _extent(tensor: Tensor) -> tuple[int, int]:
    first, numel = tensor.data_ptr(), tensor.numel()
    if not numel:
        return first, first
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + (last + 1) * tensor.element_size()


def _arguments(kernel: str, name: str, value: Any) -> Iterator[tuple[int, _Argument]]:
    if isinstance(value, tuple):
        for number, one in enumerate(value):
            yield from _arguments(kernel, f"{name}[{number}]", one)
    elif isinstance(value, TensorDescriptor):
        yield from _arguments(kernel, name, value.base)
    elif isinstance(value, Tensor):
        yield id(value), _Argument(kernel, name, *_extent(value), value.element_size())


def _check(what: str, pointers: Any, mask: np.ndarray | None) -> None:
    addresses = pointers.data
    if mask is not None and not mask.all():
        addresses = addresses[mask]
    if not addresses.size:
        return
    kind = pointers.dtype.scalar
    width = max(1, kind.element_ty.primitive_bitwidth // 8)
    if isinstance(kind, _Bounded):
        argument = kind.argument
        if argument.holds(addresses, width):
            return
        outside = (addresses < argument.first) | (addresses + width > argument.end)
    else:
        arguments = list(_launch.values())
        outside = np.ones(addresses.shape, bool)
        for one in arguments:
            outside &= (addresses < one.first) | (addresses + width > one.end)
        if not outside.any():
            return
        worst = int(addresses[outside][0])
        argument = min(arguments, key=lambda one: max(one.first - worst, worst - one.end))
    worst = addresses[outside]
    offset = (int(worst.reshape(-1)[0]) - argument.first) // argument.itemsize
    length = (argument.end - argument.first) // argument.itemsize
    place = tuple(interpreter.interpreter_builder.grid_idx)
    raise OutOfBoundsError(
        f"{argument.kernel}: {what} at {argument.name}[{offset}], which has {length} elements; "
        f"{worst.size} such addresses in program {place}"
    )


def _patch_bounds(replace: Callable[[Any, str, Any], None]) -> None:
    builder, grid = interpreter.InterpreterBuilder, interpreter.GridExecutor
    convert, call, to_host = interpreter._implicit_cvt, grid.__call__, grid._init_args_hst
    load, store = builder.create_masked_load, builder.create_masked_store
    rmw, cas = builder.create_atomic_rmw, builder.create_atomic_cas

    def bounded(value: Any) -> Any:
        made = convert(value)
        argument = _launch.get(id(value))
        if argument is None or not isinstance(value, Tensor):
            return made
        kind = _Bounded(made.type.element_ty, argument)
        return tl.tensor(interpreter.TensorHandle(made.handle.data, kind), kind)

    def init_args_hst(self: Any, args: Any, kwargs: Any) -> Any:
        positional, named = to_host(self, args, kwargs)
        given = [*zip(self.arg_names, positional, strict=False), *named.items()]
        for name, value in given:
            _launch.update(_arguments(self.fn.__name__, name, value))
        return positional, named

    def launch(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return call(self, *args, **kwargs)
        finally:
            _launch.clear()

    def masked_load(self: Any, pointers: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        _check("load", pointers, np.asarray(mask.data))
        return load(self, pointers, mask, *rest, **named)

    def masked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check("store", pointers, np.asarray(mask.data))
        return store(self, pointers, value, mask, *rest)

    def atomic_rmw(self: Any, op: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check("atomic", pointers, np.asarray(mask.data))
        return rmw(self, op, pointers, value, mask, *rest)

    def atomic_cas(self: Any, pointers: Any, *rest: Any) -> Any:
        _check("atomic", pointers, None)
        return cas(self, pointers, *rest)

    replace(interpreter, "_implicit_cvt", bounded)
    replace(grid, "_init_args_hst", init_args_hst)
    replace(grid, "__call__", launch)
    replace(builder, "create_masked_load", masked_load)
    replace(builder, "create_masked_store", masked_store)
    replace(builder, "create_atomic_rmw", atomic_rmw)
    replace(builder, "create_atomic_cas", atomic_cas)


def _patch_speed(replace: Callable[[Any, str, Any], None]) -> None:
    """Do once what the interpreter does at each call or for each value."""
    patch, call = interpreter._patch_lang, interpreter.GridExecutor.__call__
    find_dtype = interpreter._get_np_dtype
    dtypes: dict[str, np.dtype[Any]] = {}
    patched: set[Any] = set()  # functions, since the launch began

    def patch_lang(function: Any) -> Any:
        if function in patched:
            return interpreter._LangPatchScope()
        patched.add(function)
        return patch(function)

    def launch(self: Any, *args: Any, **kwargs: Any) -> Any:
        patched.clear()
        return call(self, *args, **kwargs)

    def np_dtype(kind: Any) -> np.dtype[Any]:
        name = kind.scalar.name
        if name not in dtypes:
            dtypes[name] = find_dtype(kind)
        return dtypes[name]

    # A program of more entries adds the same parts; test_finish.py takes the real number.
    replace(finish, "_PIECE", 1024)

    make_type, make_tensor = tl.block_type.__init__, tl.tensor.__init__
    same_type, same_shape = tl.block_type.__eq__, tl.tuple.__eq__
    types: dict[tuple[str, tuple[int, ...]], tuple[Any, ...]] = {}
    of_types: dict[tuple[int, ...], Any] = {}
    of_tensors: dict[tuple[int, ...], tuple[Any, ...]] = {}
    broadcast = TritonSemantic.broadcast_impl_value

    # Nothing changes a shape, so types and tensors of one shape share theirs.
    def block_type(self: Any, element: Any, shape: Any) -> None:
        key = str(element), tuple(getattr(n, "value", n) for n in shape)
        if key in types:
            self.element_ty = element
            self.shape, self.numel, self.name = types[key]
        else:
            make_type(self, element, shape)
            self.shape = of_types.setdefault(key[1], self.shape)
            types[key] = self.shape, self.numel, self.name

    def tensor(self: Any, handle: Any, kind: Any) -> None:
        key = tuple(kind.shape) if kind.is_block() else ()
        if key in of_tensors:
            self.handle, self.type, self.dtype = handle, kind, kind.scalar
            self.shape, self.numel = of_tensors[key]
        else:
            make_tensor(self, handle, kind)
            of_tensors[key] = self.shape, self.numel

    def equal_types(self: Any, other: Any) -> bool:
        return self is other or same_type(self, other)

    def equal_shapes(self: Any, other: Any) -> Any:
        return tl.constexpr(True) if self is other else same_shape(self, other)

    def broadcast_value(self: Any, a: Any, b: Any) -> Any:
        if getattr(a.type, "shape", None) is getattr(b.type, "shape", None):
            return a, b  # scalars have none
        return broadcast(self, a, b)

    replace(TritonSemantic, "broadcast_impl_value", broadcast_value)
    replace(tl.block_type, "__init__", block_type)
    replace(tl.block_type, "__eq__", equal_types)
    replace(tl.tensor, "__init__", tensor)
    replace(tl.tuple, "__eq__", equal_shapes)
    replace(interpreter, "_get_np_dtype", np_dtype)
    replace(interpreter, "_patch_lang", patch_lang)
    replace(interpreter.GridExecutor, "__call__", launch)


def _patch_arithmetic(replace: Callable[[Any, str, Any], None]) -> None:
    builder = interpreter.InterpreterBuilder
    patch, dot, cast = interpreter._patch_lang_tensor, builder.create_dot, builder.cast_impl

    def patch_lang_tensor(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    def widened(handle: Any) -> Tensor:
        data = torch.from_numpy(np.ascontiguousarray(handle.data))
        return (data.view(torch.bfloat16) if handle.dtype.scalar == tl.bfloat16 else data).float()

    def create_dot(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        if d.data.dtype != np.float32 or a.data.ndim != 2:
            return dot(self, a, b, d, *rest)
        # Torch's product keeps to one thread where the tests ask for one; NumPy's does not.
        with torch.autocast("cpu", enabled=False):
            product = (widened(a) @ widened(b)).numpy()
        return interpreter.TensorHandle(product + d.data, d.dtype.scalar)

    def cast_impl(self: Any, src: Any, dst_type: Any) -> Any:
        if src.dtype.scalar != tl.float32 or dst_type.scalar != tl.bfloat16:
            return cast(self, src, dst_type)
        rounded = torch.from_numpy(np.ascontiguousarray(src.data)).to(torch.bfloat16)
        return interpreter.TensorHandle(rounded.view(torch.uint16).numpy(), tl.bfloat16)

    replace(interpreter, "_patch_lang_tensor", patch_lang_tensor)
    replace(builder, "create_dot", create_dot)
    replace(builder, "cast_impl", cast_impl)


@contextmanager
def as_a_gpu(bounds: bool = True) -> Iterator[None]:
    """Set the interpreter right; with `bounds`, check each access to memory."""
    with ExitStack() as stack:

        def replace(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        _patch_speed(replace)
        _patch_arithmetic(replace)
        if bounds:
            _patch_bounds(replace)
        yield
