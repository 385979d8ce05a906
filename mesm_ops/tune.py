"""Measures which kernels win on this machine's GPU, and keeps the choices for later runs.

    python -m mesm_ops.tune                     # a minute; writes to the user's cache folder
    python -m mesm_ops.tune --shapes 96x192 192x192

Each kind of kernel is measured in a process of its own with a time limit: a process that crashes or
never ends loses its rows, and the plain Triton kernels are taken instead.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .triton.parts.choice import Choice
    from .triton.parts.rulebook import Rulebook

__all__ = ["measure", "tune", "write_table"]

SHAPES = ("64x128", "128x128", "128x256", "256x256", "256x512", "512x512")
KERNELS = (("convolution", False), ("convolution", True), ("weight_gradient", False))
_DTYPES = (torch.bfloat16, torch.float32)
_FRAMES, _SITES = 128, 24  # frames, and the height and width of each; half of the sites are active
_REPEATS, _ROUNDS = 5, 11
_SECONDS = 60.0  # a process that gives no row for so long is stopped

Row = dict[str, Any]


def measure(kind: str, shapes: tuple[str, ...] = SHAPES) -> Iterator[Row]:
    """Time the kernels of one kind; yield each as soon as measured.

    Args:
        kind: "hopper" or "plain".
        shapes: Input and output channels, as "96x192".
    """
    from .triton.parts.choice import possible

    capability = torch.cuda.get_device_capability()
    rules = _rules()
    for dtype in _DTYPES:
        for shape in shapes:
            cin, cout = (int(number) for number in shape.split("x"))
            products = _Products(rules, dtype, cin, cout)
            for kernel, transposed in KERNELS:
                given = (cout, cin) if transposed else (cin, cout)
                for choice in possible(kernel, dtype, *given, capability):
                    if choice.hopper != (kind == "hopper"):
                        continue
                    yield {
                        "kernel": kernel,
                        "itemsize": dtype.itemsize,
                        "transposed": transposed,
                        "cin": given[0],
                        "cout": given[1],
                        "hopper": choice.hopper,
                        "us": _microseconds(
                            functools.partial(products.run, kernel, transposed, choice)
                        ),
                    }


def _rules() -> Rulebook:
    """Return the rulebook of frames of which half of the sites are active, at random."""
    from .triton.parts.rulebook import Rulebook, place_rows

    mask = torch.rand(_FRAMES, _SITES**2, generator=torch.Generator().manual_seed(0)) < 0.5
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)]).int().cuda()
    sites = mask.nonzero()[:, 1].int().cuda()
    _, lists, masks = place_rows(sites, offsets, _SITES, _SITES)
    return Rulebook(lists, masks, offsets[-1:].clone(), None)


class _Products:
    """The three products of one convolution, on random rows."""

    def __init__(self, rules: Rulebook, dtype: torch.dtype, cin: int, cout: int) -> None:
        from .triton.parts.tiles import TILE
        from .triton.parts.weight_gradient import tap_tiles

        rows = rules.masks.shape[0] * TILE
        self.rules, self.taps = rules, tap_tiles(rules)
        self.narrow, self.wide = (
            torch.randn(rows, channels, device="cuda").to(dtype) for channels in (cin, cout)
        )
        self.weight = torch.randn(9, cin, cout, device="cuda").to(dtype)
        self.grad = torch.empty(cout, cin, 3, 3, device="cuda")

    def run(self, kernel: str, transposed: bool, choice: Choice) -> None:
        """Run one of the products, overwriting its output."""
        from .triton.parts.convolution import convolve
        from .triton.parts.finish import finish
        from .triton.parts.weight_gradient import weight_gradient

        rules, narrow, wide = self.rules, self.narrow, self.wide
        if kernel == "weight_gradient":
            finish(weight_gradient(narrow, wide, rules, self.taps, self.grad, choice=choice))
        elif transposed:
            convolve(wide, rules, self.weight, narrow, transposed=True, choice=choice)
        else:
            convolve(narrow, rules, self.weight, wide, choice=choice)


def _microseconds(run: Callable[[], None]) -> float:
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times: list[float] = []
    for _ in range(_ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(_REPEATS):
            run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / _REPEATS)
    return statistics.median(times)


def tune(shapes: tuple[str, ...] = SHAPES) -> list[Row]:
    """Measure every kind of kernel in a process of its own; return the rows of all processes."""
    rows: list[Row] = []
    for kind in ("plain", "hopper"):
        command = [sys.executable, "-m", "mesm_ops.tune", "--kind", kind, "--shapes", *shapes]
        with ExitStack() as stack:
            # Ctrl-C is this process's to tell: in a session of its own, the other gets none.
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            )
            stack.callback(process.kill)  # without effect where it has ended
            assert process.stdout is not None
            selector = selectors.DefaultSelector()
            selector.register(process.stdout, selectors.EVENT_READ)
            last = time.monotonic()
            while process.poll() is None or selector.select(0):
                if selector.select(1.0):
                    line = process.stdout.readline()
                    if not line:
                        break
                    rows.append(json.loads(line))
                    last = time.monotonic()
                    print(_described(rows[-1]), flush=True)
                elif time.monotonic() - last > _SECONDS:
                    process.kill()
                    print(f"{kind}: stopped after {_SECONDS:.0f} s without a row", flush=True)
                    break
            if process.wait() not in (0, -9):
                print(f"{kind}: ended with status {process.returncode}", flush=True)
    return rows


def _described(row: Row) -> str:
    kind = "hopper" if row["hopper"] else "plain"
    turned = " transposed" if row["transposed"] else ""
    shape = f"{row['cin']}→{row['cout']}{turned}, {8 * row['itemsize']} bits"
    return f"{row['kernel']} {shape}, {kind}: {row['us']:.1f} µs"


def write_table(rows: list[Row], path: Path) -> None:
    """Write which kernel won for each shape, and by how much, in the format of `parts.choice`.

    Args:
        rows: The rows of `tune`, at least one.
        path: The JSON file, replaced as a whole.

    Raises:
        ValueError: There are no rows; the file stays as it was.
    """
    import triton

    if not rows:
        raise ValueError(f"no kernel was measured, so {path} stays as it was")
    table: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "triton": ".".join(triton.__version__.split(".")[:2]),
    }
    for kernel in dict.fromkeys(kernel for kernel, _ in KERNELS):
        best: dict[tuple[Any, ...], Row] = {}
        for row in rows:
            key = (row["itemsize"], row["transposed"], row["cin"], row["cout"])
            if row["kernel"] == kernel and row["us"] < best.get(key, {"us": float("inf")})["us"]:
                best[key] = row
        table[kernel] = [
            {name: value for name, value in row.items() if name not in ("kernel", "us")}
            | {"us": round(row["us"], 1)}
            for row in best.values()
        ]
    beside = _beside(path)
    try:
        beside.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Return the file that is written first, in a folder that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.name}.{os.getpid()}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mesm_ops.tune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        default=SHAPES,
        metavar="CINxCOUT",
        help=f"input and output channels of the convolutions; default: {' '.join(SHAPES)}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the JSON file to write; default: that of this GPU in the user's cache folder",
    )
    parser.add_argument("--kind", choices=("plain", "hopper"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for shape in arguments.shapes:
        parts = shape.split("x")
        if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
            parser.error(f"a shape is CINxCOUT, as 64x128, got {shape!r}")
    if not torch.cuda.is_available():
        parser.error("no GPU: torch.cuda.is_available() is False; on a CPU nothing is chosen")
    if arguments.kind:
        for row in measure(arguments.kind, tuple(arguments.shapes)):
            print(json.dumps(row), flush=True)
        return
    from .triton.parts.choice import config_paths, gpu_name

    if arguments.out and arguments.out.is_dir():
        parser.error(f"--out must be a file, got the folder {arguments.out}")
    try:
        path = arguments.out or config_paths(gpu_name(torch.device("cuda", 0)))[0]
        beside = _beside(path)  # before a minute of measuring
        beside.touch()
        beside.unlink()
    except (OSError, RuntimeError) as error:
        parser.error(f"the table cannot be written: {error}; name a file with --out")
    try:
        rows = tune(tuple(arguments.shapes))
    except KeyboardInterrupt:
        parser.exit(130, f"stopped; {path} stays as it was\n")
    if not rows:
        parser.exit(1, f"no kernel was measured; {path} stays as it was\n")
    write_table(rows, path)
    print(path)


if __name__ == "__main__":
    main()
