"""LF-TRANS: a Transformer per stream of hand-crafted features, late fusion."""

from __future__ import annotations

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mesm.data.feature_batch import FeatureBatch
from mesm.models.checks import check_shares, check_sizes
from mesm.models.sequence import SequenceEncoder
from mesm.models.two_phase import TwoPhaseLateFusion


class LFTransformer(TwoPhaseLateFusion, PyTorchModelHubMixin):
    """Late-fusion Transformer (baseline of Dai et al., 2021).

    Per stream of width d: a learned CLS before the rows, a post-norm Transformer encoder that is
    told what is padding, CLS → d/2 → ReLU → E; the streams' logits are added with learned weights.
    For a clip without rows in a stream the CLS attends to itself alone.

    Args:
        emotions: E, how many emotions are told apart.
        text_dim, audio_dim, video_dim: widths of the streams.
        modalities: which streams are read: tav, ta, tv, va, t, a or v.
        text_heads, audio_heads, video_heads: attention heads; each divides its stream's width.
        layers: layers of each encoder.
        feedforward: width of the layers' feed-forward part.
        dropout: torch's default.
        positions: whether rows are told their place; not so in the authors' code.

    Raises:
        ValueError: an argument is out of its range; says what was wanted and what came.
    """

    def __init__(
        self,
        *,
        emotions: int,
        text_dim: int = 300,
        audio_dim: int = 142,
        video_dim: int = 35,
        modalities: str = "tav",
        text_heads: int = 4,
        audio_heads: int = 2,
        video_heads: int = 5,
        layers: int = 2,
        feedforward: int = 2048,
        dropout: float = 0.1,
        positions: bool = False,
    ) -> None:
        super().__init__(
            emotions=emotions,
            text_dim=text_dim,
            audio_dim=audio_dim,
            video_dim=video_dim,
            modalities=modalities,
        )
        check_sizes("LFTransformer", layers=layers, feedforward=feedforward, text_heads=text_heads)
        check_sizes("LFTransformer", audio_heads=audio_heads, video_heads=video_heads)
        check_shares("LFTransformer", dropout=dropout)
        heads = {"t": text_heads, "a": audio_heads, "v": video_heads}
        for modality in self.modalities:
            if self.dims[modality] < 2 or self.dims[modality] % heads[modality]:
                raise ValueError(
                    f"LFTransformer: a stream's width must be at least 2 and divisible by its "
                    f"heads, got {self.dims[modality]} and {heads[modality]} for {modality!r}"
                )
        used = {modality: self.dims[modality] for modality in self.modalities}
        self.encoders = nn.ModuleDict(
            {
                m: SequenceEncoder(dim, heads[m], layers, feedforward, dropout, False, positions)
                for m, dim in used.items()
            }
        )
        self.heads = nn.ModuleDict(
            {
                m: nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, emotions))
                for m, dim in used.items()
            }
        )

    def branch(self, batch: FeatureBatch, modality: str) -> Tensor:
        """One stream's own logits (B, E)."""
        rows, longest = self.rows(batch, modality), int(batch.known_lengths(modality).max())
        return self.heads[modality](self.encoders[modality](rows, batch.lengths(modality), longest))
