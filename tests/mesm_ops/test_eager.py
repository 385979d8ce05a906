from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mesm_ops.eager import is_eager


def test_plain_code_is_eager_whatever_autograd_does() -> None:
    assert is_eager()
    with torch.no_grad():
        assert is_eager()
    with torch.inference_mode():
        assert is_eager()


def test_modes_and_transforms_are_not() -> None:
    with FlopCounterMode(display=False):
        assert not is_eager()
    with FakeTensorMode():
        assert not is_eager()
    seen = []

    def noted(x: torch.Tensor) -> torch.Tensor:
        seen.append(is_eager())
        return x.sum()

    torch.func.grad(noted)(torch.ones(2))
    torch.func.vmap(noted)(torch.ones(2, 2))
    assert seen == [False, False]
    assert is_eager()


def test_a_compiled_graph_is_not() -> None:
    @torch.compile(fullgraph=True, backend="eager")
    def run(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if is_eager() else x - 1

    assert torch.equal(run(torch.zeros(2)), torch.full((2,), -1.0))
