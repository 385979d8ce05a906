"""Arguments as others that were found right are not checked again; no others pass for those."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mesm_ops import SparseCrossModalBlock
from mesm_ops.ops import block_arguments as module
from mesm_ops.ops.block_arguments import arguments_of_block
from tests.mesm_ops.cases import make_case

Given = dict[str, Any]


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    module._fitting.clear()
    yield
    module._fitting.clear()


def given(training: bool = True) -> Given:
    x = make_case(3, 4, 5, 6, 0.6, torch.float32).x
    block = SparseCrossModalBlock(4, 6, 5, 7).train(training)
    _, query, lengths, attention, stages, p, selection = block.op_arguments(
        x, torch.randn(2, 5), torch.tensor([1, 2])
    )
    return {
        **{"x": x, "query": query, "lengths": lengths, "attention": attention},
        **{"stages": stages, "p": p, "selection": selection},
    }


def norm(**changes: Any) -> Callable[[Given], Given]:
    """Change the second norm."""

    def change(a: Given) -> Given:
        first, (weight, norm) = a["stages"]
        made = {name: c(norm) if callable(c) else c for name, c in changes.items()}
        return a | {"stages": (first, (weight, norm._replace(**made)))}

    return change


def weight(change: Callable[[Tensor], Any]) -> Callable[[Given], Given]:
    def changed(a: Given) -> Given:
        (weight, norm), second = a["stages"]
        return a | {"stages": ((change(weight), norm), second)}

    return changed


def attention(name: str, change: Callable[[Tensor], Any]) -> Callable[[Given], Given]:
    def changed(a: Given) -> Given:
        part = a["attention"]
        return a | {"attention": part._replace(**{name: change(getattr(part, name))})}

    return changed


FAULTS: dict[str, Callable[[Given], Given]] = {
    "weight's shape": weight(lambda t: t[:, :3]),
    "weight's dtype": weight(lambda t: t.double()),
    "weight's device": weight(lambda t: t.to("meta")),
    "weight's layout": weight(lambda t: t.detach().to_sparse()),
    "weight's type": weight(lambda t: t.tolist()),
    "map_weight's shape": attention("map_weight", lambda t: t[:5]),
    "score_bias's dtype": attention("score_bias", lambda t: t.half()),
    "query's shape": lambda a: a | {"query": a["query"][:, :4]},
    "query's dtype": lambda a: a | {"query": a["query"].bfloat16()},
    "lengths's shape": lambda a: a | {"lengths": a["lengths"][:1]},
    "lengths's dtype": lambda a: a | {"lengths": a["lengths"].float()},
    "no lengths": lambda a: a | {"lengths": None},
    "x's channels": lambda a: a | {"x": make_case(3, 5, 5, 6, 0.6, torch.float32).x},
    "x's dtype": lambda a: a | {"x": make_case(3, 4, 5, 6, 0.6, torch.float64).x},
    "x's height": lambda a: a | {"x": make_case(3, 4, 1, 6, 0.6, torch.float32).x},
    "p": lambda a: a | {"p": 1.5},
    "selection": lambda a: a | {"selection": "soft"},
    "selection's type": lambda a: a | {"selection": ["weighted"]},
    "running_mean's shape": norm(running_mean=lambda n: n.running_mean[:5]),
    "one tensor twice": norm(running_var=lambda n: n.running_mean),
    "one memory twice": norm(running_var=lambda n: n.running_mean.view(-1)),
    "training": norm(training=1),
    "eps": norm(eps=-1e-5),
    "eps is not finite": norm(eps=math.nan),
    "eps's type": norm(eps="1e-5"),
    "momentum": norm(momentum=1.5),
    "momentum's shape": norm(momentum=lambda _: torch.ones(2)),
}


def message(a: Given) -> str:
    with pytest.raises(ValueError) as refused:
        arguments_of_block(**a)
    return str(refused.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_as_at_the_first_call(fault: str) -> None:
    right = given()
    wrong = FAULTS[fault](right)
    first = message(wrong)
    assert not module._fitting
    for _ in range(2):
        arguments_of_block(**right)
        assert message(wrong) == first
    assert len(module._fitting) == 1


def test_a_known_kind_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []
    for name in ("check_inputs", "_check_stages"):
        check = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, c=check: checks.append(c) or c(*a))
    for _ in range(3):
        found = arguments_of_block(**given())
    assert len(checks) == 2
    assert (found.eps1, found.eps2, found.training) == (1e-5, 1e-5, True)
    for other in (given(training=False), norm(eps=0.5)(given()), norm(eps=0.25)(given())):
        found = arguments_of_block(**other)
    assert len(checks) == 2 + 3 * 2
    assert found.eps2 == 0.25
    for _ in range(2):  # what is unusual is checked every time
        found = arguments_of_block(**norm(eps=0, momentum=torch.ones(1))(given()))
    assert len(checks) == 2 + 5 * 2
    assert found.eps2 == 0


def test_what_is_right_under_autocast_is_refused_without() -> None:
    mixed = attention("map_weight", lambda t: t.bfloat16())(given())
    with torch.autocast("cpu", torch.bfloat16):
        arguments_of_block(**mixed)
    assert "map_weight must be torch.float32" in message(mixed)
    with torch.autocast("cpu", torch.bfloat16):
        arguments_of_block(**mixed)


def test_kinds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_FITTING", 3)
    for number in range(8):
        arguments_of_block(**norm(eps=number / 8)(given()))
        assert len(module._fitting) <= 3
