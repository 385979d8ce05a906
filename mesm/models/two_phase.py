"""The frame of the two-phase baselines: the widths of the streams, and late fusion."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn

from mesm.config.modalities import parse_modalities
from mesm.data.feature_batch import STREAMS, FeatureBatch
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
        if emotions < 1 or min(self.dims.values()) < 1:
            raise ValueError(
                f"{type(self).__name__}: emotions and the features of each stream must be "
                f"positive, got {emotions} and {self.dims}"
            )

    def rows(self, batch: FeatureBatch, modality: str) -> Tensor:
        """The vectors (ΣS, d) of "t", "a" or "v".

        Raises:
            ValueError: they have another width than the model's.
        """
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
