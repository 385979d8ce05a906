"""Compiles csrc: which tools to use, and which source gets which flags. Ninja runs the commands.

The folder decides how a source is compiled: cpu/ against torch, cpu/kernels/ without torch once for
each instruction set, both into libmesm_ops.so, which needs no Python; library.cpp against Python,
into _C.so, which loads that; cuda/ by nvcc into a shared object of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import runpy
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, run
from typing import NamedTuple

from setuptools.errors import CompileError, PlatformError

CSRC = Path(__file__).resolve().parent
ROOT = CSRC.parent
SCHEMAS = ROOT / "mesm_ops" / "ops" / "schemas.py"  # prints the header
# torch 2.10 is the oldest whose stable ABI has all functions that csrc calls; any later torch loads
# the library.
TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"
ISA_FLAGS: dict[str, list[str]] = {"portable": []}  # cpu/capability.cpp chooses one at run time
# Compiled for: the variable names it where that is another machine, as to setuptools.
MACHINE = os.environ.get("_PYTHON_HOST_PLATFORM", platform.machine()).rpartition("-")[2].lower()
X86 = MACHINE in ("x86_64", "amd64")
if X86:
    AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512"]
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    ISA_FLAGS["avx512"] = [*ISA_FLAGS["avx2"], *AVX512]
    ISA_FLAGS["avx512bf16"] = [*ISA_FLAGS["avx512"], "-mavx512bf16"]
LIBRARY = "libmesm_ops.dylib" if sys.platform == "darwin" else "libmesm_ops.so"
WITHOUT = "or set MESM_OPS_CPP=0 to install without compiled kernels"
ERROR = re.compile(r"(error|fatal) *:", re.IGNORECASE)  # of compilers, linker and Python
CXX20 = "#include <concepts>\nconstinit const int x = 0; static_assert(std::integral<int>);\n"


class Torch(NamedTuple):
    """The torch compiled against."""

    folder: Path
    version: str
    cuda: str | None


def find_package(name: str) -> Path:
    """Return the folder of a package without importing the package; raise if there is none."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        mend = f"leave out --no-build-isolation, or `pip install {name}` first, {WITHOUT}"
        raise PlatformError(f"{name} is needed to compile mesm_ops: {mend}")
    return Path(spec.origin).parent


def find_torch(folder: Path | None = None) -> Torch:
    """Return the torch in a folder, by default the installed one."""
    folder = folder or find_package("torch")
    facts = runpy.run_path(str(folder / "version.py"))
    return Torch(folder, facts["__version__"], facts["cuda"])


def objects_folder(torch: Torch) -> Path:
    """Return the folder for objects between builds: under build/, whatever folder pip builds in."""
    kind = f"{sys.implementation.cache_tag}-{MACHINE}-torch-{torch.version}"
    return ROOT / "build" / "mesm_ops" / kind


def find_compiler() -> list[str]:
    """Return the command of a C++20 compiler with GNU vector extensions."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    for command in map(shlex.split, candidates):
        if shutil.which(command[0]):
            probe = [*command, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"]
            if run(probe, input=CXX20.encode(), capture_output=True, check=False).returncode == 0:
                return command
    raise PlatformError(
        f"no C++20 compiler found (tried {', '.join(candidates)}): install g++ 11 or clang++ 14 "
        f"or later (Debian: apt install g++), or name one with CXX, {WITHOUT}"
    )


def find_nvcc() -> str | None:
    """Return the path of nvcc, None if there is none."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    beside = Path(home, "bin", "nvcc") if home else None
    return str(beside) if beside and beside.exists() else shutil.which("nvcc")


def cxx_flags() -> list[str]:
    """Return the flags that all C++ compilations share."""
    return [
        *("-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno"),
        *("-ffp-contract=fast", "-Wall", "-Wextra", "-Wno-psabi", TARGET),
        *(["-DMESM_OPS_X86_ISAS"] if X86 else []),
        *shlex.split(os.environ.get("MESM_OPS_CXXFLAGS", "")),
    ]


def nvcc_command(torch: Torch) -> list[str]:
    """Return the command and flags that all CUDA compilations share."""
    nvcc = find_nvcc()
    if nvcc is None:
        mend = "put it on PATH or set CUDA_HOME, or unset MESM_OPS_CUDA"
        raise PlatformError(f"MESM_OPS_CUDA=1 but nvcc is not found: {mend}")
    archs = os.environ.get("MESM_OPS_CUDA_ARCHS", "80;90").split(";")
    return [
        *(nvcc, "-std=c++20", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", TARGET, "-DUSE_CUDA"),
        *(f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs),
        f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}",  # for later GPUs
        *("-isystem", str(torch.folder / "include")),
    ]


def library_flags(torch: Torch, cuda: bool) -> list[str]:
    """Return flags with library.cpp's build facts and the headers of pybind11 and Python."""
    facts = {
        "TORCH_VERSION": torch.version,
        "BUILT_CUDA": "yes" if cuda else "no",
        "FLAGS": " ".join(flag for flag in cxx_flags() if flag[:2] in ("-O", "-f")),
    }
    defines = [f'-DMESM_OPS_{name}="{value}"' for name, value in facts.items()]
    pybind11 = str(find_package("pybind11") / "include")
    return [*defines, "-isystem", pybind11, "-isystem", sysconfig.get_path("include")]


def write_ninja(torch: Torch, folder: Path, cuda: bool) -> None:
    """Write folder/build.ninja: libmesm_ops.so, _C.so, op_schemas.h, and _cuda.so if `cuda`."""
    find_package("ninja")
    from ninja import ninja_syntax

    compiler = [*find_compiler(), *cxx_flags()]
    darwin = sys.platform == "darwin"
    open_ended = ["-undefined", "dynamic_lookup"]
    shared = ["-bundle", *open_ended] if darwin else ["-shared"]
    named = ["-shared", f"-Wl,-soname,{LIBRARY}"]
    if darwin:
        named = ["-dynamiclib", *open_ended, f"-Wl,-install_name,@rpath/{LIBRARY}"]
    beside = ["-Wl,-rpath,@loader_path"] if darwin else ["-Wl,-rpath,$ORIGIN"]
    with (folder / "build.ninja").open("w", encoding="utf-8") as file:
        ninja = ninja_syntax.Writer(file)

        def add(
            rule: str,
            made: Path,
            sources: list[Path],
            tool: list[str],
            before: Sequence[Path] = (),
            libraries: Sequence[str] = (),
        ) -> Path:
            variables = {
                "tool": ninja_syntax.escape(shlex.join(tool)),
                "own": ninja_syntax.escape(shlex.join(libraries)),
            }
            names = [os.path.relpath(path, ROOT) for path in (made, *sources)]
            first = [os.path.relpath(path, ROOT) for path in before]
            ninja.build(names[:1], rule, names[1:], order_only=first, variables=variables)
            return made

        def compiled(
            source: Path, tool: list[str], suffix: str = ".o", before: Sequence[Path] = ()
        ) -> Path:
            made = folder / source.relative_to(CSRC).with_suffix(suffix)
            return add("compile", made, [source], tool, before)

        ninja.variable("builddir", str(folder))
        compiling = "$tool -MMD -MF $out.d -c $in -o $out"
        ninja.rule("compile", compiling, "$out", depfile="$out.d", deps="gcc")
        libraries = shlex.join([f"-L{torch.folder / 'lib'}", "-ltorch", "-ltorch_cpu"])
        ninja.rule("link", f"$tool $in -o $out $own {ninja_syntax.escape(libraries)}", "$out")

        headers = []
        if SCHEMAS.exists():
            # The same text again keeps its time, so that nothing is compiled for it.
            kept = "{ cmp -s $out.new $out && rm $out.new || mv $out.new $out; }"
            ninja.rule("print", f"$tool > $out.new && {kept}", "$out", restat=True)
            read = [SCHEMAS, *sorted(ROOT.glob("mesm_ops/reference/*.py"))]
            headers.append(
                add("print", folder / "op_schemas.h", read, [sys.executable, str(SCHEMAS)])
            )
        objects = []
        # Relative, as the header's rule names its file: by another name ninja sees its change only
        # in the next build.
        here = os.path.relpath(folder, ROOT)
        facing_torch = [*compiler, f"-I{here}", "-isystem", str(torch.folder / "include")]
        for source in sorted(CSRC.glob("cpu/*.cpp")):
            objects.append(compiled(source, facing_torch, before=headers))
        for isa, flags in ISA_FLAGS.items():
            for source in sorted(CSRC.glob("cpu/kernels/*.cpp")):
                tool = [*compiler, *flags, f"-DMESM_ISA={isa}"]
                objects.append(compiled(source, tool, f".{isa}.o"))
        library = add("link", folder / LIBRARY, objects, [*compiler, *named])
        facts = compiled(CSRC / "library.cpp", [*compiler, *library_flags(torch, cuda)])
        own = [f"-L{folder}", "-lmesm_ops", *beside]
        add("link", folder / "_C.so", [facts], [*compiler, *shared], [library], own)
        if cuda:
            nvcc = nvcc_command(torch)
            objects = [compiled(source, nvcc) for source in sorted(CSRC.glob("cuda/*.cu"))]
            # libtorch loads libtorch_cuda where torch has CUDA; the torch here need not have CUDA.
            add("link", folder / "_cuda.so", objects, [nvcc[0], *shared, "-Xlinker=--no-as-needed"])


def run_ninja(folder: Path) -> None:
    """Run folder/build.ninja; raise CompileError with the first error."""
    command = [sys.executable, "-m", "ninja", "-f", str(folder / "build.ninja")]
    said = [""]
    with Popen(command, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            said.append(line.strip())
    if process.returncode != 0:
        raise CompileError(next(filter(ERROR.search, said), said[-1]))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other builds out of a folder, and make the folder if need be."""
    import fcntl  # not on Windows, where only MESM_OPS_CPP=0 installs

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
