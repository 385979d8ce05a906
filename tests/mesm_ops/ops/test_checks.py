"""Every refusal says what was wanted and what came."""

from __future__ import annotations

import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mesm_ops.ops import checks
from tests.mesm_ops.cases import make_case

CPU = torch.device("cpu")


def refused(message: str) -> pytest.RaisesExc[ValueError]:
    return pytest.raises(ValueError, match=re.escape(message))


def test_maps() -> None:
    x = make_case(1, 2, 3, 3, dtype=torch.float32).x
    checks.check_maps("op", x)
    with refused("op: x must be SparseFeatureMaps, got Tensor"):
        checks.check_maps("op", x.features)  # type: ignore[arg-type]
    with refused("torch.bfloat16, torch.float16, torch.float64, got torch.complex64"):
        checks.check_maps(
            "op", x._trusted(x.features.to(torch.complex64), x.sites, x.offsets, 3, 3)
        )


def test_a_tensor_of_another_shape_or_device() -> None:
    weight = torch.zeros(5, 3, 3, 3)
    checks.check_tensor("op", "weight", weight, ("Cout", 3, 3, 3), CPU)
    with refused("op: weight must be (Cout, 4, 3, 3) for 4 channels, got (5, 3, 3, 3)"):
        checks.check_tensor("op", "weight", weight, ("Cout", 4, 3, 3), CPU, "for {1} channels")
    with refused("op: bias must be (7,), got (5, 3, 3, 3)"):
        checks.check_tensor("op", "bias", weight, (7,), CPU)
    with refused("op: weight must be a tensor, got list"):
        checks.check_tensor("op", "weight", [1.0], (1,), CPU)  # type: ignore[arg-type]
    with refused("op: weight must be on meta as x, got cpu"):
        checks.check_tensor("op", "weight", weight, (5, 3, 3, 3), torch.device("meta"))


def test_a_dtype_after_autocast() -> None:
    x = make_case(1, 2, 3, 3, dtype=torch.float32).x
    half, double = torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.float64)
    with refused("op: w must be torch.float32 as x's features, got torch.bfloat16"):
        checks.check_dtype("op", "w", half, x)
    with torch.autocast("cpu", torch.bfloat16):
        checks.check_dtype("op", "w", half, x, autocast=True)
        with refused("got torch.bfloat16"):
            checks.check_dtype("op", "w", half, x)
        with refused("op: w must be torch.bfloat16 as x's features, got torch.float64"):
            checks.check_dtype("op", "w", double, x, autocast=True)


@pytest.mark.parametrize("p", [0.0, -1.0, 1.0001, float("nan")])
def test_p_outside(p: float) -> None:
    with refused(f"op: p must be in (0, 1], got {p}"):
        checks.check_p("op", p)
    checks.check_p("op", 1)
    checks.check_p("op", 1e-9)


def test_selection() -> None:
    for known in ("weighted", "hard", "straight_through"):
        checks.check_selection("op", known)
    with refused("op: selection must be 'weighted', 'hard' or 'straight_through', got 'soft'"):
        checks.check_selection("op", "soft")


def test_where_padding_is_dropped_and_values_are_known() -> None:
    real, meta = torch.zeros(1), torch.zeros(1, device="meta")
    assert checks.trims(real)
    assert not checks.trims(meta)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(real)
    assert [checks.values_are_known(t) for t in (real, meta, fake)] == [True, False, False]


def test_kinds_of_tensors() -> None:
    x, parameter = torch.zeros(2, 3), torch.nn.Parameter(torch.zeros(2, 3))
    kind = checks.kind_of((x, parameter))
    assert kind is not None
    assert kind == checks.kind_of((parameter, torch.ones(2, 3)))
    others: tuple[torch.Tensor, ...] = (
        *(torch.zeros(3, 2), torch.zeros(2, 3).half(), torch.zeros(2, 3, device="meta")),
        torch.zeros(2, 3).to_sparse(),
    )
    assert len({kind, *(checks.kind_of((x, other)) for other in others)}) == 5
    with torch.autocast("cpu", torch.bfloat16):
        assert checks.kind_of((x, parameter)) not in (kind, None)
    for unknown in ((x, None), (x, [1.0]), (x.to("meta"), x), (x.as_subclass(_Named), x)):
        assert checks.kind_of(unknown) is None
    with FakeTensorMode():
        assert checks.kind_of((torch.zeros(2),)) is None
    seen = []
    torch.jit.trace(lambda y: (seen.append(checks.kind_of((x,))), y + 1)[1], x, check_trace=False)
    assert seen == [None]


class _Named(torch.Tensor):
    pass
