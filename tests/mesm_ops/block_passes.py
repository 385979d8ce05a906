"""Both passes of `mesm_ops::sparse_cross_modal_block` on a backend, with their results by name."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from mesm_ops import reference, use_backend

# The function sparse_cross_modal_block hides its module.
module = importlib.import_module("mesm_ops.ops.sparse_cross_modal_block")
FORWARD = torch.ops.mesm_ops.sparse_cross_modal_block
BACKWARD = torch.ops.mesm_ops.sparse_cross_modal_block_backward
# Results for the backward pass, which each backend lays out as only that backend reads.
OWN = ("y1", "y2", "argmax", "rulebook")


def forward(
    backend: str, a: reference.SparseCrossModalBlock
) -> reference.SparseCrossModalBlockResult:
    """Run the forward pass."""
    with use_backend(backend), torch.no_grad():
        return reference.SparseCrossModalBlockResult(*FORWARD(*a))


def backward(
    backend: str,
    a: reference.SparseCrossModalBlock,
    out: reference.SparseCrossModalBlockResult,
    grad: Tensor,
    needs: tuple[bool, bool] = (True, True),
) -> reference.SparseCrossModalBlockGradients:
    """Run the backward pass of a forward pass's arguments and results."""
    saved = module._saved(a, out)._replace(grad_out=grad)
    saved = saved._replace(needs_weight1=needs[0], needs_weight2=needs[1])
    with use_backend(backend), torch.no_grad():
        return reference.SparseCrossModalBlockGradients(*BACKWARD(*saved))


def both_passes(
    backend: str,
    a: reference.SparseCrossModalBlock,
    grad: Tensor | None,
    needs: tuple[bool, bool] = (True, True),
) -> dict[str, Tensor]:
    """Run the forward and, given the gradient of its features, the backward pass."""
    out = forward(backend, a)
    if grad is None:
        return out._asdict()
    grads = backward(backend, a, out, grad, needs)
    return out._asdict() | {f"grad of {name}": g for name, g in grads._asdict().items()}


def public(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the results that every backend gives alike."""
    return {name: tensor for name, tensor in results.items() if name not in OWN}
