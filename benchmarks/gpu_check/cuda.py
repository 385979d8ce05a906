"""Compiles every CUDA source for absent GPUs, with the flags of `csrc/build.py`.

The compiler cannot know how many threads and how much dynamic shared memory a launch has: both come
from `__launch_bounds__` and from a comment in the source, one for each kernel:

    // gpu-check: KERNEL threads=256 shared=98304

Without the comment, shared memory and occupancy of a source with dynamic shared memory are bounds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.gpu_check.report import Compiled, read_ptxas, tensor_instructions
from csrc import build
from csrc.build import find_nvcc as find_nvcc

ARCHS = ("sm_80", "sm_90a", "sm_100", "sm_120")
ROOT = Path(__file__).resolve().parents[2]
_ENTRY = re.compile(r"Compiling entry function '(\S+)' for")
_HINT = re.compile(r"//\s*gpu-check:\s*(\w+)((?:\s+(?:threads|shared)=\d+)+)")
_MULTIPLIES = re.compile(r"\b(?:mma\.sync|mma_sync|wgmma|tcgen05|nvcuda::wmma)\b")


def sources() -> list[Path]:
    """Return all CUDA sources."""
    return sorted(ROOT.glob("csrc/cuda/**/*.cu"))


def compile_source(source: Path, arch: str) -> list[Compiled]:
    """Compile one source for one architecture; a row for each of its kernels."""
    shared = build.nvcc_command(build.find_torch())
    command = [flag for flag in shared if not flag.startswith("-gencode")]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "kernel.o")
        number = arch.removeprefix("sm_")
        command += [f"-gencode=arch=compute_{number},code={arch}", "-Xptxas", "-v"]
        done = subprocess.run(
            [*command, "-c", str(source), "-o", str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            error = f"does not compile: {errors[0] if errors else done.stderr}"
            return [Compiled(source.stem, "", arch, error=error)]
        return read(source, arch, done.stderr, target)


def read(source: Path, arch: str, log: str, target: Path) -> list[Compiled]:
    """Read ptxas' log and the object for each kernel."""
    code = functions(dump("-sass", target))
    bounds = launch_bounds(dump("-elf", target))
    text = source.read_text() + "".join(
        header.read_text() for header in sorted(source.parent.glob("*.cuh"))
    )
    hints = {name: dict(re.findall(r"(\w+)=(\d+)", rest)) for name, rest in _HINT.findall(text)}
    rows = []
    parts = _ENTRY.split(log)[1:]
    for mangled, said in zip(parts[::2], parts[1::2], strict=True):
        name, variant = kernel_name(mangled)
        row = Compiled(f"{source.name}: {name}", variant, arch)
        row.registers, row.stack, row.spilled, row.shared = read_ptxas(said)
        hint = hints.get(name, {})
        row.threads = int(hint["threads"]) if "threads" in hint else bounds.get(mangled)
        row.shared += int(hint.get("shared", 0))
        row.dynamic = "extern __shared__" in text and "shared" not in hint
        row.tensor = tensor_instructions(code.get(mangled, ""))
        rows.append(row)
    if _MULTIPLIES.search(source.read_text()) and not any(row.tensor for row in rows):
        for row in rows:
            row.wants_tensor = True
    return rows


def kernel_name(mangled: str) -> tuple[str, str]:
    """Split a kernel's demangled name into the function's name and the template arguments."""
    filt = shutil.which("c++filt")
    if filt is None:
        return mangled, ""
    done = subprocess.run([filt, mangled], capture_output=True, text=True, check=True)
    name = done.stdout.strip().replace("(anonymous namespace)::", "")
    name = re.sub(r"^void ", "", name)
    match = re.match(r"(?:\w+::)*(\w+)(?:<(.*)>)?\(", name)
    return (match[1], match[2] or "") if match else (name, "")


def dump(what: str, target: Path) -> str:
    """Return cuobjdump's output for an object."""
    command = [cuobjdump(), what, str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cuobjdump() -> str:
    """Return the path of cuobjdump, the toolkit's or that of Triton's package."""
    found = shutil.which("cuobjdump")
    if found is None:
        from triton import knobs

        found = str(knobs.nvidia.cuobjdump.path)
    return found


def functions(sass: str) -> dict[str, str]:
    """Split disassembled code by function."""
    parts = re.split(r"^\s*Function : (\S+)\s*$", sass, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def launch_bounds(elf: str) -> dict[str, int]:
    """Return the most threads of a block, for each function with `__launch_bounds__`."""
    found = {}
    parts = re.split(r"^\.nv\.info\.(\S+)\s*$", elf, flags=re.MULTILINE)[1:]
    for name, section in zip(parts[::2], parts[1::2], strict=True):
        match = re.search(
            r"EIATTR_MAX_THREADS.*?Value:\s*0x(\w+) 0x(\w+) 0x(\w+)", section, flags=re.DOTALL
        )
        if match:
            x, y, z = (int(value, 16) for value in match.groups())
            found[name] = x * y * z
    return found
