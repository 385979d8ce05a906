"""Every layer refuses what torch would do to it in vain."""

from __future__ import annotations

import pytest
import torch

from mesm_ops import (
    CrossModalAttention,
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseMaxPool2d,
    SubmConv2d,
)
from mesm_ops.layer import Layer, check_sizes

LAYERS = [
    CrossModalAttention(2, 3, 4),
    SparseBatchNorm(2),
    SparseCrossModalBlock(2, 3, 4, 5),
    SparseMaxPool2d(),
    SubmConv2d(2, 3),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_what_sparse_maps_cannot_have_is_refused_by_name(layer: Layer) -> None:
    name = type(layer).__name__
    with pytest.raises(RuntimeError, match=f"^{name}: torch.jit.script is not supported"):
        torch.jit.script(layer)
    for register in (
        layer.register_full_backward_hook,
        layer.register_full_backward_pre_hook,
        layer.register_backward_hook,
    ):
        with pytest.raises(RuntimeError, match=f"^{name}: backward hooks are not supported"):
            register(lambda *_: None)
    layer.register_forward_hook(lambda *_: None).remove()


@pytest.mark.parametrize("size", [0, -1, 2.0, "2", True, None])
def test_sizes_are_positive_integers(size: object) -> None:
    check_sizes(Layer(), channels=1)
    with pytest.raises(ValueError, match=r"^Layer: channels must be "):
        check_sizes(Layer(), outputs=2, channels=size)  # type: ignore[arg-type]
