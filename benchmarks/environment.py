"""The machine, the software and the sources of a measurement."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from mesm.runs.environment import describe

ROOT = Path(__file__).resolve().parents[1]
# A time depends on the sources in these folders.
MEASURED = ("benchmarks", "csrc", "mesm/models", "mesm_ops")
SOURCES = {".cpp", ".cu", ".cuh", ".h", ".json", ".py"}


def environment(device: str = "cpu") -> dict[str, Any]:
    """Device, threads, versions, how the kernels were built, and the commit.

    Args:
        device: "cpu" or "cuda"; for "cuda" with driver, libraries and torch's settings.
    """
    facts = describe()
    found: dict[str, Any] = {
        "device": device,
        "name": device_name(device),
        "cpu": facts["cpu"],
        "cores": facts["cores"],
        "threads": facts["threads"],
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": facts["versions"]["python"],
        "torch": facts["versions"]["torch"],
        "git_commit": facts["commit"] or "unknown",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "mesm_ops": facts["kernels"] or "reference only",
    }
    return found | (_gpu() if device == "cuda" else {})


def device_name(device: str) -> str:
    """The GPU's own name, or the processor's."""
    return torch.cuda.get_device_name() if device == "cuda" else str(describe()["cpu"])


def sources_digest() -> str:
    """Twelve hexadecimal digits that change with any source that is measured or measures."""
    digest = hashlib.sha256()
    for folder in MEASURED:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SOURCES and "results" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _gpu() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "triton": _version("triton"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "cudnn": torch.backends.cudnn.allow_tf32,
        },
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
    }


def _version(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    return str(importlib.import_module(package).__version__)


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip().splitlines()[0]
