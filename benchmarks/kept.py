"""Which sites a block keeps, read from its own op while it runs.

`block.attend` runs other kernels than the block does, and their rounding may keep other sites.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

BLOCK_OP = "mesm_ops.sparse_cross_modal_block.default"
# Outputs of the op: row numbers of the kept sites among the candidates, and their CSR offsets.
ROWS, KEPT_OFFSETS = 7, 8


class KeptSites(TorchDispatchMode):
    """Records the sites that every block inside the `with` keeps.

    Attributes:
        masks: (F, H, W) bool of each block, in the order in which the blocks ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if str(func) == BLOCK_OP:
            names = (argument.name for argument in func._schema.arguments)
            given = dict(zip(names, args, strict=False)) | (kwargs or {})
            size = (given["height"], given["width"])
            self.masks.append(_mask(given["sites"], out[ROWS], out[KEPT_OFFSETS], *size))
        return out

    def only(self) -> Tensor:
        """The mask of the one block that ran.

        Raises:
            RuntimeError: no block ran as one op, or several blocks did.
        """
        if len(self.masks) != 1:
            raise RuntimeError(f"wanted one block that runs as {BLOCK_OP}, got {len(self.masks)}")
        return self.masks[0]


@torch.no_grad()
def kept_by(block: Any, maps: Tensor, query: Tensor, lengths: Tensor | None) -> Tensor:
    """Run a block once, under the caller's autocast; returns its kept sites (F, H, W) bool."""
    with KeptSites() as kept:
        block(maps, query, lengths)
    return kept.only()


def _mask(sites: Tensor, rows: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    frames = offsets.shape[0] - 1
    chosen = sites[rows[: int(offsets[-1])].long()].long()
    frame = torch.arange(frames, device=sites.device).repeat_interleave(offsets.diff())
    mask = torch.zeros(frames, height * width, dtype=torch.bool, device=sites.device)
    mask[frame, chosen] = True
    return mask.view(frames, height, width)
