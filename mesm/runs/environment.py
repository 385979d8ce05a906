"""Where and with what a figure was measured."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("numpy", "transformers", "accelerate", "datasets")


def describe() -> dict[str, Any]:
    """Machine, threads, versions, how the kernels were built, and the commit of the sources."""
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "versions": versions,
        "kernels": _kernels(),
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """The commit the sources stand at, "+changes" where tracked files differ; None outside git."""
    folder = Path(__file__).parent
    head = _git(folder, "rev-parse", "HEAD")
    if head is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{head}+changes" if changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _kernels() -> dict[str, str] | None:
    """How the compiled kernels were built and what runs; None if there are none."""
    try:
        extension = importlib.import_module("mesm_ops._C")
    except ImportError:
        return None
    return {**extension.build_info(), "instruction_set": extension.cpu_capability()}


def _cpu_name() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
