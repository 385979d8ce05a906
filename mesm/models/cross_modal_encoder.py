"""A pre-norm Transformer encoder whose steps look at another stream, or at their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mesm.models.sequence import sinusoids


class _Layer(nn.Module):
    """x + attention(norm(x), norm(source)), then x + feedforward(norm(x))."""

    def __init__(
        self,
        dim: int,
        heads: int,
        attention_dropout: float,
        relu_dropout: float,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(
            dim, heads, dropout=attention_dropout, batch_first=True
        )
        self.drop = nn.Dropout(residual_dropout)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Dropout(relu_dropout), nn.Linear(4 * dim, dim)
        )
        for module in self.feedforward:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, source: Tensor | None, padding: Tensor, empty: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        seen = normed if source is None else self.attention_norm(source)
        found, _ = self.attention(normed, seen, seen, key_padding_mask=padding, need_weights=False)
        x = x + self.drop(found.masked_fill(empty, 0.0))
        return x + self.drop(self.feedforward(self.feedforward_norm(x)))


class CrossModalEncoder(nn.Module):
    """The encoder of MulT (Tsai et al., 2019, section 3.2), for both its uses.

    Steps x become √dim·x + sinusoids, dropped out. In every layer the queries come from the target
    stream, keys and values from the source's same embedding, or, without a source, from the target
    itself; a last norm follows. No step is hidden from another: the authors' mask of the future
    needs aligned streams. A clip whose source is empty is only passed on: nothing is added to it.

    Args:
        dim: width of both streams.
        heads: attention heads; they divide dim.
        layers: layers.
        attention_dropout, relu_dropout, residual_dropout, embedding_dropout: shares.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        *,
        attention_dropout: float = 0.0,
        relu_dropout: float = 0.0,
        residual_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Layer(dim, heads, attention_dropout, relu_dropout, residual_dropout)
            for _ in range(layers)
        )
        self.drop = nn.Dropout(embedding_dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, target: Tensor, lengths: Tensor, source: Tensor | None = None) -> Tensor:
        """Encode the target's steps.

        Args:
            target: (B, T, dim), T at least 1.
            lengths: (B,) int64, real steps of the source, or of the target where there is none.
            source: (B, S, dim), S at least 1; None: the target itself.

        Returns:
            (B, T, dim); what stands at padded steps means nothing.
        """
        keys = target if source is None else source
        # A key is left to clips that have none, lest softmax divide by 0; what it gives is dropped.
        place = torch.arange(keys.shape[1], device=keys.device)
        padding = place >= lengths.clamp(min=1).unsqueeze(1)
        empty = (lengths == 0)[:, None, None]
        x = self._embed(target)
        seen = None if source is None else self._embed(source)
        for layer in self.layers:
            x = layer(x, seen, padding, empty)
        return self.norm(x)

    def _embed(self, steps: Tensor) -> Tensor:
        _, length, dim = steps.shape
        positions = sinusoids(length, dim, steps.device).to(steps.dtype)
        return self.drop(math.sqrt(dim) * steps + positions)
