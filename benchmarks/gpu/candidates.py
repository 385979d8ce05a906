"""Which implementations of the convolution are measured beside each other.

Only the op, whichever kernels it chooses. Competing kernels join here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sites:
    """Where the rows of a convolution lie."""

    sites: Tensor  # (N,) int32, y * width + x
    offsets: Tensor  # (F + 1,) int32, the rows of each frame
    height: int
    width: int


class Candidate(Protocol):
    """A submanifold 3x3 convolution and its gradients."""

    def forward(self, features: Tensor, at: Sites, weight: Tensor) -> Tensor:
        """Rows (N, Cin) and weight (Cout, Cin, 3, 3) to rows (N, Cout)."""

    def input_gradient(self, grad: Tensor, features: Tensor, at: Sites, weight: Tensor) -> Tensor:
        """Gradient (N, Cout) of the result to the gradient of the features (N, Cin)."""

    def weight_gradient(self, grad: Tensor, features: Tensor, at: Sites, weight: Tensor) -> Tensor:
        """Gradient (N, Cout) of the result to the gradient of the weight (Cout, Cin, 3, 3)."""


class Op:
    """`torch.ops.mesm_ops.subm_conv2d` and its backward op, on the chosen backend."""

    def forward(self, features: Tensor, at: Sites, weight: Tensor) -> Tensor:
        """As `Candidate.forward`."""
        place = (at.sites, at.offsets, at.height, at.width)
        out: Tensor = torch.ops.mesm_ops.subm_conv2d(features, *place, weight, None)
        return out

    def input_gradient(self, grad: Tensor, features: Tensor, at: Sites, weight: Tensor) -> Tensor:
        """As `Candidate.input_gradient`."""
        return self._gradients(grad, features, at, weight, (True, False, False))[0]

    def weight_gradient(self, grad: Tensor, features: Tensor, at: Sites, weight: Tensor) -> Tensor:
        """As `Candidate.weight_gradient`."""
        return self._gradients(grad, features, at, weight, (False, True, False))[1]

    @staticmethod
    def _gradients(
        grad: Tensor, features: Tensor, at: Sites, weight: Tensor, needs: tuple[bool, bool, bool]
    ) -> tuple[Tensor, Tensor]:
        place = (at.sites, at.offsets, at.height, at.width)
        backward = torch.ops.mesm_ops.subm_conv2d_backward
        of_input, of_weight, _ = backward(grad, features, *place, weight, *needs)
        return of_input, of_weight


def candidates() -> dict[str, Candidate]:
    """All candidates, by the name in their rows."""
    return {"op": Op()}
