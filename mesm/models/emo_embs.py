"""EmoEmbs: streams are compared with the word vectors of the emotions' names."""

from __future__ import annotations

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mesm.data.feature_batch import FeatureBatch
from mesm.models.checks import check_shares, check_sizes
from mesm.models.recurrent import BidirectionalLSTM
from mesm.models.two_phase import TwoPhaseLateFusion


class EmoEmbs(TwoPhaseLateFusion, PyTorchModelHubMixin):
    """Emotion embeddings (Dai et al., 2020, "Modality-transferable emotion embeddings").

    Per stream m a bidirectional LSTM, whose directions' outputs at the last step are summed to
    h_m. With G (E, text_dim) the frozen vectors of the emotions' names: e_t = G, e_a = W_a G + b_a,
    e_v = W_v G + b_v; the logits of emotion c are Σ_m w_m ⟨h_m, e_m,c⟩, w learned, at first 1/M.
    A clip without rows in a stream has h_m = 0: the stream says nothing.

    G is a buffer, saved with the weights; it is NaN, and so are the logits, until
    `set_emotion_vectors` or a checkpoint has filled it.

    Args:
        emotions: E, how many emotions are told apart.
        text_dim, audio_dim, video_dim: widths of the streams; text_dim that of G too.
        modalities: which streams are read: tav, ta, tv, va, t, a or v.
        audio_hidden, video_hidden: lengths of h_a and h_v; h_t has text_dim, as G.
        layers: layers of each LSTM.
        dropout: between them.

    Raises:
        ValueError: an argument is out of its range; says what was wanted and what came.
    """

    emotion_vectors: Tensor

    def __init__(
        self,
        *,
        emotions: int,
        text_dim: int = 300,
        audio_dim: int = 142,
        video_dim: int = 35,
        modalities: str = "tav",
        audio_hidden: int = 200,
        video_hidden: int = 100,
        layers: int = 2,
        dropout: float = 0.15,
    ) -> None:
        super().__init__(
            emotions=emotions,
            text_dim=text_dim,
            audio_dim=audio_dim,
            video_dim=video_dim,
            modalities=modalities,
        )
        check_sizes("EmoEmbs", layers=layers, audio_hidden=audio_hidden, video_hidden=video_hidden)
        check_shares("EmoEmbs", dropout=dropout)
        hidden = {"t": text_dim, "a": audio_hidden, "v": video_hidden}
        self.lstms = nn.ModuleDict(
            {
                m: BidirectionalLSTM(self.dims[m], hidden[m], layers, dropout if layers > 1 else 0)
                for m in self.modalities
            }
        )
        self.maps = nn.ModuleDict(
            {m: nn.Linear(text_dim, hidden[m]) for m in self.modalities if m != "t"}
        )
        self.register_buffer("emotion_vectors", torch.full((emotions, text_dim), torch.nan))

    def set_emotion_vectors(self, vectors: Tensor) -> None:
        """Take the vectors (E, text_dim) of the emotions' names.

        Raises:
            ValueError: another shape, or not finite.
        """
        wanted = tuple(self.emotion_vectors.shape)
        if tuple(vectors.shape) != wanted or not bool(vectors.isfinite().all()):
            raise ValueError(
                f"EmoEmbs: emotion vectors must be finite and {wanted}, got {tuple(vectors.shape)}"
            )
        self.emotion_vectors.copy_(vectors)

    def branch(self, batch: FeatureBatch, modality: str) -> Tensor:
        """One stream's own scores (B, E)."""
        rows, known = self.rows(batch, modality), batch.known_lengths(modality)
        _, last = self.lstms[modality](rows, batch.lengths(modality), known)
        summed = last.unflatten(1, (2, -1)).sum(1)
        vectors = self.emotion_vectors
        if modality in self.maps:
            vectors = self.maps[modality](vectors)
        return summed @ vectors.to(summed.dtype).T
