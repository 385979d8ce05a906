"""LF-LSTM: a bidirectional LSTM per stream of hand-crafted features, late fusion."""

from __future__ import annotations

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mesm.data.feature_batch import FeatureBatch
from mesm.models.recurrent import BidirectionalLSTM
from mesm.models.two_phase import TwoPhaseLateFusion


class LFLSTM(TwoPhaseLateFusion, PyTorchModelHubMixin):
    """Late-fusion LSTM (baseline of Dai et al., 2021).

    Per stream of width d: a one-layer bidirectional LSTM of d states per direction, the ends of
    both directions (2d) → d → ReLU → E; the streams' logits are added with learned weights.
    A clip without rows in a stream gets that stream's answer to zeros.

    Args:
        emotions: E, how many emotions are told apart.
        text_dim, audio_dim, video_dim: widths of the streams.
        modalities: which streams are read: tav, ta, tv, va, t, a or v.

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
    ) -> None:
        super().__init__(
            emotions=emotions,
            text_dim=text_dim,
            audio_dim=audio_dim,
            video_dim=video_dim,
            modalities=modalities,
        )
        used = {modality: self.dims[modality] for modality in self.modalities}
        self.lstms = nn.ModuleDict({m: BidirectionalLSTM(dim, dim) for m, dim in used.items()})
        self.heads = nn.ModuleDict(
            {
                m: nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, emotions))
                for m, dim in used.items()
            }
        )

    def branch(self, batch: FeatureBatch, modality: str) -> Tensor:
        """One stream's own logits (B, E)."""
        rows, known = self.rows(batch, modality), batch.known_lengths(modality)
        ends, _ = self.lstms[modality](rows, batch.lengths(modality), known)
        return self.heads[modality](ends)
