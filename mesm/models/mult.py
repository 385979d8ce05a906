"""MulT: every stream looks at every other, each with its own length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mesm.data.feature_batch import FeatureBatch
from mesm.models.checks import check_shares, check_sizes
from mesm.models.cross_modal_encoder import CrossModalEncoder
from mesm.models.sequence import last_steps, pad_clips
from mesm.models.two_phase import TwoPhaseModel


class MulT(TwoPhaseModel, PyTorchModelHubMixin):
    """Multimodal Transformer for unaligned streams (Tsai et al., 2019).

    Per stream a Conv1d to `dim`; per target stream a cross-modal encoder for each other stream,
    their outputs side by side through a self-attention encoder, of which each clip's last real
    step is taken; all targets' steps side by side, x + MLP(x), Linear to E.
    A clip without rows in a target stream has zeros for its last step; as a source, an empty stream
    adds nothing.

    Args:
        emotions: E, how many emotions are told apart.
        text_dim, audio_dim, video_dim: widths of the streams.
        modalities: which streams are read, at least two: tav, ta, tv or va.
        dim: common width of the streams; heads divide it.
        heads: attention heads.
        layers: of each cross-modal encoder.
        memory_layers: of each self-attention encoder.
        kernels: widths of the convolutions for text, audio and video, odd; ends are padded with
            zeros so that no clip gets shorter.
        attention_dropout, relu_dropout, residual_dropout, embedding_dropout: of the encoders;
            embedding_dropout also of the words' vectors.
        output_dropout: in the MLP.

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
        dim: int = 40,
        heads: int = 5,
        layers: int = 5,
        memory_layers: int = 3,
        kernels: Sequence[int] = (1, 1, 1),
        attention_dropout: float = 0.1,
        relu_dropout: float = 0.1,
        residual_dropout: float = 0.1,
        embedding_dropout: float = 0.25,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            emotions=emotions,
            text_dim=text_dim,
            audio_dim=audio_dim,
            video_dim=video_dim,
            modalities=modalities,
        )
        others = len(self.modalities) - 1
        if others < 1:
            raise ValueError(
                f"MulT needs at least two modalities, one to look at another, got {modalities!r}; "
                "LFTransformer does with one"
            )
        check_sizes("MulT", dim=dim, heads=heads, layers=layers, memory_layers=memory_layers)
        check_shares(
            "MulT",
            attention_dropout=attention_dropout,
            relu_dropout=relu_dropout,
            residual_dropout=residual_dropout,
            embedding_dropout=embedding_dropout,
            output_dropout=output_dropout,
        )
        if dim % heads:
            raise ValueError(f"MulT: dim must be divisible by heads={heads}, got {dim}")
        if len(kernels) != 3 or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise ValueError(f"MulT: kernels must be three odd widths, got {list(kernels)}")
        kernel_of = dict(zip("tav", kernels, strict=True))

        def encoder(width: int, depth: int) -> CrossModalEncoder:
            return CrossModalEncoder(
                width,
                heads,
                depth,
                attention_dropout=attention_dropout,
                relu_dropout=relu_dropout,
                residual_dropout=residual_dropout,
                embedding_dropout=embedding_dropout,
            )

        self.drop_words = nn.Dropout(embedding_dropout)
        self.project = nn.ModuleDict(
            {
                m: nn.Conv1d(self.dims[m], dim, kernel_of[m], padding="same", bias=False)
                for m in self.modalities
            }
        )
        # By target and source: "ta" are words that look at sound.
        self.cross = nn.ModuleDict(
            {
                target + source: encoder(dim, layers)
                for target in self.modalities
                for source in self.modalities
                if source != target
            }
        )
        self.memory = nn.ModuleDict(
            {target: encoder(others * dim, memory_layers) for target in self.modalities}
        )
        width = len(self.modalities) * others * dim
        self.mlp = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(output_dropout), nn.Linear(width, width)
        )
        self.classify = nn.Linear(width, emotions)

    def forward(self, batch: FeatureBatch) -> Tensor:
        """Logits (B, E)."""
        streams = {modality: self._stream(batch, modality) for modality in self.modalities}
        ends = []
        for target in self.modalities:
            looked = [
                self.cross[target + source](streams[target], batch.lengths(source), streams[source])
                for source in self.modalities
                if source != target
            ]
            lengths = batch.lengths(target)
            ends.append(last_steps(self.memory[target](torch.cat(looked, 2), lengths), lengths))
        hidden = torch.cat(ends, dim=1)
        return self.classify(hidden + self.mlp(hidden))

    def _stream(self, batch: FeatureBatch, modality: str) -> Tensor:
        """One stream's steps (B, longest, dim); zeros where a clip has ended."""
        rows = self.rows(batch, modality)
        if modality == "t":
            rows = self.drop_words(rows)
        longest = max(int(batch.known_lengths(modality).max()), 1)
        padded = pad_clips(rows, batch.lengths(modality), longest)
        return self.project[modality](padded.transpose(1, 2)).transpose(1, 2)
