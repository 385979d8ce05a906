"""Where a GPU measurement was taken, and with what."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.cost_model import MACHINES, Machine
from benchmarks.report import cpu_model, machine

RESULTS = Path(__file__).parent / "results"


def device_name(device: str) -> str:
    """The GPU's own name, or the processor's."""
    return torch.cuda.get_device_name() if device == "cuda" else cpu_model()


def machine_of(device: str) -> Machine | None:
    """The cost model's figures for this GPU, if it has them."""
    name = device_name(device) if device == "cuda" else ""
    return next((m for m in MACHINES if m.name.split()[0] in name or m.name in name), None)


def default_results(device: str) -> Path:
    """`results/<gpu>-<date>.json`."""
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    return RESULTS / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json"


def environment(device: str) -> dict[str, Any]:
    """Device, driver, versions, torch's settings and the commit."""
    facts = machine(torch.get_num_threads()) | {"device": device, "name": device_name(device)}
    facts |= {
        "triton": _version("triton"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "cudnn": torch.backends.cudnn.allow_tf32,
        },
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
        }
    return facts


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
