from __future__ import annotations

import importlib

import pytest
import torch

from mesm_ops import extension


@pytest.fixture
def failing_with(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Let the next import of the extension raise what is put into this list."""
    errors: list[Exception] = []

    def import_module(name: str) -> None:
        assert name == "mesm_ops._C"
        raise errors.pop()

    monkeypatch.setattr(importlib, "import_module", import_module)
    return errors


def test_missing_says_how_to_build(failing_with: list[Exception]) -> None:
    failing_with.append(ModuleNotFoundError("no module", name="mesm_ops._C"))
    module, reason = extension._load.__wrapped__()
    assert module is None
    assert reason == f"the compiled extension mesm_ops._C is missing: {extension.BUILD_HINT}"


def test_one_that_does_not_load_says_why(failing_with: list[Exception]) -> None:
    failing_with.append(ImportError("undefined symbol: x"))
    module, reason = extension._load.__wrapped__()
    assert module is None
    assert reason is not None
    assert "does not load (undefined symbol: x)" in reason
    assert extension.BUILD_HINT in reason


def test_another_module_that_is_missing_is_not_hidden(failing_with: list[Exception]) -> None:
    failing_with.append(ModuleNotFoundError("no module", name="numpy"))
    with pytest.raises(ModuleNotFoundError):
        extension._load.__wrapped__()


def test_cuda_kernels_are_missing_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert extension.cuda_missing.__wrapped__() in (
        "no CUDA kernels were built",
        "torch finds no CUDA device",
    )


@pytest.mark.parametrize(
    ("found", "device", "capability", "reason"),
    [
        (False, True, (9, 0), "triton is not installed: pip install triton"),
        (True, False, (9, 0), "torch finds no CUDA device"),
        (True, True, (7, 5), "the GPU is too old: compute capability 7.5, 8.0 or later is needed"),
        (True, True, (8, 0), None),
    ],
)
def test_why_triton_kernels_cannot_run(
    monkeypatch: pytest.MonkeyPatch,
    found: bool,
    device: bool,
    capability: tuple[int, int],
    reason: str | None,
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if found else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert extension.triton_missing.__wrapped__() == reason
