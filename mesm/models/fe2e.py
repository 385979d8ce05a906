"""The fully end-to-end model (section 4.2 of the paper): every convolution is dense."""

from __future__ import annotations

from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from mesm.models.convolutions import DenseExtractor
from mesm.models.late_fusion import LateFusionModel


class FE2E(LateFusionModel, PyTorchModelHubMixin):
    """Dense convolutions per frame, a Transformer per modality, late fusion.

    Arguments are `LateFusionModel`'s; `model(batch)` gives logits (B, E).
    """

    def _extractor(self, modality: str, in_channels: int) -> nn.Module:
        return DenseExtractor(in_channels, self.channels)
