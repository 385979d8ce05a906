"""The candidate sites of every block of a MESM, their attention, and the kept sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mesm.data.batch import Batch
from mesm.models import MESM
from mesm.models.sparse_extractor import BlockStep
from mesm_ops import SparseFeatureMaps


@dataclass(frozen=True)
class BlockAttention:
    """One block's attention over F frames, as grids of its input maps.

    Attributes:
        candidates: (F, h, w) bool, the active sites the block was given.
        attention: (F, h, w) float32, the softmax over each frame's candidates; 0 elsewhere.
        kept: (F, h, w) bool, the sites that are convolved.
    """

    candidates: NDArray[np.bool_]
    attention: NDArray[np.float32]
    kept: NDArray[np.bool_]

    def frames(self, start: int, end: int) -> BlockAttention:
        """The same of frames start to end."""
        part = slice(start, end)
        return BlockAttention(self.candidates[part], self.attention[part], self.kept[part])


def trace_attention(model: MESM, batch: Batch) -> dict[str, list[BlockAttention]]:
    """Run the extractors of a model in eval mode and record each block's attention.

    Returns:
        Per modality ("face", "audio") that the model looks at, its blocks in order.
    """
    with torch.inference_mode():
        return {name: [_grids(step) for step in steps] for name, steps in model.walk(batch).items()}


def _grids(step: BlockStep) -> BlockAttention:
    given = step.given
    candidates = given.mask()
    scores = SparseFeatureMaps(
        step.logits.float().unsqueeze(1), given.sites, given.offsets, given.height, given.width
    ).to_dense()[:, 0]
    masked = scores.masked_fill(~candidates, float("-inf")).flatten(1)
    # A frame without a candidate would be a softmax of nothing: NaN.
    attention = masked.softmax(dim=1).nan_to_num(0.0).view_as(scores)
    return BlockAttention(
        candidates.cpu().numpy(), attention.cpu().numpy(), step.kept.mask().cpu().numpy()
    )


def surviving_pixels(
    blocks: Sequence[BlockAttention], frame: int, height: int, width: int
) -> NDArray[np.bool_]:
    """The (height, width) pixels of one frame whose sites every attention kept."""
    kept = np.ones((height, width), dtype=bool)
    for block in blocks:
        mask = block.kept[frame]
        rows, columns = height // mask.shape[0], width // mask.shape[1]
        kept &= np.repeat(np.repeat(mask, rows, axis=0), columns, axis=1)
    return kept
