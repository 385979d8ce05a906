"""Runs Gluon kernels on the host, as Triton's interpreter runs Triton's; the used part of Gluon.

Each program's partitions are threads. A barrier counts arrivals and bytes as the hardware's does; a
copy lands late, after a random time, and until then its target holds NaN; a product reads its
operands only when it is waited for; a store reads its tile only when it is waited for. So a
missing wait, a stage that is released too early or a wrong count shows as a wrong result, or as a
barrier that never completes. The emulator does not show a compiler's faults.
"""

from __future__ import annotations

import importlib
import random
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.mesm_ops.triton.gluon_values import (
    BFLOAT16,
    FLOAT16,
    Descriptor,
    Pointer,
    values,
)

LATE = 4e-4  # seconds that a copy takes at most
LAZY = False  # whether copies land only when their barrier is waited for, as late as they may
PATIENCE = 10.0  # seconds after which a barrier is said never to complete
_PACKAGE = "mesm_ops.triton.parts"
_here = threading.local()  # a partition's program, and its operations under way
_failures: list[str] = []


class Shared:
    """Shared memory, NaN until something is put there."""

    def __init__(self, data: np.ndarray, dtype: Any) -> None:
        self.data, self.dtype = data, dtype

    def index(self, i: Any) -> Shared:
        return Shared(self.data[int(i)], self.dtype)

    def permute(self, order: tuple[int, ...]) -> Shared:
        return Shared(self.data.transpose(order), self.dtype)

    def slice(self, start: int, length: int) -> Shared:
        return Shared(self.data[start : start + length], self.dtype)

    def store(self, given: Any) -> None:
        self.data[...] = np.asarray(given)
        _here.unfenced.append(self.data)

    def load(self, layout: Any = None) -> Any:
        return values(self.data.copy())

    def _reinterpret(self, dtype: Any, shape: list[int], layout: Any) -> Shared:
        size = int(np.prod(shape))
        return Shared(self.data.reshape(-1)[:size].reshape([int(n) for n in shape]), dtype)


class Barrier:
    """An mbarrier: one phase bit, pending arrivals and pending bytes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.phase = self.count = self.left = self.bytes = self.waiting = 0
        self.asleep: list[Callable[[], None]] = []  # copies that wait for a wait

    def init(self, count: int) -> None:
        self.count = self.left = count

    def change(self, arrivals: int = 0, more: int = 0) -> None:
        with self.changed:
            self.left -= arrivals
            self.bytes += more
            if self.left < 0:
                raise RuntimeError("more arrivals than the barrier counts")
            if self.left == 0 and self.bytes == 0:
                self.phase ^= 1
                self.left = self.count
                self.changed.notify_all()

    def wait(self, phase: Any) -> None:
        def passed() -> bool:
            return self.phase != (int(phase) & 1) or bool(_failures)

        with self.changed:
            self.waiting += 1
            asleep, self.asleep = self.asleep, []
            for work in asleep:
                _later(work)
            completes = self.changed.wait_for(passed, timeout=PATIENCE)
            self.waiting -= 1
        if not completes:
            raise TimeoutError("a barrier never completes")
        if _failures:
            raise RuntimeError("another partition failed")

    def after(self, work: Callable[[], None]) -> None:
        """Do the work of a copy that arrives here, late."""
        with self.changed:
            if LAZY and not self.waiting:
                self.asleep.append(work)
                return
        _later(work)


class _Barriers:
    def __init__(self, number: int) -> None:
        self.barriers = [Barrier() for _ in range(number)]

    def index(self, i: Any) -> Barrier:
        return self.barriers[int(i)]


def _later(work: Callable[[], None]) -> None:
    def run() -> None:
        time.sleep(random.random() * LATE)
        try:
            work()
        except BaseException:
            _failures.append(traceback.format_exc())

    threading.Thread(target=run, daemon=True).start()


def _where(condition: Any, a: Any, b: Any) -> Any:
    if np.ndim(condition) == 0:
        return a if condition else b
    return values(np.where(condition, a, b))


def _expand_dims(x: Any, axis: int) -> Any:
    if isinstance(x, Pointer):
        return Pointer(x.array, np.expand_dims(x.at, axis), x.dtype.element_ty)
    return values(np.expand_dims(np.asarray(x), axis))


def _load(pointer: Pointer, mask: Any = None, other: float = 0) -> Any:
    if pointer.at.ndim == 0 and mask is None:
        return values(pointer.array[int(pointer.at)])
    there = _mask(pointer, mask)
    out = np.full(pointer.at.shape, other, pointer.array.dtype)
    out[there] = pointer.array[pointer.at[there]]
    return values(out)


def _store(pointer: Pointer, given: Any, mask: Any = None) -> None:
    there = _mask(pointer, mask)
    pointer.array[pointer.at[there]] = np.broadcast_to(np.asarray(given), there.shape)[there]


def _mask(pointer: Pointer, mask: Any) -> np.ndarray:
    shape = pointer.at.shape
    there = np.ones(shape, bool) if mask is None else np.broadcast_to(np.asarray(mask), shape)
    at = pointer.at[there]
    if at.size and (at.min() < 0 or at.max() >= pointer.array.size):
        raise IndexError(f"places {at.min()} to {at.max()} of {pointer.array.size}")
    return there


def _allocate(dtype: Any, shape: list[int], layout: Any = None) -> Any:
    if dtype is np.int64:
        return _Barriers(shape[0])
    return Shared(np.full(shape, np.nan, np.float32), dtype)


def _specialize(parts: list[Any], warps: list[int], registers: list[int]) -> None:
    program, grid, first = _here.program, _here.grid, _here.warps

    def go(function: Callable[..., None], arguments: tuple[Any, ...], number: int) -> None:
        _begin(program, grid, number)
        try:
            function(*arguments)
        except BaseException:
            _failures.append(traceback.format_exc())

    threads = [
        threading.Thread(target=go, args=(function, arguments, number))
        for (function, arguments), number in zip(parts, [first, *warps], strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _begin(program: tuple[int, ...], grid: tuple[int, ...], warps: int) -> None:
    _here.program, _here.grid, _here.warps = program, grid, warps
    _here.products, _here.copies, _here.stores, _here.unfenced = [], [], [], []


def _fetch(descriptor: Descriptor, corner: list[Any], barrier: Barrier, tile: Shared) -> None:
    height, width = descriptor.block_type.shape
    i, j = int(corner[0]), int(corner[1])
    part = descriptor.array[i : i + height, j : j + width]
    tile.data[...] = np.nan

    def work() -> None:
        tile.data[...] = part
        barrier.change(0, -height * width * 2)

    barrier.after(work)


def _fence() -> None:
    _here.unfenced = []


def _send(descriptor: Descriptor, corner: list[Any], tile: Shared) -> None:
    height, width = descriptor.block_type.shape
    i, j = int(corner[0]), int(corner[1])
    seen = not any(np.may_share_memory(tile.data, written) for written in _here.unfenced)

    def work() -> None:
        target = descriptor.array[i : i + height, j : j + width]
        # TMA may not see what a thread wrote to shared memory before a fence.
        target[...] = tile.data[: len(target)] if seen else np.nan

    _here.stores.append(work)


def _store_wait(pending: int) -> None:
    while len(_here.stores) > pending:
        _here.stores.pop(0)()


def _copy(tile: Shared, pointer: Pointer, mask: Any = None) -> None:
    tile.data[...] = np.nan
    _here.copies.append((tile, _load(pointer, mask, 0)))


def _copies_arrive(barrier: Barrier, increment_count: bool = True) -> None:
    copies, _here.copies = _here.copies, []
    threads = _here.warps * 32

    def work() -> None:
        for tile, rows in copies:
            tile.data[...] = rows
        barrier.change(threads)

    barrier.after(work)


def _multiply(a: Shared, b: Shared, acc: Any, is_async: bool = False) -> Any:
    acc = acc if isinstance(acc, list) else [np.asarray(acc, np.float32)]
    _here.products.append((a, b, acc))
    return acc


def _multiply_wait(num_outstanding: int, deps: tuple[Any, ...]) -> Any:
    while len(_here.products) > num_outstanding:
        a, b, acc = _here.products.pop(0)
        time.sleep(random.random() * LATE / 4)
        acc[0] = acc[0] + a.data.astype(np.float32) @ b.data.astype(np.float32)
    acc = deps[0]
    if num_outstanding:
        return acc
    return values(acc[0] if isinstance(acc, list) else acc)


def _expect(barrier: Barrier, number: int) -> None:
    barrier.change(1, number)


def _arrive(barrier: Barrier, pred: Any = True, count: int = 1) -> None:
    if pred:
        barrier.change(count)


def _namespace(**names: Any) -> types.ModuleType:
    module = types.ModuleType("emulated")
    for name, value in names.items():
        setattr(module, name, value)
    return module


def _modules() -> dict[str, types.ModuleType]:
    def nothing(*_: Any, **__: Any) -> None:
        return None

    def itself(function: Any) -> Any:
        return function

    shared = _namespace(get_default_for=nothing)
    language = _namespace(
        **dict.fromkeys(("BlockedLayout", "SliceLayout", "NVMMADistributedLayout"), nothing),
        **{"NVMMASharedLayout": shared, "constexpr": object, "bfloat16": BFLOAT16},
        **{"float16": FLOAT16, "float32": np.float32, "int32": np.int32, "int64": np.int64},
        program_id=lambda axis: values(np.int64(_here.program[axis])),
        num_programs=lambda axis=0: _here.grid[axis],
        static_range=range,
        arange=lambda begin, end, layout=None: values(np.arange(begin, end, dtype=np.int64)),
        maximum=lambda a, b: values(np.maximum(a, b)),
        minimum=lambda a, b: values(np.minimum(a, b)),
        zeros=lambda shape, dtype, layout=None: values(np.zeros(shape, np.float32)),
        sum=lambda x, axis: values(np.asarray(x, np.float32).sum(axis)),
        **{"where": _where, "expand_dims": _expand_dims, "load": _load, "store": _store},
        allocate_shared_memory=_allocate,
        warp_specialize=_specialize,
    )
    barrier = _namespace(
        MBarrierLayout=nothing,
        init=lambda barrier, count: barrier.init(count),
        wait=lambda barrier, phase, **_: barrier.wait(phase),
        expect=_expect,
        arrive=_arrive,
    )
    hopper = _namespace(
        mbarrier=barrier,
        tma=_namespace(
            async_copy_global_to_shared=_fetch,
            async_copy_shared_to_global=_send,
            store_wait=_store_wait,
        ),
        fence_async_shared=_fence,
        warpgroup_mma=_multiply,
        warpgroup_mma_wait=_multiply_wait,
    )
    copies = _namespace(async_copy_global_to_shared=_copy, mbarrier_arrive=_copies_arrive)
    gluon = _namespace(jit=itself, constexpr_function=itself, language=language)
    return {
        "triton": _namespace(jit=itself, language=language),
        "triton.language": language,
        "triton.experimental": _namespace(gluon=gluon),
        "triton.experimental.gluon": gluon,
        "triton.experimental.gluon.language": language,
        "triton.experimental.gluon.language.nvidia": _namespace(),
        "triton.experimental.gluon.language.nvidia.ampere": _namespace(async_copy=copies),
        "triton.experimental.gluon.language.nvidia.hopper": hopper,
    }


@contextmanager
def _emulated() -> Iterator[None]:
    """Import the parts anew, with the emulator in Triton's place; then put all back."""
    parent = importlib.import_module("mesm_ops.triton")
    before = {
        name: module
        for name, module in sys.modules.items()
        if name == "triton" or name.startswith(("triton.", _PACKAGE))
    }
    attributes = {name: getattr(parent, name) for name in ("parts",) if hasattr(parent, name)}
    for name in before:
        del sys.modules[name]
    fakes = _modules()
    sys.modules.update(fakes)
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n in fakes or n.startswith(_PACKAGE)]:
            del sys.modules[name]
        sys.modules.update(before)
        for name, value in attributes.items():
            setattr(parent, name, value)


def load(stem: str, source: Callable[[str], str] = lambda text: text) -> types.ModuleType:
    """Return the module of that stem in `mesm_ops.triton.parts`, to be run on the host.

    Args:
        stem: Its file's name without `.py`.
        source: Changes the file's text first, to plant a fault.
    """
    with _emulated():
        spec = importlib.util.find_spec(f"{_PACKAGE}.{stem}")
        assert spec is not None
        assert spec.origin is not None
        module = importlib.util.module_from_spec(spec)
        with open(spec.origin) as file:  # noqa: PTH123 - a spec has no Path
            code = compile(source(file.read()), spec.origin, "exec")
        exec(code, module.__dict__)
    return module


def run(
    kernel: Callable[..., None], programs: int, warps: int, *args: Any, **constants: Any
) -> None:
    """Run a kernel's programs one after the other; raise the error of a partition."""
    for program in range(programs):
        _failures.clear()
        _begin((program,), (programs,), warps)
        kernel(*args, **constants)
        if _failures:
            raise RuntimeError(f"program {program}: {_failures[0]}")
