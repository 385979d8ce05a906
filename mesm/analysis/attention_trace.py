"""What every block of a MESM had to choose from, how it weighed it, and what it kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mesm.data.batch import Batch
from mesm.models import MESM
from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps


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
    traced: dict[str, list[BlockAttention]] = {}
    with torch.inference_mode():
        query, staged = model.ask(batch)
        lengths = {"face": batch.face_lengths, "audio": batch.spectrogram_lengths}
        for name, extractor in model.sparse_extractors.items():
            traced[name] = []
            maps: Tensor | SparseFeatureMaps = staged[name]
            for block in extractor.blocks:
                assert isinstance(block, SparseCrossModalBlock)
                attended, selected = _attend(block, maps, query, lengths[name])
                traced[name].append(attended)
                maps = block.convolve(selected)
    return traced


def _attend(
    block: SparseCrossModalBlock,
    maps: Tensor | SparseFeatureMaps,
    query: Tensor,
    lengths: Tensor,
) -> tuple[BlockAttention, SparseFeatureMaps]:
    given = SparseFeatureMaps.from_dense(maps) if isinstance(maps, Tensor) else maps
    logits = block.attention.logits(given, query, lengths)
    candidates = given.mask()
    scores = SparseFeatureMaps(
        logits.float().unsqueeze(1), given.sites, given.offsets, given.height, given.width
    ).to_dense()[:, 0]
    masked = scores.masked_fill(~candidates, float("-inf")).flatten(1)
    # A frame without a candidate would be a softmax of nothing: NaN.
    attention = masked.softmax(dim=1).nan_to_num(0.0).view_as(scores)
    selected = block.attend(maps, query, lengths)
    grids = BlockAttention(
        candidates.cpu().numpy(), attention.cpu().numpy(), selected.mask().cpu().numpy()
    )
    return grids, selected


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
