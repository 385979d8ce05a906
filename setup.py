"""Compiles csrc/ into mesm_ops; csrc/build.py has the flags, pyproject.toml all else.

Environment:
    CXX: the C++ compiler (default: the first of c++, g++, clang++ that is there).
    MESM_OPS_CPP=0: install without compiled kernels; the reference backend serves every op.
    MESM_OPS_CUDA=1 or 0: build the CUDA kernels, or don't (default: if torch has CUDA and nvcc is
        found). MESM_OPS_CUDA_ARCHS="80;90" chooses the architectures.
    MESM_OPS_CXXFLAGS: further flags for the C++ compiler.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # pip's isolated build leaves the root out

from csrc import build  # noqa: E402


def wants_cuda() -> bool:
    """Tell whether the CUDA kernels are to be built."""
    asked = os.environ.get("MESM_OPS_CUDA", "")
    if asked not in ("", "0", "1"):
        raise PlatformError(f"MESM_OPS_CUDA must be 0, 1 or unset, got {asked!r}")
    if asked or not (build.find_nvcc() and importlib.util.find_spec("torch")):
        return asked == "1"
    return build.find_torch().cuda is not None


def replace(built: Path, target: Path) -> None:
    """Replace a file at once: no process sees half a file, nor a change in a loaded library."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(built, beside)
    beside.replace(target)


class BuildKernels(build_ext):
    """Lets ninja compile csrc, and copies the libraries into the package."""

    def build_extensions(self) -> None:
        """Compile all outdated objects."""
        torch = build.find_torch()
        folder = build.objects_folder(torch)
        with build.locked(folder):
            build.write_ninja(torch, folder, cuda="_cuda.so" in self.products())
            build.run_ninja(folder)
            for built, name in self.products().items():
                replace(folder / built, Path(self.build_lib, name))

    def copy_extensions_to_source(self) -> None:
        """Copy as setuptools does for an editable install, but each file in one step."""
        for name in self.products().values():
            replace(Path(self.build_lib, name), ROOT / name)

    def products(self) -> dict[str, str]:
        """Return ninja's products, each with its path in the package."""
        names = [ext.name for ext in self.extensions]
        found = {f"{name.split('.')[1]}.so": self.get_ext_filename(name) for name in names}
        return found | {build.LIBRARY: f"mesm_ops/{build.LIBRARY}"}


def extensions() -> list[Extension]:
    """Return the shared objects to build."""
    if os.environ.get("MESM_OPS_CPP") == "0":
        return []
    if sys.platform == "win32":
        raise PlatformError(f"the kernels need GCC or Clang on Linux or macOS, {build.WITHOUT}")
    sources = [path for path in ROOT.glob("csrc/**/*.*") if path.suffix != ".pyc"]
    found = [Extension("mesm_ops._C", sorted(str(path.relative_to(ROOT)) for path in sources))]
    if wants_cuda():
        found.append(Extension("mesm_ops._cuda", []))
    return found


if __name__ == "__main__":
    try:
        modules = extensions()
    except PlatformError as error:
        sys.exit(f"error: {error}")
    setup(ext_modules=modules, cmdclass={"build_ext": BuildKernels})
