"""One forward pass or training step of a block, as a call to time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gate import autocast
from benchmarks.inputs import BlockCase
from benchmarks.measure import Run


def block_run(case: BlockCase, dtype: torch.dtype, train: bool) -> Run:
    """The sparse block's run, under autocast to `dtype`."""

    def forward(maps: Tensor) -> Tensor:
        features: Tensor = case.block(maps, case.query, case.lengths).features
        return features

    return _run(case.block.train(train), forward, forward, case.maps, dtype, train)


def dense_run(
    case: BlockCase,
    dtype: torch.dtype,
    train: bool,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Run:
    """The dense block's run; a compiled block is passed as `forward`."""
    rival = case.rival.train(train)
    return _run(rival, forward or rival, rival, case.maps, dtype, train)


def _run(
    module: nn.Module,
    forward: Callable[[Tensor], Tensor],
    example: Callable[[Tensor], Tensor],
    maps: Tensor,
    dtype: torch.dtype,
    train: bool,
) -> Run:
    """Inference without gradients; or forward and backward pass, as inside a network.

    `example` gives the shape of the result: calling a compiled `forward` would compile it twice.
    """
    device = maps.device.type

    @torch.no_grad()
    def infer() -> Any:
        with autocast(dtype, device):
            return forward(maps)

    if not train:
        return infer
    with torch.no_grad(), autocast(dtype, device):
        upstream = torch.randn_like(example(maps))
    leaf = maps.detach().requires_grad_()

    def step() -> None:
        module.zero_grad(set_to_none=True)
        leaf.grad = None
        with autocast(dtype, device):
            out = forward(leaf)
        out.backward(upstream)

    return step
