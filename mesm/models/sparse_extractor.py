"""MESM's feature extractor: a dense first stage, then cross-modal sparse blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mesm.models.convolutions import FirstStage, channels_last
from mesm.models.entropy import normalised_entropy
from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps, top_p_select


class SparseExtractor(nn.Module):
    """The first stage stays dense; every further pair convolves only where the query looks.

    Args:
        in_channels: 3 for faces, 1 for spectrogram chunks.
        channels: widths of the first stage and of every block (64, 128, 256, 512).
        query_dim: length D of the query vector.
        attention_dims: attention width k of every block (64, 128, 256).
        p: share of the attention mass that every block keeps, in (0, 1].
        selection: "weighted" (the attention learns) or "hard" (as the authors' code).
        query_shuffle: share of clips that another clip's query asks in training.
        local_start: start the first stage's 3x3 convolutions as the identity.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        query_dim: int,
        attention_dims: Sequence[int],
        p: Sequence[float],
        selection: Literal["weighted", "hard"],
        query_shuffle: float = 0.0,
        local_start: bool = False,
    ) -> None:
        super().__init__()
        self.query_shuffle = query_shuffle
        self.stage = FirstStage(in_channels, channels[0])
        if local_start:
            self.stage.start_as_identity()
        channels_last(self.stage)
        self.blocks = nn.ModuleList(
            SparseCrossModalBlock(before, after, query_dim, dim, p=share, selection=selection)
            for before, after, dim, share in zip(
                channels[:-1], channels[1:], attention_dims, p, strict=True
            )
        )

    def forward(
        self,
        frames: Tensor,
        query: Tensor | None,
        lengths: Tensor,
        entropies: list[Tensor] | None = None,
        staged: Tensor | None = None,
    ) -> Tensor:
        """(F, Cin, H, W) and a query (B, D) to dense maps (F, channels[-1], h, w).

        To `entropies`, if given, that of the first block's attention is appended, (F,). `staged`
        is what `first_look` made of the frames, where that ran before.
        """
        assert query is not None
        if self.training and self.query_shuffle > 0:
            query = shuffle_some(query, self.query_shuffle)
        maps: Tensor | SparseFeatureMaps = self.stage(frames) if staged is None else staged
        for number, block in enumerate(self.blocks):
            assert isinstance(block, SparseCrossModalBlock)
            if entropies is not None and number == 0:
                assert isinstance(maps, Tensor)
                sparse = SparseFeatureMaps.from_dense(maps)
                logits = block.attention.logits(sparse, query, lengths)
                entropies.append(normalised_entropy(sparse, logits))
                selection = block.attention.selection
                maps = block.convolve(top_p_select(sparse, logits, block.p, selection))
            else:
                maps = block(maps, query, lengths)
        assert isinstance(maps, SparseFeatureMaps)
        return maps.to_dense()

    def first_look(self, frames: Tensor) -> Tensor:
        """The first stage's maps (F, channels[0], H//2, W//2) of frames (F, Cin, H, W)."""
        if frames.shape[0] == 0:  # batch norm refuses to train on nothing
            height, width = frames.shape[2] // 2, frames.shape[3] // 2
            return frames.new_zeros((0, self.stage.conv.out_channels, height, width))
        maps: Tensor = self.stage(frames)
        return maps

    def set_p(self, p: Sequence[float]) -> None:
        """Keep another share of the attention mass, in (0, 1], in each block."""
        for block, share in zip(self.blocks, p, strict=True):
            assert isinstance(block, SparseCrossModalBlock)
            block.p = share

    def kept_sites(self, staged: Tensor, query: Tensor, lengths: Tensor) -> list[SparseFeatureMaps]:
        """Per block, the sites its attention keeps, with their features before the convolutions.

        Args:
            staged: what `first_look` made of the frames.
            query: (B, D).
            lengths: (B,), frames per clip.
        """
        kept = []
        maps: Tensor | SparseFeatureMaps = staged
        for block in self.blocks:
            assert isinstance(block, SparseCrossModalBlock)
            selected = block.attend(maps, query, lengths)
            kept.append(selected)
            maps = block.convolve(selected)
        return kept


def shuffle_some(query: Tensor, share: float) -> Tensor:
    """Give about a share of the clips, drawn at random, the query (B, D) of a random clip."""
    clips = query.shape[0]
    chosen = torch.rand(clips, 1, device=query.device) < share
    return torch.where(chosen, query[torch.randperm(clips, device=query.device)], query)
