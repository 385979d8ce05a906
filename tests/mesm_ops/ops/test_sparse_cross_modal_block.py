from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps

LENGTHS = torch.tensor([1, 0, 2])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("selection", ["weighted", "hard"])
def test_gradcheck(backend: str, selection: str, training: bool) -> None:
    block = SparseCrossModalBlock(3, 4, 5, 3, p=0.6, selection=selection).double().train(training)
    torch.nn.init.normal_(block.attention.score.weight)
    names = [
        n for n, _ in block.named_parameters() if selection == "weighted" or "attention" not in n
    ]
    parameters = [block.get_parameter(name) for name in names]
    maps = torch.randn(3, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    query = torch.randn(3, 5, dtype=torch.float64, requires_grad=selection == "weighted")

    def run(maps: Tensor, query: Tensor, *values: Tensor) -> Tensor:
        # Statistics of its own for every call: in training they change.
        state = {name: buffer.clone() for name, buffer in block.named_buffers()}
        state |= dict(zip(names, values, strict=True))
        out: SparseFeatureMaps = functional_call(block, state, (maps, query, LENGTHS))
        return out.features

    assert torch.autograd.gradcheck(run, (maps, query, *parameters))


def test_is_its_two_halves(backend: str) -> None:
    block = SparseCrossModalBlock(3, 4, 5, 3).eval()
    maps, query = torch.randn(3, 3, 5, 6), torch.randn(3, 5)
    whole, halves = block(maps, query, LENGTHS), block.convolve(block.attend(maps, query, LENGTHS))
    assert torch.equal(whole.features, halves.features)
    assert torch.equal(whole.mask(), halves.mask())
