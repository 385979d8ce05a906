"""An op that is defined with one call, here with arguments and results of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mesm_ops import backends, explain, use_backend
from mesm_ops.ops import registration
from mesm_ops.ops.direct import Op
from mesm_ops.reference import Selection, TritonState


class Doubling(NamedTuple):
    x: Tensor
    times: int
    selection: Selection
    other: Tensor | None
    state: TritonState


class DoublingResult(NamedTuple):
    x: Tensor
    state: TritonState
    twice: Tensor


def doubling(a: Doubling) -> DoublingResult:
    assert isinstance(a.selection, Selection)  # which torch hands over as a number
    more = 0 if a.other is None else a.other
    return DoublingResult(a.x * 2 * a.times + more, a.state.new_empty(0), a.x * 2)


def fake(a: Doubling) -> DoublingResult:
    return DoublingResult(torch.empty_like(a.x), a.state.new_empty(0), torch.empty_like(a.x))


def arguments(*tensors: Tensor | None, times: int = 3, selection: int = 1) -> tuple[Any, ...]:
    """Arguments in a flat order, as torch passes them."""
    x, other = (*tensors, None)[:2]
    return (x, times, selection, other, torch.empty(7, dtype=torch.int32))


@pytest.fixture(scope="module")
def op() -> Iterator[Op[Doubling, DoublingResult]]:
    kernels = dict(backends._kernels)
    yield registration.define_op(
        doubling,
        fake=fake,
        flops=lambda a, out: a.x.numel() * a.times + out.twice.numel(),
        autocast=("x",),
        cuda=True,
    )
    backends._kernels.clear()
    backends._kernels.update(kernels)


@pytest.fixture(scope="module")
def compiled(op: Op[Doubling, DoublingResult]) -> Iterator[list[Any]]:
    seen: list[Any] = []

    def kernel(
        x: Tensor, times: int, scales: bool, learns: bool, other: Tensor | None
    ) -> tuple[Tensor, ...]:
        seen.append((scales, learns))
        return x * 2 + 100, x * 3

    library = torch.library.Library("mesm_ops_cpp", "IMPL")
    library.impl("doubling", kernel, "CPU")
    yield seen
    library._destroy()


def test_without_a_compiled_kernel_the_reference_runs(op: Op[Doubling, DoublingResult]) -> None:
    a = Doubling(torch.ones(2), 3, Selection.HARD, None, torch.empty(7, dtype=torch.int32))
    assert backends.choose("doubling", a) == "reference"
    assert op(a).x.tolist() == [6, 6]
    assert op.overload(*a)[0].tolist() == [6, 6]
    assert "there is no triton kernel" in explain("doubling")
    assert explain("doubling", *arguments(torch.ones(2))).startswith("doubling: reference runs\n")


def test_schemas_follow_from_the_annotations(op: Op[Doubling, DoublingResult]) -> None:
    assert str(op.overload._schema) == (
        "mesm_ops::doubling(Tensor x, SymInt times, int selection, Tensor? other, Tensor state) "
        "-> (Tensor, Tensor, Tensor)"
    )
    for library in ("mesm_ops_cpp", "mesm_ops_cuda"):
        overload = getattr(torch.ops, library).doubling.default
        assert str(overload._schema) == (
            f"{library}::doubling(Tensor x, SymInt times, bool scales, bool learns, Tensor? other) "
            "-> (Tensor, Tensor)"
        )


def test_autocast_casts_what_is_named_and_flops_count(op: Op[Doubling, DoublingResult]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.autocast("cpu", torch.bfloat16):
        assert op.overload(*arguments(torch.ones(2)))[2].dtype == torch.bfloat16
        assert op.overload(*arguments(torch.ones(2), torch.ones(2)))[0].dtype == torch.float32
        assert op.overload(*arguments(torch.ones(2).double()))[0].dtype == torch.float64
    with FlopCounterMode(display=False) as counter:
        op.overload(*arguments(torch.ones(5)))
    assert counter.get_total_flops() == 5 * 3 + 5


def test_fakes_have_shapes(op: Op[Doubling, DoublingResult]) -> None:
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(op.overload, arguments(torch.ones(4)), test_utils=checks)


def test_a_compiled_kernel_takes_and_returns_less(
    op: Op[Doubling, DoublingResult], compiled: list[Any]
) -> None:
    kernel = backends._kernels["doubling"]["cpp"]
    kernel.available.cache_clear()  # the test above asked before the kernel was there
    a = Doubling(torch.ones(2), 3, Selection.WEIGHTED, None, torch.empty(7, dtype=torch.int32))
    others = (a._replace(selection=one) for one in (Selection.HARD, Selection.STRAIGHT_THROUGH))
    for out in (op.run(a), kernel.run(a), *map(op.run, others)):
        assert [one.tolist() for one in out] == [[102, 102], [], [3, 3]]
        assert out[1].dtype == torch.int32
    assert compiled == [(True, True), (True, True), (False, False), (False, True)]
    with use_backend("cpp"):
        assert op.overload(*a)[0].tolist() == [102, 102]
    with use_backend("reference"):
        assert op.overload(*a)[0].tolist() == [6, 6]


def test_a_kernel_that_is_no_op_is_defined_for_cuda_alone() -> None:
    schema = torch.ops.mesm_ops_cuda.place_scratch.default._schema
    assert [one.name for one in schema.arguments] == ["sites", "frames", "height", "width"]
    assert "place_scratch" not in backends.ops()
    assert not hasattr(torch.ops.mesm_ops, "place_scratch")
