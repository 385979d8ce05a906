"""MESM's feature extractor: a dense first stage, then cross-modal sparse blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mesm.config.p import Selection
from mesm.models.convolutions import FirstStage, channels_last, synchronises
from mesm.models.entropy import normalised_entropy
from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps, top_p_select


class BlockStep(NamedTuple):
    """One block of an extractor on the way.

    Attributes:
        given: the maps it was given; their sites are the attention's candidates.
        logits: (N,), the score of each candidate.
        kept: the sites its attention keeps, with the features that its convolutions read.
    """

    given: SparseFeatureMaps
    logits: Tensor
    kept: SparseFeatureMaps


@torch.no_grad()
def start_positive(block: SparseCrossModalBlock) -> None:
    """Make a block's weights of features and scores not negative.

    Features follow a ReLU, so a site's score then rises with its features.
    """
    block.attention.map_proj.weight.abs_()
    block.attention.score.weight.abs_()


class SparseExtractor(nn.Module):
    """The first stage stays dense; every further pair convolves only where the query looks.

    Args:
        in_channels: 3 for faces, 1 for spectrogram chunks.
        channels: widths of the first stage and of every block (64, 128, 256, 512).
        query_dim: length D of the query vector.
        attention_dims: attention width k of every block (64, 128, 256).
        p: share of the attention mass that every block keeps, in (0, 1].
        selection: "weighted" or "straight_through" (the attention learns), or "hard" (as the
            authors' code).
        query_shuffle: share of clips that another clip's query asks in training.
        local_start: start the first stage's 3x3 convolutions as the identity.
        positive_start: start every attention with weights of features and scores that are not
            negative, so that a site's score rises with its features, which follow a ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        query_dim: int,
        attention_dims: Sequence[int],
        p: Sequence[float],
        selection: Selection,
        query_shuffle: float = 0.0,
        local_start: bool = False,
        positive_start: bool = False,
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
        if positive_start:
            for block in self.blocks:
                assert isinstance(block, SparseCrossModalBlock)
                start_positive(block)

    def forward(
        self,
        frames: Tensor,
        query: Tensor | None,
        lengths: Tensor,
        first_maps: Tensor | None = None,
    ) -> Tensor:
        """(F, Cin, H, W) and a query (B, D) to dense maps (F, channels[-1], h, w), blocks fused.

        `first_maps`: what `first_stage_maps` made of the frames, where that ran before.
        """
        assert query is not None
        maps = self.stage(frames) if first_maps is None else first_maps
        return self._fused(maps, self._in_training(query), lengths, self.blocks)

    def with_entropy(
        self, frames: Tensor, query: Tensor, lengths: Tensor, first_maps: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, with the entropy (F,) of the first block's attention, which is not fused.

        See `mesm.models.entropy.normalised_entropy`.
        """
        query = self._in_training(query)
        maps = self.stage(frames) if first_maps is None else first_maps
        step = next(self.walk(maps, query, lengths))
        entropy = normalised_entropy(step.given, step.logits)
        first = self.blocks[0]
        assert isinstance(first, SparseCrossModalBlock)
        return self._fused(first.convolve(step.kept), query, lengths, self.blocks[1:]), entropy

    def _in_training(self, query: Tensor) -> Tensor:
        if self.training and self.query_shuffle > 0:
            return shuffle_some(query, self.query_shuffle)
        return query

    @staticmethod
    def _fused(
        maps: Tensor | SparseFeatureMaps,
        query: Tensor,
        lengths: Tensor,
        blocks: Iterable[nn.Module],
    ) -> Tensor:
        for block in blocks:
            maps = block(maps, query, lengths)
        assert isinstance(maps, SparseFeatureMaps)
        return maps.to_dense()

    def walk(self, maps: Tensor, query: Tensor, lengths: Tensor) -> Iterator[BlockStep]:
        """Run the blocks one by one, each as attention, then convolutions.

        A block's convolutions run when the next block is asked for; after the last one, `finish`
        makes the extractor's output.

        Args:
            maps: what `first_stage_maps` made of the frames.
            query: (B, D).
            lengths: (B,), frames per clip.

        Yields:
            Each block's step, in order.
        """
        given = SparseFeatureMaps.from_dense(maps)
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            assert isinstance(block, SparseCrossModalBlock)
            logits = block.attention.logits(given, query, lengths)
            kept = top_p_select(given, logits, block.p, block.attention.selection)
            yield BlockStep(given, logits, kept)
            if number < last:
                given = block.convolve(kept)

    def finish(self, step: BlockStep) -> Tensor:
        """The extractor's output (F, channels[-1], h, w), from the last step of `walk`."""
        block = self.blocks[-1]
        assert isinstance(block, SparseCrossModalBlock)
        return block.convolve(step.kept).to_dense()

    def first_stage_maps(self, frames: Tensor) -> Tensor:
        """Maps (F, channels[0], H//2, W//2) of frames (F, Cin, H, W), before any block."""
        if frames.shape[0] == 0 and not synchronises(self):
            # Batch norm refuses to train on nothing.
            height, width = frames.shape[2] // 2, frames.shape[3] // 2
            return frames.new_zeros((0, self.stage.conv.out_channels, height, width))
        maps: Tensor = self.stage(frames)
        return maps

    def set_p(self, p: Sequence[float]) -> None:
        """Keep another share of the attention mass, in (0, 1], in each block."""
        for block, share in zip(self.blocks, p, strict=True):
            assert isinstance(block, SparseCrossModalBlock)
            block.p = share

    def kept_sites(self, maps: Tensor, query: Tensor, lengths: Tensor) -> list[SparseFeatureMaps]:
        """Per block, the sites its attention keeps; arguments as of `walk`."""
        return [step.kept for step in self.walk(maps, query, lengths)]


def shuffle_some(query: Tensor, share: float) -> Tensor:
    """Give about a share of the clips, drawn at random, the query (B, D) of a random clip."""
    clips = query.shape[0]
    chosen = torch.rand(clips, 1, device=query.device) < share
    return torch.where(chosen, query[torch.randperm(clips, device=query.device)], query)
