"""`pytest benchmarks --benchmark-only`: the sparse block and models against dense PyTorch.

    pytest benchmarks --benchmark-only                      # at most 5 minutes on 2 cores
    pytest benchmarks --benchmark-only --device cpu         # where there is a GPU, too
    pytest benchmarks --benchmark-only --full               # every row, more rounds, half an hour
    pytest benchmarks/test_rivals.py --benchmark-only --full          # other rivals than dense
    pytest benchmarks --benchmark-only --results benchmarks/results/cpu-NAME.json

Where there is a GPU, the GPU is measured: 512 frames instead of 32, both sides replayed from CUDA
graphs. Publish only numbers of a machine that does nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

# pytest's importlib mode leaves sys.path alone, and this package is not installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.environment import environment
from benchmarks.gate import error_line
from benchmarks.measure import Clock, Run, compare, in_turns, replayable
from benchmarks.report import table, write_json
from benchmarks.rivals import SPCONV, spconv_missing
from benchmarks.shapes import FRAMES
from mesm.runs.memory import keep_freed_pages

Rows = list[dict[str, Any]]
ROWS = pytest.StashKey[Rows]()
PAGES = pytest.StashKey[bool]()
CLOCK = pytest.StashKey[Clock]()


class Playback:
    """A timer that reads out seconds measured before.

    pytest-benchmark's own loop knows one side; `measure` times all sides in turns, and this timer
    hands the times to pytest-benchmark.
    """

    def __init__(self) -> None:
        self._readings: list[float] = []

    def load(self, seconds: list[float]) -> None:
        """Let each of the next pairs of readings lie one of these times apart."""
        self._readings = [reading for each in seconds for reading in (0.0, each)]

    def __call__(self) -> float:
        """The next reading."""
        return self._readings.pop(0)

    __name__ = "times in turns"


PLAYBACK = Playback()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sparse against dense")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    group.addoption("--device", choices=tuple(FRAMES), default=default, help="what is measured")
    group.addoption("--full", action="store_true", help="every row, with more rounds")
    group.addoption("--results", type=Path, metavar="FILE", help="write the rows as JSON")
    group.addoption("--threads", type=int, help="torch's threads; default: as torch chooses")
    group.addoption("--budget", type=float, help="seconds after which rows take the fewest rounds")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []
    config.addinivalue_line("markers", "full: a benchmark that only runs with --full")
    # `report.table` has pytest-benchmark's columns, and the rival beside them.
    if not config.getoption("benchmark_verbose", True):
        config.option.benchmark_quiet = True
    # Else the side whose blocks lie on top of the heap pays for fresh pages, up to a third more.
    config.stash[PAGES] = keep_freed_pages()
    if config.getoption("--threads"):
        torch.set_num_threads(config.getoption("--threads"))
    if config.getoption("--device") == "cuda":
        if not torch.cuda.is_available():
            raise pytest.UsageError("--device cuda: torch finds no CUDA device")
        torch.backends.cudnn.benchmark = (
            True  # cuDNN tries its algorithms, as users commonly let it
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=PLAYBACK))

    def left_out(item: pytest.Item) -> bool:
        given = getattr(item, "callspec", None)
        rival = given.params.get("rival") if given else None
        other_device = rival == SPCONV and config.getoption("--device") != "cpu"
        full = item.get_closest_marker("full") is not None
        return other_device or (full and not config.getoption("--full"))

    later = [item for item in items if left_out(item)]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]


def pytest_collection_finish(session: pytest.Session) -> None:
    full = session.config.getoption("--full")
    budget = session.config.getoption("--budget") or (1800.0 if full else 210.0)
    session.config.stash[CLOCK] = Clock(budget, row_seconds=5.0 if full else 0.8)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """Where tensors lie: "cpu" or "cuda"."""
    return str(request.config.getoption("--device"))


@pytest.fixture
def frames(device: str) -> int:
    """How many maps a row has if its shape does not say so."""
    return FRAMES[device]


@pytest.fixture
def measure(request: pytest.FixtureRequest, benchmark: Any, device: str) -> Callable[..., None]:
    """`measure(facts, gate, ours, rival)`: check, then time in turns, then keep the row.

    `gate()` returns the error it found and raises `RedGate` where that is too much; then
    nothing is timed and the row says so.
    """
    config = request.config

    def run(
        facts: dict[str, Any],
        gate: Callable[[], float],
        ours: Run,
        rival: Run,
        weight: float = 1.0,
    ) -> None:
        row = {"rival": "dense", **facts, "threads": torch.get_num_threads()}
        config.stash[ROWS].append(row)
        try:
            if benchmark.disabled:
                raise RuntimeError("benchmarks were disabled, so there is nothing to compare")
            row["gate_error"] = gate()
            seconds = timed(ours, rival, weight)
            row |= compare(seconds["ours"], seconds["rival"])
        except BaseException as error:  # a time limit raises no Exception
            row["error"] = error_line(error)
            raise
        PLAYBACK.load(seconds["ours"])
        benchmark.pedantic(lambda: None, rounds=len(seconds["ours"]))
        benchmark.extra_info.update(row)

    def timed(ours: Run, rival: Run, weight: float) -> dict[str, list[float]]:
        runs = {"rival": replayable(rival, device)[0], "ours": replayable(ours, device)[0]}
        clock = config.stash[CLOCK]
        return in_turns(runs, device, lambda seconds: clock.rounds(seconds, weight))

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    facts = environment(config.getoption("--device"))
    facts["freed_pages_kept"] = config.stash[PAGES]
    write = terminalreporter.write_line
    terminalreporter.section("sparse against dense")
    write(f"{facts['name']}, {facts['threads']} threads, torch {facts['torch']}")
    write("ratio = rival's time / ours, medians of rounds in turns; below 1 the rival is faster.")
    write("Pairs a/b are ours/rival. 1 FLOP is one multiply or one add.")
    for line in table(rows):
        write(line)
    slower = [row for row in rows if row.get("ratio", 2.0) < 1]
    failed = [row for row in rows if "ratio" not in row]
    count = f"{len(rows)} rows: {len(slower)} slower than the rival"
    write(f"\n{count}, {len(failed)} without a ratio.")
    if config.getoption("--full") and (missing := spconv_missing()):
        write(missing)
    path = config.getoption("--results")
    if path:
        write_json(path, {"machine": facts, "rows": rows})
        write(f"Written to {path}")
