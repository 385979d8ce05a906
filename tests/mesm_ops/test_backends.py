from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mesm_ops import (
    SparseFeatureMaps,
    backends,
    explain,
    extension,
    sparse_max_pool2d,
    subm_conv2d,
    use_backend,
)
from tests.mesm_ops.cases import make_case


def maps(dtype: torch.dtype = torch.float32) -> SparseFeatureMaps:
    return make_case(2, 3, 4, 4, dtype=dtype).x


def weight(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(5, 3, 3, 3, dtype=dtype, requires_grad=True)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Register a kernel of a further backend for one op, forward and backward."""
    seen: list[str] = []

    def kernel(op: str) -> Callable[..., Any]:
        reference = backends._kernels[op]["reference"].run

        def run(a: Any) -> Any:
            seen.append(op)
            return reference(a)

        return run

    def supports(a: Any) -> str | None:
        return "it takes float32 alone" if a[0].dtype != torch.float32 else None

    for op in ("subm_conv2d", "subm_conv2d_backward"):
        monkeypatch.setitem(backends._kernels, op, dict(backends._kernels[op]))
        backends.register(op, "triton", kernel(op), supports)
    return seen


def test_a_registered_kernel_is_chosen_where_it_can_run(calls: list[str]) -> None:
    subm_conv2d(maps(), weight()).features.sum().backward()
    assert calls == ["subm_conv2d", "subm_conv2d_backward"]
    subm_conv2d(maps(torch.float64), weight(torch.float64))  # "auto": another one takes it
    assert len(calls) == 2
    message = r"subm_conv2d: backend 'triton' cannot run: it takes float32 alone"
    with use_backend("triton"), pytest.raises(RuntimeError, match=message):
        subm_conv2d(maps(torch.float64), weight(torch.float64))


def test_the_backward_pass_runs_where_the_forward_pass_ran(calls: list[str]) -> None:
    with use_backend("reference"):
        out = subm_conv2d(maps(), weight()).features.sum()
    thread = threading.Thread(target=out.backward)  # as autograd's own threads on a GPU
    thread.start()
    thread.join()
    assert calls == []
    with use_backend("triton"):
        out = subm_conv2d(maps(), weight()).features.sum()
    with use_backend("reference"):
        out.backward()
    assert calls == ["subm_conv2d", "subm_conv2d_backward"]


def test_use_backend_nests_and_restores() -> None:
    assert backends.requested() == "auto"
    with use_backend("reference"):
        with contextlib.suppress(KeyError), use_backend("cpp"):
            assert backends.requested() == "cpp"
            raise KeyError
        assert backends.requested() == "reference"
        with use_backend("auto"):
            assert backends.requested() == "auto"
    assert backends.requested() == "auto"


def test_use_backend_holds_for_its_thread_alone() -> None:
    seen = []
    with use_backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(backends.requested()))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_use_backend_refuses_unknown_names() -> None:
    with pytest.raises(ValueError) as error:
        use_backend("cudnn")
    assert str(error.value) == (
        "use_backend: name must be one of auto, reference, cpp, triton, cuda, got 'cudnn'"
    )


def test_a_backend_that_cannot_run_says_why() -> None:
    with use_backend("triton"), pytest.raises(RuntimeError) as error:
        sparse_max_pool2d(maps())
    assert str(error.value) == (
        "sparse_max_pool2d: backend 'triton' cannot run: there is no triton kernel for "
        "sparse_max_pool2d"
    )
    with use_backend("triton"), pytest.raises(RuntimeError, match=r"'triton' cannot run: it "):
        subm_conv2d(maps(torch.float64), weight(torch.float64))
    with use_backend("cuda"), pytest.raises(RuntimeError) as error:
        sparse_max_pool2d(maps())
    assert str(error.value) == (
        "sparse_max_pool2d: backend 'cuda' cannot run: it runs on cuda tensors, got one on cpu"
    )
    with use_backend("cpp"), pytest.raises(RuntimeError) as error:
        subm_conv2d(maps(torch.float16), weight(torch.float16))
    assert str(error.value) == (
        "subm_conv2d: backend 'cpp' cannot run: it takes float32, bfloat16, float64, got float16"
    )


def test_register_refuses_unknown_backends() -> None:
    with pytest.raises(ValueError, match=r"backend must be one of cuda, triton, cpp, reference"):
        backends.register("subm_conv2d", "numpy", lambda a: None)


def test_explain_names_what_then_runs(calls: list[str]) -> None:
    assert explain("subm_conv2d", maps(), weight()).startswith("subm_conv2d: triton runs\n")
    assert "triton: can run" in explain("subm_conv2d")


WITHOUT_EXTENSION = """
import sys, warnings
sys.modules["mesm_ops._C"] = None  # as if it had not been built
import torch, mesm_ops

x = mesm_ops.SparseFeatureMaps.from_dense(torch.ones(1, 1, 2, 2))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with mesm_ops.use_backend("reference"):
        mesm_ops.sparse_max_pool2d(x)
    assert not caught, caught[0].message  # it was asked for
    for _ in range(2):
        assert mesm_ops.sparse_max_pool2d(x).features.tolist() == [[1.0]]
print(len(caught), caught[0].message)
print(mesm_ops.explain("sparse_max_pool2d"))
"""


def test_without_the_extension_all_runs_after_one_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTENSION], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    warning, *explanation = done.stdout.splitlines()
    missing = f"the compiled extension mesm_ops._C is missing: {extension.BUILD_HINT}"
    assert warning == f"1 mesm_ops runs on its slow reference backend; {missing}"
    assert "pip install -e ." in warning
    assert "make setup" in warning
    assert f"  cpp: {missing}" in explanation


def test_triton_kernels_say_what_they_do_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_kernels", {})
    backends.register_triton("some_op", (torch.float32, torch.bfloat16))
    kernel = backends._kernels["some_op"]["triton"]
    assert kernel.device == "cuda"  # so that "auto" never asks it about CPU tensors
    assert kernel.supports((torch.zeros(2),)) == "it runs on cuda tensors, got one on cpu"
    with use_backend("triton"):  # the tests' interpreter, on CPU tensors
        assert kernel.supports((torch.zeros(2), 3, None)) is None
        assert kernel.supports((3, torch.zeros(2, dtype=torch.float64))) == (
            "it takes float32, bfloat16, got float64"
        )
        large = torch.zeros(1).expand(2**16, 2**15)
        assert kernel.supports((large,)) == (
            "it takes tensors of fewer than 2^31 elements, got 2147483648"
        )


def test_a_known_call_on_a_gpu_is_not_chosen_for_again(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = backends.arguments_of("subm_conv2d", (maps(), weight()))
    known = backends._kernels["subm_conv2d"]["triton"]
    answers = iter([None, "again"] * 2)
    kernel = dataclasses.replace(known, again=lambda a: next(answers))
    monkeypatch.setitem(backends._kernels["subm_conv2d"], "triton", kernel)
    assert isinstance(backends.run("subm_conv2d", given), torch.Tensor)
    assert calls == ["subm_conv2d"]
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    assert isinstance(backends.run("subm_conv2d", given), torch.Tensor)
    assert backends.run("subm_conv2d", given) == "again"
    with use_backend("reference"):
        assert isinstance(backends.run("subm_conv2d", given), torch.Tensor)
    assert next(answers) is None
    assert calls == ["subm_conv2d"] * 2
