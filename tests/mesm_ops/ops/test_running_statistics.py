from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mesm_ops import (
    SparseCrossModalBlock,
    SparseFeatureMaps,
    sparse_cross_modal_block,
    use_backend,
)


def block() -> SparseCrossModalBlock:
    return SparseCrossModalBlock(3, 5, 6, 7)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(4, 3, 6, 7), torch.randn(2, 6), torch.tensor([1, 3])


@pytest.mark.parametrize("frames", [0, 3])
@pytest.mark.parametrize("training", [True, False])
def test_block_counts_batches_that_have_sites(backend: str, training: bool, frames: int) -> None:
    layer = block().train(training)
    x = SparseFeatureMaps.from_dense(torch.randn(frames, layer.conv1.weight.shape[1], 4, 4))
    norms = (layer.norm1, layer.norm2)
    stages = [
        (conv.weight, norm.parameter_tuple(x, counts=False))
        for conv, norm in zip((layer.conv1, layer.conv2), norms, strict=True)
    ]
    query = torch.randn(frames, layer.attention.query_proj.in_features)
    sparse_cross_modal_block(
        *(x, query, None, layer.attention.parameter_tuple(), tuple(stages), 0.5),
        batches=tuple(norm.num_batches_tracked for norm in norms),
    )
    assert [int(norm.num_batches_tracked) for norm in norms] == [training and frames > 0] * 2


def odd_statistics(layer: SparseCrossModalBlock, how: str) -> None:
    one, two = layer.norm1, layer.norm2
    if how == "strided":
        every = torch.zeros(5, 4)
        every[:, 1] = every[:, 3] = 1
        one.running_mean, one.running_var, two.running_mean, two.running_var = every.T
    elif how == "a momentum for each channel":
        one.momentum = torch.linspace(0, 1, 5)
    elif how == "a momentum of NumPy's":
        one.momentum = two.momentum = np.float64(0.3)
        two.eps = np.float64(1e-3)
    elif how == "one norm twice":
        layer.norm2 = one


@pytest.mark.parametrize(
    "how", ["strided", "a momentum for each channel", "a momentum of NumPy's", "one norm twice"]
)
def test_running_statistics_of_any_kind_move_as_the_reference_moves_them(
    backend: str, how: str
) -> None:
    maps, query, lengths = inputs()
    state, found = block().state_dict(), []
    for chosen in (backend, "reference"):
        layer = block()
        layer.load_state_dict(state)
        odd_statistics(layer, how)
        with use_backend(chosen):
            layer(maps, query, lengths)
        norms = (layer.norm1, layer.norm2)
        found.append([t.clone() for n in norms for t in (n.running_mean, n.running_var)])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_graph_notices_that_running_statistics_moved(backend: str) -> None:
    layer = block()
    weight = torch.ones(5, requires_grad=True)
    penalty = (layer.norm1.running_mean * weight).sum()
    layer(*inputs())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        penalty.backward()
