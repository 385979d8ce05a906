"""Checks that a node of a cluster makes of itself before it works."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from mesm.runs.hashes import sha256
from mesm.runs.storage import Store
from mesm_ops import extension

T = TypeVar("T")
R = TypeVar("R")
# Other versions of these may give other bytes.
PACKAGES = (
    *("torch", "numpy", "scipy", "av", "pillow", "pyarrow", "soxr", "soundfile", "librosa"),
    *("accelerate", "pysptk", "safetensors", "tokenizers", "transformers"),
)


class NodeError(ValueError):
    """A node that cannot do the work as this machine would."""


@dataclass(frozen=True)
class Place:
    """Where a command works, as a node must find it.

    Attributes:
        folder: the command's working directory, which relative paths start from.
        shared: the folder that all nodes must see.
        content: of the token in it, the file that every node must read; of this command alone.
        inputs: files and folders that must be there.
        versions: of `versions`, on this machine.
    """

    folder: str
    shared: Path | Store
    content: str
    inputs: tuple[Path | Store, ...]
    versions: tuple[tuple[str, str], ...]

    @property
    def token(self) -> str:
        """The token's name, of this command alone: others may share the folder."""
        return f".cluster-{self.content[:16]}.partial"


def is_token(name: str) -> bool:
    """Whether a file is a command's token, which a killed command leaves behind."""
    return fnmatch(name, ".cluster*.partial")


@functools.cache
def versions() -> tuple[tuple[str, str], ...]:
    """Name and version of all that a result depends on; of mesm, a hash of its sources."""
    found = [("Python", platform.python_version())]
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    package = Path(__file__).parent.parent
    sources = hashlib.sha256()
    for file in sorted([*package.rglob("*.py"), *(package.parent / "mesm_ops").rglob("*.py")]):
        sources.update(file.relative_to(package.parent).as_posix().encode() + file.read_bytes())
    return (*found, *_kernels(), ("mesm", sources.hexdigest()[:12]))


def _kernels() -> list[tuple[str, str]]:
    """How the kernels were compiled, and a hash of every library of them; nothing if not built."""
    compiled = extension.module()
    if compiled is None:
        return []
    folder = Path(extension.__file__).parent
    libraries = [*folder.glob("libmesm_ops*.so"), *folder.glob("_cuda*.so")]
    return [
        *((f"kernels' {name}", value) for name, value in sorted(compiled.build_info().items())),
        *((file.name, sha256(file)[:12]) for file in sorted(libraries)),
    ]


def kind_of_cpu() -> str:
    """The machine's kind and its instruction set, as torch names them."""
    import torch

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def _checked(place: Place) -> None:
    """Refuse, on a node, work that would not be done as the command's machine would do it."""
    node = platform.node()
    there = dict(place.versions)
    here = dict(versions())
    for name in {**there, **here}:
        if there.get(name) != here.get(name):
            has = f"{name} {here[name]}" if name in here else f"no {name}"
            raise NodeError(
                f"node {node} has {has}, this machine {there.get(name, 'none')}: install the same "
                "on both, and start the node again"
            )
    with suppress(OSError):  # without it, only relative paths lead nowhere
        os.chdir(place.folder)
    if _token(place) != place.content:
        raise NodeError(
            f"node {node} does not see {_shown(place.shared)} as this machine does: name a folder "
            "of a file system that all nodes share"
        )
    for one in place.inputs:
        if not (one.files() if isinstance(one, Store) else one.exists()):
            raise NodeError(
                f"node {node} does not see {_shown(one)}: put it on a file system that all nodes "
                "share"
            )


def _token(place: Place) -> str | None:
    if isinstance(place.shared, Store):
        return (place.shared.read(place.token) or b"").decode()
    try:
        return (place.shared / place.token).read_text(encoding="utf-8")
    except OSError:
        return None


def _shown(place: Path | Store) -> str:
    return place.url if isinstance(place, Store) else str(place)


def about(place: Place) -> str:
    """Check a node, on it; gives the kind of its CPU."""
    _checked(place)
    return kind_of_cpu()


def call(place: Place, work: Callable[[T], R], item: T) -> R:
    """Do a unit of work, on a node."""
    _checked(place)
    return work(item)
