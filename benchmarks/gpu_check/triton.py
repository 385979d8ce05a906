"""Compiles every Triton kernel for absent GPUs.

The launchers are called as the ops call them, on CPU tensors of the benchmark's shapes, under a
driver that claims to be the wanted GPU. Where Triton would compile a kernel, the launch is recorded
instead, once for each kernel that `choice` may take; without a compiled kernel Triton launches
nothing. The recorded launches are compiled afterwards, in several processes.

Needs a process in which Triton's interpreter is off.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import pkgutil
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from benchmarks.gpu_check.barriers import unmoved_releases
from benchmarks.gpu_check.report import Compiled, read_ptxas, tensor_instructions
from mesm_ops import backends
from mesm_ops.triton.parts import ahead, choice

ARCHS = ("sm_80", "sm_90", "sm_100", "sm_120")
PACKAGE = "mesm_ops.triton"
# Multiprocessors of the emulated GPU, for launchers whose grid depends on the number.
MULTIPROCESSORS = {"sm_80": 108, "sm_90": 132, "sm_100": 148, "sm_120": 188}
# Bytes of shared memory that one block may have, of the same GPUs.
SHARED = {"sm_80": 166912, "sm_90": 232448, "sm_100": 232448, "sm_120": 101376}


@dataclass
class Launch:
    """All inputs of a compilation, recorded when a launcher launched a kernel."""

    kernel: Any  # triton's JITFunction
    arch: str
    signature: dict[str, str]
    constants: dict[Any, Any]
    attributes: dict[Any, Any]
    options: dict[str, Any]
    ops: set[str] = field(default_factory=set)  # the ops whose launchers launched the kernel

    def key(self) -> str:
        """Equal for launches that compile to the same."""
        parts = (self.name, self.arch, self.signature, self.constants, self.attributes)
        return repr((*parts, sorted(self.options.items(), key=str)))

    @property
    def name(self) -> str:
        """Module and function."""
        return f"{self.kernel.module.removeprefix(PACKAGE + '.')}.{self.kernel.__name__}"

    def variant(self) -> str:
        """Types of pointers, compile-time numbers, warps and stages."""
        pointers = (v for v in self.signature.values() if str(v).startswith("*"))
        types = "/".join(sorted({str(t).removeprefix("*") for t in pointers} - {"i32", "i64"}))
        names = self.kernel.arg_names
        known = [
            f"{names[path[0]]}={value}"
            for path, value in self.constants.items()
            if len(path) == 1 and isinstance(value, int) and not isinstance(value, bool)
        ]
        return " ".join([types, *known, f"w{self.options['num_warps']}"])


class _Gpu:
    """Triton's driver of an absent GPU."""

    def __init__(self, arch: str) -> None:
        self.arch = arch

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", int(self.arch.removeprefix("sm_")), 32)

    def get_current_device(self) -> str:
        return self.arch  # the key of the kernel cache

    def get_current_stream(self, device: object) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        return torch.empty(1)

    def clear_cache(self, cache: object) -> None:
        return None

    def get_benchmarker(self) -> Callable[..., list[float]]:
        def benchmark(run: Callable[[], object], *_: object, **__: object) -> list[float]:
            run()
            return [1.0, 1.0, 1.0]

        return benchmark


_FILLED = {
    torch.empty: torch.zeros,
    torch.empty_like: torch.zeros_like,
    torch.Tensor.new_empty: torch.Tensor.new_zeros,
}


class _Zeros(TorchFunctionMode):
    """Fills fresh memory with zeros: no kernel writes it, but the next call may read it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _FILLED.get(func, func)(*args, **(kwargs or {}))


def modules() -> list[Any]:
    """Import and return every module of `mesm_ops.triton`."""
    package = importlib.import_module(PACKAGE)
    names = sorted(found.name for found in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."))
    return [importlib.import_module(name) for name in names]


def launcher(op: str) -> Callable[..., Any] | None:
    """Return an op's launcher, which takes the op's arguments as one object; None: none."""
    kernel = backends._kernels[op].get("triton")
    return None if kernel is None else kernel.run


def kernels() -> dict[str, Any]:
    """Return every @triton.jit function that the modules define, by module and name."""
    from triton.runtime.jit import JITFunction

    found = {}
    for module in modules():
        for name, value in vars(module).items():
            while not isinstance(value, JITFunction) and hasattr(value, "fn"):
                value = value.fn  # an autotuner or heuristics around it
            if isinstance(value, JITFunction) and value.module == module.__name__:
                found[f"{module.__name__.removeprefix(PACKAGE + '.')}.{name}"] = value
    return found


def unlaunched(launches: list[Launch]) -> list[str]:
    """Return the kernels that nothing launched and that no other function calls.

    The Hopper kernels are left out unless Triton is of the version these are written for: else
    `possible` never offers these kernels.
    """
    every = kernels()
    launched = {id(launch.kernel) for launch in launches}
    sources = {name: inspect.getsource(kernel.fn) for name, kernel in every.items()}
    lost = []
    for name, kernel in every.items():
        module, short = name.rsplit(".", 1)
        if module.endswith("_hopper") and not choice.knows_hopper():
            continue
        called = any(
            re.search(rf"\b{short}\b", source) for other, source in sources.items() if other != name
        )
        if id(kernel) not in launched and not called:
            lost.append(name)
    return lost


@contextlib.contextmanager
def playing(arch: str, note: Callable[..., None]) -> Iterator[None]:
    """Let Triton and torch see a GPU of this architecture; `note` stands for the compiler."""
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    number = int(arch.removeprefix("sm_"))
    facts = SimpleNamespace(
        name=arch,
        major=number // 10,
        minor=number % 10,
        multi_processor_count=MULTIPROCESSORS[arch],
        shared_memory_per_block_optin=SHARED[arch],
        warp_size=32,
    )
    patches = {
        "get_device_properties": lambda *_: facts,
        "get_device_capability": lambda *_: (facts.major, facts.minor),
        "current_device": lambda: 0,
    }
    before = driver._active
    with contextlib.ExitStack() as stack:
        for name, value in patches.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(JITFunction, "_do_compile", note))
        stack.enter_context(mock.patch.object(ahead, "_threads", int))  # an op's own launches
        stack.enter_context(_Zeros())
        driver.set_active(_Gpu(arch))  # type: ignore[arg-type]
        try:
            yield
        finally:
            driver._active = before


def record(op: str, run: Callable[[], Any], arch: str) -> list[Launch]:
    """Return the launches of an op's launcher, for every choice of kernels; nothing runs."""
    noted: list[Launch] = []

    def note(
        kernel: Any,
        key: str,
        signature: dict[str, str],
        device: str,
        constants: dict[Any, Any],
        options: Any,
        attributes: dict[Any, Any],
        warmup: bool,
    ) -> None:
        given = dict(options.__dict__)
        noted.append(Launch(kernel, arch, signature, constants, attributes, given, {op}))

    _forget()
    for place in (0, -1):
        with playing(arch, note), mock.patch.object(choice, "_choose", _chooser(arch, place)):
            run()
    return noted


def _forget() -> None:
    """Clear the launchers' caches of the GPU's properties, which another emulated GPU filled."""
    for module in modules():
        for name, value in vars(module).items():
            if name == "_plans":
                value.clear()
            elif not isinstance(value, type) and hasattr(value, "cache_clear"):
                value.cache_clear()


def _chooser(arch: str, place: int) -> Callable[..., choice.Choice]:
    """Return a `choose` that takes the possible kernel at one place of the list."""
    capability = divmod(int(arch.removeprefix("sm_")), 10)

    def choose(
        kernel: str, _: object, dtype: torch.dtype, cin: int, cout: int, __: bool, plain: bool
    ) -> choice.Choice:
        return choice.possible(kernel, dtype, cin, cout, capability, plain=plain)[place]

    return choose


def compile_launch(launch: Launch) -> Compiled:
    """Compile one launch to machine code and read the reported facts."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.experimental.gluon._runtime import GluonASTSource

    row = Compiled(launch.name, launch.variant(), launch.arch)
    row.threads = launch.options["num_warps"] * 32
    target = GPUTarget("cuda", int(launch.arch.removeprefix("sm_")), 32)
    kind = GluonASTSource if launch.kernel.is_gluon() else ASTSource
    source = kind(launch.kernel, launch.signature, launch.constants, launch.attributes)
    log = io.StringIO()
    try:
        with _compiling_afresh(), contextlib.redirect_stdout(log):
            made = triton.compile(source, target=target, options=dict(launch.options))
        row.registers, row.stack, row.spilled, static = read_ptxas(log.getvalue())
    except Exception as error:
        # The message ends with the cause, after the kernel's source.
        said = [line for line in str(error).splitlines() if line.strip()] or [""]
        row.error = f"does not compile: {type(error).__name__}: {said[-1][:200]}"
        return row
    # ptxas counts no dynamic shared memory, Triton's metadata all of it.
    row.shared = max(static, made.metadata.shared)
    # Warp specialisation adds warps to the launch's warps.
    row.threads = max(row.threads, 32 * int(getattr(made.metadata, "total_num_warps", 0) or 0))
    code = disassemble(made.asm["cubin"])
    row.tensor = tensor_instructions(code)
    # A Gluon kernel names its instructions itself, and has no IR with dots before.
    row.wants_tensor = "warp_group_dot" in str(made.asm.get("ttgir")) or wants_tensor_cores(
        str(made.asm.get("ttir", ""))
    )
    if lost := unmoved_releases(code):
        row.error = f"a loop releases the barrier in {', '.join(lost)} and never moves it"
    return row


@contextlib.contextmanager
def _compiling_afresh() -> Iterator[None]:
    """Turn the cache off: a cached kernel would come without ptxas' log."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = {"TRITON_DUMP_PTXAS_LOG": "1", "TRITON_CACHE_DIR": folder}
        with mock.patch.dict(os.environ, wanted):
            yield


def wants_tensor_cores(ir: str) -> bool:
    """Tell whether a dot has 16-bit or tf32 operands; other dots multiply in float32."""
    dots = [line for line in ir.splitlines() if re.search(r"\btt\.dot(_scaled)?\b", line)]
    return any("tf32" in line or re.search(r"x(bf16|f16|f8\w+)>", line) for line in dots)


def disassemble(cubin: bytes) -> str:
    """Return the machine code of a cubin as text, by the nvdisasm in Triton's package."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        command = [str(knobs.nvidia.nvdisasm.path), "-c", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
