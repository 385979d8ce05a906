"""Compiles csrc/ into mesm_ops; everything else about the package is in pyproject.toml.

Environment:
    CXX: the C++ compiler (default: the first of c++, g++, clang++ that is there).
    MESM_OPS_CPP=0: install without compiled kernels; the reference backend serves every op.
    MESM_OPS_CUDA=1 or 0: build the CUDA kernels, or don't (default: if torch has CUDA and nvcc is
        found). MESM_OPS_CUDA_ARCHS="80;90" chooses the architectures.
    MESM_OPS_CXXFLAGS: further flags for the C++ compiler.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
# torch 2.10: the oldest whose stable ABI has all that csrc calls; any later torch can load it.
TARGET = "TORCH_TARGET_VERSION=0x020a000000000000"
X86 = platform.machine().lower() in ("x86_64", "amd64")
# Every csrc/cpu/<op>.cpp is compiled once for each of these; csrc/capability.cpp chooses.
ISA_FLAGS: dict[str, list[str]] = {"portable": []}
if X86:
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    ISA_FLAGS["avx512"] = [
        *ISA_FLAGS["avx2"],
        *("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512"),
    ]
    ISA_FLAGS["avx512bf16"] = [*ISA_FLAGS["avx512"], "-mavx512bf16"]
WITHOUT = "or set MESM_OPS_CPP=0 to install without compiled kernels"


@dataclass(frozen=True)
class Unit:
    """One object file: a source compiled with some flags."""

    source: Path
    target: Path
    command: tuple[str, ...]


@dataclass(frozen=True)
class Torch:
    """The torch compiled against."""

    version: str
    include: Path
    lib: Path
    cuda: str | None


def find_torch() -> Torch:
    """Return the installed torch, or raise what to do about it."""
    try:
        import torch
    except ImportError as error:
        raise PlatformError(
            f"torch is needed to compile mesm_ops ({error}): leave out --no-build-isolation, "
            f"or `pip install torch` first, {WITHOUT}"
        ) from None
    home = Path(torch.__file__).parent
    return Torch(str(torch.__version__), home / "include", home / "lib", torch.version.cuda)


def find_compiler() -> list[str]:
    """Return the command of a C++20 compiler with GNU vector extensions."""
    if sys.platform == "win32":
        raise PlatformError(
            f"the kernels need GCC or Clang, which Windows builds of Python don't use: {WITHOUT}"
        )
    named = os.environ.get("CXX")
    candidates = [named] if named else ["c++", "g++", "clang++"]
    for candidate in candidates:
        command = shlex.split(candidate)
        if shutil.which(command[0]):
            _require_cxx20(command)
            return command
    raise PlatformError(
        f"no C++ compiler found (looked for {', '.join(candidates)}): install g++ 11 or clang++ 14 "
        f"or later (Debian: apt install g++), or name one with CXX, {WITHOUT}"
    )


def _require_cxx20(command: list[str]) -> None:
    probe = "#include <concepts>\nconstinit const int x = 0; static_assert(std::integral<int>);\n"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text(probe)
        run = [*command, "-std=c++20", "-fsyntax-only", str(source)]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PlatformError(
            f"{shlex.join(command)} does not compile C++20: g++ 11 or clang++ 14 or later is "
            f"needed; name one with CXX, {WITHOUT}"
        )


def compile_command(torch: Torch) -> list[str]:
    """Return what all C++ compilations share."""
    return [
        *find_compiler(),
        *("-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno"),
        *("-ffp-contract=fast", "-Wall", "-Wextra", "-Wno-psabi", f"-D{TARGET}"),
        *(["-DMESM_OPS_X86_ISAS"] if X86 else []),
        *("-isystem", str(torch.include)),
        *("-isystem", sysconfig.get_path("include")),
        *shlex.split(os.environ.get("MESM_OPS_CXXFLAGS", "")),
    ]


def cpu_units(torch: Torch, objects: Path, cuda: bool) -> list[Unit]:
    """Return all object files of mesm_ops._C."""
    shared = compile_command(torch)
    facts = [
        f'-DMESM_OPS_TORCH_VERSION="{torch.version}"',
        f'-DMESM_OPS_BUILT_CUDA="{"yes" if cuda else "no"}"',
        f'-DMESM_OPS_FLAGS="{" ".join(flag for flag in shared if flag[:2] in ("-O", "-f"))}"',
    ]
    units = []
    for source in [*sorted(CSRC.glob("*.cpp")), *sorted(CSRC.glob("ops/*.cpp"))]:
        name = source.relative_to(CSRC).with_suffix(".o")
        command = (*shared, *(facts if source.name == "library.cpp" else ()))
        units.append(Unit(source, objects / name, command))
    for isa, flags in ISA_FLAGS.items():
        for source in sorted(CSRC.glob("cpu/*.cpp")):
            command = (*shared, *flags, f"-DMESM_ISA={isa}")
            units.append(Unit(source, objects / "cpu" / f"{source.stem}.{isa}.o", command))
    return units


def cuda_units(torch: Torch, objects: Path) -> list[Unit]:
    """Return all object files of mesm_ops._cuda."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise PlatformError(
            "MESM_OPS_CUDA=1 but nvcc is not found: put it on PATH or set CUDA_HOME, or unset "
            "MESM_OPS_CUDA"
        )
    archs = os.environ.get("MESM_OPS_CUDA_ARCHS", "80;90").split(";")
    command = (
        *(nvcc, "-std=c++20", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", f"-D{TARGET}"),
        "-DUSE_CUDA",
        *(f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs),
        f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}",  # for later GPUs
        *("-isystem", str(torch.include)),
    )
    return [
        Unit(source, objects / "cuda" / f"{source.stem}.o", command)
        for source in sorted(CSRC.glob("cuda/*.cu"))
    ]


def find_nvcc() -> str | None:
    """Return the path of nvcc, None if there is none."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    beside = Path(home, "bin", "nvcc") if home else None
    return str(beside) if beside and beside.exists() else shutil.which("nvcc")


def wants_cuda() -> bool:
    """Tell whether the CUDA kernels are to be built."""
    asked = os.environ.get("MESM_OPS_CUDA", "")
    if asked not in ("", "0", "1"):
        raise PlatformError(f"MESM_OPS_CUDA must be 0, 1 or unset, got {asked!r}")
    if asked:
        return asked == "1"
    try:
        return find_nvcc() is not None and find_torch().cuda is not None
    except PlatformError:
        return False  # no torch: the build of mesm_ops._C says so


def is_current(unit: Unit) -> bool:
    """Tell whether the object is newer than all it was made from, by the same command."""
    written = unit.target.with_suffix(".command")
    depends = unit.target.with_suffix(".d")
    if not (unit.target.exists() and written.exists() and depends.exists()):
        return False
    if written.read_text() != shlex.join(unit.command):
        return False
    made = unit.target.stat().st_mtime
    names = depends.read_text().replace("\\\n", " ").split()[1:]
    return all(Path(name).exists() and Path(name).stat().st_mtime < made for name in names)


def compile_unit(unit: Unit) -> None:
    """Compile if need be; an object is never seen half-written."""
    if is_current(unit):
        return
    unit.target.parent.mkdir(parents=True, exist_ok=True)
    building = unit.target.with_suffix(f".{os.getpid()}.o")
    depends = unit.target.with_suffix(".d")
    run = [*unit.command, "-MMD", "-MF", str(depends), "-c", str(unit.source), "-o", str(building)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    print(shlex.join(run), done.stdout, done.stderr, sep="\n", flush=True)
    if done.returncode != 0:
        building.unlink(missing_ok=True)
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        name = unit.source.relative_to(ROOT)
        raise CompileError(f"{name} does not compile: {lines[0] if lines else done.stderr}")
    unit.target.with_suffix(".command").write_text(shlex.join(unit.command))
    building.replace(unit.target)


def compile_all(units: list[Unit]) -> None:
    """Compile what is not up to date, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_unit, units))


def objects_folder(torch: Torch) -> Path:
    """Return where objects are kept between builds: build/, whatever pip's own folder is."""
    kind = f"{sys.version}{torch.version}{platform.machine()}"
    return ROOT / "build" / "mesm_ops" / hashlib.sha256(kind.encode()).hexdigest()[:12]


class BuildKernels(build_ext):
    """Compiles csrc in parallel, only what changed, with a plain compiler."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link one shared object."""
        torch = find_torch()
        objects = objects_folder(torch)
        is_cuda = ext.name.endswith("._cuda")
        units = cuda_units(torch, objects) if is_cuda else cpu_units(torch, objects, wants_cuda())
        compile_all(units)
        link = [find_nvcc() or "nvcc"] if is_cuda else find_compiler()
        flags = [] if is_cuda else shlex.split(os.environ.get("MESM_OPS_CXXFLAGS", ""))
        shared = ["-shared"]
        if sys.platform == "darwin":
            shared = ["-bundle", "-undefined", "dynamic_lookup"]
        libraries = ["-ltorch", "-ltorch_cpu"]
        if is_cuda:
            # libtorch brings libtorch_cuda with it where torch has CUDA, as it need not here.
            libraries.insert(0, "-Xlinker=--no-as-needed")
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        building = target.with_name(f".{target.name}.{os.getpid()}")
        command = [*link, *shared, *(str(unit.target) for unit in units), "-o", str(building)]
        command += [*flags, f"-L{torch.lib}", *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            building.unlink(missing_ok=True)
            raise CompileError(f"{ext.name} does not link: {done.stderr.strip()}")
        building.replace(target)

    def copy_extensions_to_source(self) -> None:
        """As setuptools does for an editable install, but a module is never seen half-written."""
        for ext in self.extensions:
            name = self.get_ext_filename(ext.name)
            built, target = Path(self.build_lib, name), ROOT / name
            beside = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.copy2(built, beside)
            beside.replace(target)


def extensions() -> list[Extension]:
    """Return the shared objects to build."""
    if os.environ.get("MESM_OPS_CPP") == "0":
        return []
    sources = sorted(str(path.relative_to(ROOT)) for path in CSRC.rglob("*.[ch]*"))
    found = [Extension("mesm_ops._C", sources)]
    if wants_cuda():
        found.append(Extension("mesm_ops._cuda", []))
    return found


if __name__ == "__main__":
    try:
        modules = extensions()
    except PlatformError as error:
        sys.exit(f"error: {error}")
    setup(ext_modules=modules, cmdclass={"build_ext": BuildKernels})
