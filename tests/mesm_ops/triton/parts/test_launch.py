"""A kernel that was launched before is launched again with the same code, and only then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mesm_ops.triton.parts import launch as module
from mesm_ops.triton.parts.launch import launch


class Kernel:
    """Stands for a kernel under @triton.jit, and records the launches."""

    def __init__(self, *constants: str) -> None:
        names = ("x", "y", "count", *constants)
        self.params = [SimpleNamespace(name=n, is_constexpr=n in constants) for n in names]
        self.__name__ = "kernel"
        self.first: list[tuple[Any, ...]] = []
        self.again: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def first(*args: Any, **constants: Any) -> Any:
            self.first.append((grid, *args))
            return SimpleNamespace(run=self.run, function=0, packed_metadata=0)

        return first

    def run(self, *args: Any) -> None:
        # Grid, stream, function, metadata and three hooks come before the kernel's own arguments.
        self.again.append((args[:3], *args[9:]))


@pytest.fixture(autouse=True)
def uninterpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERPRETED", False)
    monkeypatch.setattr(module, "_launches", {})
    active = SimpleNamespace(get_current_stream=lambda device: 7)
    monkeypatch.setattr(module, "driver", SimpleNamespace(active=active))


def aligned(dtype: torch.dtype = torch.float32, by: int = 0) -> Tensor:
    room = torch.zeros(64, dtype=torch.uint8)
    start = -room.data_ptr() % 16 + by
    return room[start : start + 16].view(dtype)


def test_the_second_launch_passes_addresses_and_the_grid() -> None:
    kernel, x = Kernel("C"), aligned()
    for rows in (5, 9):
        launch(kernel, (rows, 2), x, None, rows, C=3, num_warps=4)
    assert [args[0] for args in kernel.first] == [(5, 2)]
    assert kernel.again == [((9, 2, 1), x.data_ptr(), None, 9, None)]


def test_a_subclass_of_tensors_is_a_tensor() -> None:
    class Named(Tensor):
        pass

    kernel, x = Kernel("C"), aligned()
    for given in (x, x.as_subclass(Named)):
        launch(kernel, (1,), given, None, 5, C=3)
    assert kernel.again == [((1, 1, 1), x.data_ptr(), None, 5, None)]


@pytest.mark.parametrize(
    ("args", "constants"),
    [
        ((aligned(torch.float64), None, 5), {"C": 3}),
        ((aligned(by=4), None, 5), {"C": 3}),
        ((aligned(), aligned(), 5), {"C": 3}),
        ((aligned(), None, 1), {"C": 3}),
        ((aligned(), None, 32), {"C": 3}),
        ((aligned(), None, 2**31 + 1), {"C": 3}),
        ((aligned(), None, 5), {"C": 4}),
        ((aligned(), None, 5), {"C": 3, "num_warps": 8}),
        ((aligned(), None, 5), {"num_warps": 3}),
    ],
)
def test_what_would_be_compiled_otherwise_is_left_to_triton(
    args: tuple[Any, ...], constants: dict[str, Any]
) -> None:
    kernel = Kernel("C")
    launch(kernel, (1,), aligned(), None, 5, C=3)
    launch(kernel, (1,), *args, **constants)
    assert len(kernel.first) == 2
    launch(kernel, (1,), *args, **constants)
    assert len(kernel.again) == 1


def test_another_kernel_is_another() -> None:
    kernels = Kernel("C"), Kernel("C")
    for kernel in kernels:
        launch(kernel, (1,), aligned(), None, 5, C=3)
    assert [len(kernel.first) for kernel in kernels] == [1, 1]


def test_a_constant_is_given_by_name() -> None:
    with pytest.raises(TypeError, match="C is a constant: give it by name"):
        launch(Kernel("C"), (1,), aligned(), None, 5, 3)


def test_profilers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel("C")
    monkeypatch.setattr(module.knobs.runtime, "launch_enter_hook", print)
    for _ in range(2):
        launch(kernel, (1,), aligned(), None, 5, C=3)
    assert len(kernel.first) == 2


def test_other_numbers_are_taken_as_python_takes_them() -> None:
    kernel, x = Kernel("C"), aligned()
    for given in (5, np.int64(5)):
        launch(kernel, (1,), x, None, given, C=3)
    for given in (0.5, np.float64(0.5)):
        launch(kernel, (1,), x, None, given, C=3)
    assert [args[-2] for args in kernel.again] == [5, 0.5]
    assert [type(args[-2]) for args in kernel.again] == [int, float]


def test_numbers_of_32_bits_with_a_sign_are_not_longer_ones() -> None:
    kernel, x = Kernel("C"), aligned()
    launch(kernel, (1,), x, None, -1, C=3)
    launch(kernel, (1,), x, None, 2**31 + 15, C=3)
    assert len(kernel.first) == 2
