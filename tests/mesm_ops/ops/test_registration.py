"""An op that is defined with one call, here with a name and schemas of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mesm_ops import backends, use_backend
from mesm_ops.ops import registration
from mesm_ops.ops.direct import Op


def double(x: Tensor, times: int) -> tuple[Tensor, Tensor]:
    return x * 2 * times, x.new_empty(0)


def returns_one(kernel: Any) -> Any:
    return lambda x, times: (kernel(x), x.new_empty(0))


@pytest.fixture(scope="module")
def op() -> Iterator[Op]:
    kernels = dict(backends._kernels)
    yield registration.define_op(
        "test_doubling",
        "(Tensor x, int times) -> (Tensor, Tensor)",
        reference=double,
        fake=lambda x, times: (torch.empty_like(x), x.new_empty(0)),
        flops=lambda x, times, **_: x.numel() * times,
        autocast=True,
        compiled_schema="(Tensor x) -> Tensor",
        adapt=returns_one,
    )
    backends._kernels.clear()
    backends._kernels.update(kernels)


@pytest.fixture(scope="module")
def compiled(op: Op) -> Iterator[None]:
    library = torch.library.Library("mesm_ops_cpp", "IMPL")
    library.impl("test_doubling", lambda x: x * 2 + 100, "CPU")
    yield
    library._destroy()


def test_without_a_compiled_kernel_the_reference_runs(op: Op) -> None:
    assert backends.choose("test_doubling", (torch.ones(2), 3)) == "reference"
    assert "no cuda" not in backends.explain("test_doubling")
    assert op.overload(torch.ones(2), 3)[0].tolist() == [6, 6]
    assert "there is no triton kernel" in backends.explain("test_doubling")


def test_autocast_casts_and_flops_count(op: Op) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.autocast("cpu", torch.bfloat16):
        assert op.overload(torch.ones(2), 1)[0].dtype == torch.bfloat16
        assert op.overload(torch.ones(2).double(), 1)[0].dtype == torch.float64
    with FlopCounterMode(display=False) as counter:
        op.overload(torch.ones(5), 3)
    assert counter.get_total_flops() == 15


def test_fakes_have_shapes(op: Op) -> None:
    torch.library.opcheck(
        op.overload, (torch.ones(4), 2), test_utils=("test_schema", "test_faketensor")
    )


def test_a_compiled_kernel_of_another_schema_is_adapted(op: Op, compiled: None) -> None:
    assert str(torch.ops.mesm_ops_cpp.test_doubling.default._schema).endswith(
        "(Tensor x) -> Tensor"
    )
    kernel = backends._kernels["test_doubling"]["cpp"]
    kernel.available.cache_clear()  # it was asked for before the kernel was there
    for out in (op.run((torch.ones(2), 3)), kernel.run(torch.ones(2), 3)):
        assert out[0].tolist() == [102, 102]
        assert out[1].shape == (0,)
    with use_backend("cpp"):
        assert op.overload(torch.ones(2), 3)[0].tolist() == [102, 102]
    with use_backend("reference"):
        assert op.overload(torch.ones(2), 3)[0].tolist() == [6, 6]


def test_a_kernel_that_is_no_op_is_defined_for_cuda_alone() -> None:
    schema = torch.ops.mesm_ops_cuda.top_p_select_neighbours.default._schema
    assert len(schema.returns) == 8
    assert "top_p_select_neighbours" not in backends.ops()
    assert not hasattr(torch.ops.mesm_ops, "top_p_select_neighbours")
