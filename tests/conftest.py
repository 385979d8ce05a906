"""Shared by all tests: seeds, threads, backends."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton

import mesm_ops
from mesm_ops import backends

# `from tests.oracle import ...` works however pytest was started.
sys.path.insert(0, str(Path(__file__).parent.parent))

# A job that a script puts into the background ignores Ctrl-C and hands that on; tests send it.
_in_main_thread = threading.current_thread() is threading.main_thread()
if _in_main_thread and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run: a red test stays red, and says which example it was.
hypothesis.settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("fixed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: no process then waits for one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


CPU_BACKENDS = [
    name for name in ("reference", "cpp") if backends.available("subm_conv2d", name) is None
]


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def compiled_anew() -> Iterator[None]:
    """A file's tests compile as if they were alone: torch limits how often a function may be."""
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Test processes run side by side; a test of threads sets its own number."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def interpreter_as_a_gpu() -> Iterator[None]:
    """Each access to memory of an interpreted Triton kernel is checked, in every test."""
    if importlib.util.find_spec("triton") is None:
        yield
        return
    from tests.interpreter import as_a_gpu

    with as_a_gpu():
        yield


@pytest.fixture(params=CPU_BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once on each backend that this machine's CPU has."""
    with mesm_ops.use_backend(request.param):
        yield request.param
