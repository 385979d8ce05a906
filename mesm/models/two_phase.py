"""The frame of the two-phase baselines: the widths of the streams, and late fusion."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn

from mesm.config.modalities import Modality, parse_modalities
from mesm.data.feature_batch import STREAMS, FeatureBatch
from mesm.models.checks import check_batch, check_sizes
from mesm.models.fusion import WeightedSum
from mesm.models.late_fusion import TrainingOutputs


class TwoPhaseModel(nn.Module):
    """A model of feature vectors; `model(batch)` gives logits (B, E).

    Args:
        emotions: E, how many emotions are told apart.
        text_dim: length of a word's vector.
        audio_dim: features per 400 ms.
        video_dim: features per frame.
        modalities: which streams are read.

    Raises:
        ValueError: an argument is out of its range; says what was wanted and what came.
    """

    def __init__(
        self, *, emotions: int, text_dim: int, audio_dim: int, video_dim: int, modalities: str
    ) -> None:
        super().__init__()
        self.modalities = parse_modalities(modalities)
        self.dims = {"t": text_dim, "a": audio_dim, "v": video_dim}
        owner = type(self).__name__
        check_sizes(owner, emotions=emotions, text_dim=text_dim)
        check_sizes(owner, audio_dim=audio_dim, video_dim=video_dim)

    def rows(self, batch: FeatureBatch, modality: str) -> Tensor:
        """The vectors (ΣS, d) of "t", "a" or "v".

        Raises:
            ValueError: another kind of batch, or another width or dtype than the model's.
        """
        check_batch(self, batch, FeatureBatch, STREAMS[modality])
        rows = batch.rows(modality)
        if rows.shape[1] != self.dims[modality]:
            raise ValueError(
                f"{type(self).__name__}: reads {self.dims[modality]} {STREAMS[modality]} features, "
                f"got {rows.shape[1]}"
            )
        return rows


class TwoPhaseLateFusion(TwoPhaseModel):
    """Each stream's own logits, and their sum with learned weights; subclasses have the streams."""

    def __init__(
        self, *, emotions: int, text_dim: int, audio_dim: int, video_dim: int, modalities: str
    ) -> None:
        super().__init__(
            emotions=emotions,
            text_dim=text_dim,
            audio_dim=audio_dim,
            video_dim=video_dim,
            modalities=modalities,
        )
        self.fuse = WeightedSum(len(self.modalities))

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The streams in the order of `TrainingOutputs.branches`: of text, audio and video."""
        return tuple(m.stream for m in Modality if m.letter in self.modalities)

    def branch(self, batch: FeatureBatch, modality: str) -> Tensor:
        """One stream's own logits (B, E)."""
        raise NotImplementedError

    @overload
    def forward(self, batch: FeatureBatch) -> Tensor: ...

    @overload
    def forward(self, batch: FeatureBatch, *, branches: Literal[True]) -> TrainingOutputs: ...

    def forward(self, batch: FeatureBatch, *, branches: bool = False) -> Tensor | TrainingOutputs:
        """Logits (B, E); with `branches` also each stream's own."""
        own = torch.stack([self.branch(batch, modality) for modality in self.modalities])
        logits = self.fuse(own)
        return TrainingOutputs(logits, own, {}) if branches else logits
