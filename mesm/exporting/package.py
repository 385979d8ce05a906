"""A trained model as an AOTInductor package, which programs load with LibTorch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from mesm.exporting.traced import Traced, described, quiet, without_fast_path
from mesm.inference.loading import Trained
from mesm.models import MESM
from mesm_ops import extension


def check_device(device: str) -> None:
    """Refuse, with a ValueError, a device that no package can be for."""
    if device != "cpu":
        raise ValueError(
            f"export: wanted --device cpu, got {device!r}: Python launches the GPU's kernels, so a "
            "package cannot have them; leave out --device"
        )


def check_kernels(trained: Trained) -> None:
    """Refuse, with a ValueError, a MESM where its ops have no kernels without Python."""
    missing = extension.cpu_missing() if isinstance(trained.model, MESM) else None
    if missing is not None:
        raise ValueError(f"export: {missing}")


def check_compiler() -> None:
    """Refuse, with a ValueError, to go on without a C++ compiler, or where torch cannot use it."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ValueError(
            "export: a .pt2 needs a C++ compiler, and there is none: install g++ (Debian: apt "
            "install g++), or name one with CXX"
        ) from error
    place = cache_dir()
    if len(place.split()) != 1:  # torch joins the compiler's words by blanks
        raise ValueError(
            f"export: torch compiles in {place}, and cannot where a name has blanks: name another "
            "folder with TORCHINDUCTOR_CACHE_DIR"
        )


def package_bytes(trained: Trained) -> bytes:
    """The content of a package for the CPU: clips to logits and probabilities.

    The inputs are those of `Traced`, for any number of clips, frames and subwords.

    Args:
        trained: the model, on the CPU.
    """
    traced = Traced(trained)
    any_size = tuple(dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in traced.axes().values())
    with torch.no_grad(), quiet():
        with without_fast_path():
            program = torch.export.export(traced, traced.example(), dynamic_shapes=(any_size,))
        return compiled(program, described(trained, traced))


def compiled(program: torch.export.ExportedProgram, said: dict[str, str]) -> bytes:
    """The content of a package of a program, with metadata.

    Raises:
        ValueError: the C++ compiler failed, as where the disk is full; says with what words.
    """
    configs = {
        "aot_inductor.metadata": said,
        # Else AOTI_RUNTIME_CHECK_INPUTS=1 would refuse fewer clips than were traced.
        "aot_inductor.check_lowerbound": False,
    }
    with tempfile.TemporaryDirectory(prefix="mesm-export-") as place:
        file = str(Path(place) / "model.pt2")
        try:
            torch._inductor.aoti_compile_and_package(
                program, package_path=file, inductor_configs=configs
            )
        except RuntimeError as error:
            if "C++ compile error" not in str(error):
                raise
            lines = [line for line in str(error).splitlines() if " error: " in line] or ["no word"]
            raise ValueError(
                f"export: the C++ compiler failed ({lines[0].strip()}); it needs room in "
                f"{tempfile.gettempdir()} and the system's memory; CXX names another compiler"
            ) from error
        return Path(file).read_bytes()
