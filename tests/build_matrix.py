"""`make build-matrix`: csrc and the Triton kernels under every torch and Triton that is allowed.

For each torch, its wheel is downloaded and its headers and libraries are taken out. csrc, CUDA
files too, is compiled against the headers, and every symbol that it leaves open must be defined in
the libraries, by Python or by the system. Each Triton that one of these torches requires is
installed into a folder of its own, and `benchmarks.gpu_check` compiles all Triton kernels with it.

    python tests/build_matrix.py
    python tests/build_matrix.py --torch 2.11.0 --triton 3.8.0    # these alone

Needs the network, nvcc, 3 GB of disk and about half an hour on 2 cores, but no GPU: nothing is
loaded or run under these versions.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from csrc import build  # noqa: E402

# The last of each minor version that pyproject.toml allows.
TORCHES = ("2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.14.1", "2.15.0")
ARCH = "90"  # one architecture is enough: headers of torch and Triton's language know of none
TAKEN = re.compile(
    r"torch/(include/.*|version\.py|lib/lib(torch|torch_cpu|torch_cuda|c10|c10_cuda)\.so)"
)


def pip(*arguments: str) -> None:
    """Run pip, whatever versions this machine is held to."""
    command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, env={**os.environ, "PIP_CONSTRAINT": os.devnull})


def fetch_torch(version: str, folder: Path) -> tuple[build.Torch, str]:
    """Unpack into a folder what a build needs of a torch; return it and the Triton it requires."""
    wheels = folder / "wheels"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    pip(
        *("download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--implementation=cp"),
        *(f"--python-version={python}", f"--abi=cp{python.replace('.', '')}"),
        *(f"--platform=manylinux_2_28_{platform.machine()}", f"--dest={wheels}"),
        f"torch==={version}",  # the build with CUDA: a CPU build's version ends in +cpu
    )
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(folder, [name for name in names if TAKEN.fullmatch(name)])
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        required = re.search(r"\nRequires-Dist: triton([^;\s]+)", archive.read(metadata).decode())
    wheel.unlink()
    assert required is not None, f"torch {version} requires no triton"
    return build.find_torch(folder / "torch"), required[1]


def symbols(library: Path, kind: str) -> set[str]:
    """Return a library's dynamic symbols: those --defined-only or --undefined-only."""
    command = ["nm", "-D", kind, str(library)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = (line.split()[-2:] for line in listed.splitlines())
    return {name.partition("@")[0] for letter, name in found if letter not in "wv"}  # weak ones


def open_symbols(library: Path) -> set[str]:
    """Return the symbols that a library needs and neither Python nor the system defines."""
    for name in ("libstdc++.so.6", "libgcc_s.so.1"):
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
    process = ctypes.CDLL(None)
    return {name for name in symbols(library, "--undefined-only") if not hasattr(process, name)}


def check_torch(version: str, folder: Path) -> tuple[list[str], str]:
    """Compile against a torch; return what is wrong, and the Triton that this torch requires."""
    # A folder of its own: by its name ninja knows what to compile again.
    place = folder / f"torch-{version}"
    shutil.rmtree(place, ignore_errors=True)
    torch, triton = fetch_torch(version, place)
    start = time.monotonic()
    objects = folder / "objects"  # of all versions, as the kernels include no torch
    with (
        (folder / f"torch-{version}.txt").open("w") as log,
        contextlib.redirect_stdout(log),
        build.locked(objects),
    ):
        build.write_ninja(torch, objects, cuda=True)
        try:
            build.run_ninja(objects)
        except build.CompileError as error:
            return [f"torch {version}: {error}"], triton
    libraries = sorted((torch.folder / "lib").glob("*.so"))
    defined = {library.name: symbols(library, "--defined-only") for library in libraries}
    problems, used = [], []
    for module in (build.LIBRARY, "_cuda.so"):
        wanted = open_symbols(objects / module)
        missing = sorted(wanted.difference(*defined.values()))
        problems += [f"torch {version}: {module} needs {name}" for name in missing]
        counts = {name: len(wanted & there) for name, there in defined.items()}
        where = [f"{count} in {name}" for name, count in counts.items() if count]
        used.append(f"{module} uses {', '.join(where)}")
    took = time.monotonic() - start
    print(f"torch {torch.version} compiled in {took:.0f} s; {'; '.join(used)}", flush=True)
    shutil.rmtree(place)
    return problems, triton


def check_triton(version: str, folder: Path) -> list[str]:
    """Compile every Triton kernel with a Triton; return what is wrong."""
    target, log = folder / "triton", folder / f"triton{version}.txt"
    shutil.rmtree(target, ignore_errors=True)
    pip("install", "--no-deps", "--no-cache-dir", f"--target={target}", f"triton{version}")
    paths = {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{ROOT}"}
    # A cache would name the configurations once chosen, and the others were not compiled.
    paths["TRITON_CACHE_DIR"] = str(target / "cache")
    asked = [sys.executable, "-c", "import triton; print('triton', triton.__version__)"]
    name = subprocess.check_output(asked, env=paths, text=True).strip()
    start = time.monotonic()
    command = ["-m", "benchmarks.gpu_check", "--only", "triton", "--arch", f"sm_{ARCH}"]
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=paths, stdout=file, stderr=file, check=False
        )
    took = time.monotonic() - start
    shutil.rmtree(target)
    lines = log.read_text().splitlines()
    summary = next((line for line in lines if " compiled kernels " in line), "nothing compiled")
    print(f"{name} in {took:.0f} s: {summary}", flush=True)
    failures = [line for line in lines if line.startswith(("FAILS", "PROBLEM"))]
    slow = [line for line in failures if "spills" in line]  # compiles; `make gpu-check` judges it
    for line in slow:
        print(f"  {line}", flush=True)
    if done.returncode and not failures:
        failures = [f"exit code {done.returncode}; {log}"]
    return [f"{name}: {line}" for line in failures if line not in slow]


def check(torches: list[str], tritons: list[str], folder: Path) -> Iterator[str]:
    """Check these versions, or where none are named all; yield what is wrong."""
    os.environ["MESM_OPS_CUDA_ARCHS"] = ARCH
    os.environ["NVCC_APPEND_FLAGS"] = "-Xptxas=-O0"  # what it optimises knows nothing of torch
    folder.mkdir(parents=True, exist_ok=True)
    required = dict.fromkeys(f"=={version}" for version in tritons)
    for version in torches if torches or tritons else TORCHES:
        problems, triton = check_torch(version, folder)
        yield from problems
        if not (torches or tritons):
            required.setdefault(triton)
    for version in required:
        yield from check_triton(version, folder)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--torch", action="append", default=[], help="may be given several times")
    parser.add_argument("--triton", action="append", default=[], help="may be given several times")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix")
    arguments = parser.parse_args()
    problems = list(check(arguments.torch, arguments.triton, arguments.folder))
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
