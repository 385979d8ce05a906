"""`python -m mesm_ops`: versions, build facts, and the backends that can run each op here."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import torch

from . import backends, extension


def describe() -> str:
    """Return the report, line by line."""
    lines = [
        f"mesm_ops {_version()}",
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}",
        f"GPU: {_gpus()}",
        *_build(),
        "",
        "Backends that can run each op here, the first chosen first:",
    ]
    width = max(map(len, backends.ops()))
    refused: dict[str, list[str]] = {}
    for op in backends.ops():
        reasons = {backend: backends.available(op, backend) for backend in backends.BACKENDS}
        able = [backend for backend, reason in reasons.items() if reason is None]
        lines.append(f"  {op:{width}}  {', '.join(able)}")
        for backend, reason in reasons.items():
            if reason is not None:
                refused.setdefault(f"{backend}: {reason.replace(op, 'the op')}", []).append(op)
    lines += ["", "Why the others cannot:"] if refused else []
    everything = len(backends.ops())
    for reason, names in refused.items():
        lines.append(f"  {'all ops' if len(names) == everything else ', '.join(names)}: {reason}")
    return "\n".join(lines)


def _version() -> str:
    try:
        return metadata.version("mesm")
    except metadata.PackageNotFoundError:
        return "(not installed: run from its source folder)"


def _gpus() -> str:
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        return f"none found (torch built for {built})" if built else "none (torch built without)"
    return ", ".join(
        f"{torch.cuda.get_device_name(i)} "
        f"(compute capability {'.'.join(map(str, torch.cuda.get_device_capability(i)))})"
        for i in range(torch.cuda.device_count())
    )


def _build() -> list[str]:
    compiled = extension.module()
    if compiled is None:
        return [f"Compiled extension: {extension.cpu_missing()}"]
    facts = ", ".join(f"{name} {value}" for name, value in compiled.build_info().items())
    return [f"Compiled extension: {facts}", f"Instruction set in use: {compiled.cpu_capability()}"]


if __name__ == "__main__":
    try:
        print(describe(), flush=True)
    except BrokenPipeError:  # as of `head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
