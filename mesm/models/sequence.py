"""From the vectors of a clip's frames to one vector of the clip."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(length: int, dim: int, device: torch.device) -> Tensor:
    """Positional embeddings (length, dim), float32 (Vaswani et al., 2017, section 3.5)."""
    position = torch.arange(length, device=device, dtype=torch.float32).unsqueeze(1)
    steps = torch.arange(0, dim, 2, device=device, dtype=torch.float32)
    angles = position * torch.exp(steps * (-math.log(10000.0) / dim))
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :dim]


class SequenceEncoder(nn.Module):
    """A Transformer encoder over a learned CLS vector and the clip's frames, in time order.

    Sinusoidal positions, so that no clip is too long.

    Args:
        dim: width of the vectors, even (64 in the paper).
        heads: attention heads (4).
        layers: layers (4).
        feedforward: width of the feed-forward part (torch's default, 2048).
        dropout: torch's default, 0.1.
        norm_first: norm before each part instead of after it (the default, as in the paper).
        positions: whether the vectors are told their place; without, their order counts for
            nothing.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        feedforward: int,
        dropout: float,
        norm_first: bool,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.cls = nn.Parameter(torch.randn(dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            dim, heads, feedforward, dropout, batch_first=True, norm_first=norm_first
        )
        final_norm = nn.LayerNorm(dim) if norm_first else None
        self.encoder = nn.TransformerEncoder(layer, layers, final_norm, enable_nested_tensor=False)

    def forward(self, frames: Tensor, lengths: Tensor, longest: int | None = None) -> Tensor:
        """Encode each clip's frames in its CLS.

        Args:
            frames: (ΣS, dim), the clips' frames one after the other.
            lengths: (B,) int64, frames per clip.
            longest: the largest length; None: read from lengths, which waits for their device.

        Returns:
            (B, dim).
        """
        longest = int(lengths.max()) if longest is None else longest
        padded = pad_clips(frames, lengths, longest)
        size, _, dim = padded.shape
        tokens = torch.cat((self.cls.to(padded.dtype).expand(size, 1, dim), padded), dim=1)
        if self.positions:
            tokens = tokens + sinusoids(longest + 1, dim, tokens.device).to(tokens.dtype)
        # The CLS is at place 0, frame i at place i + 1.
        place = torch.arange(longest + 1, device=tokens.device)
        padding = place > lengths.unsqueeze(1)
        return self.encoder(tokens, src_key_padding_mask=padding)[:, 0]


def pad_clips(frames: Tensor, lengths: Tensor, longest: int) -> Tensor:
    """Frames (ΣS, dim) of clips with (B,) lengths as (B, longest, dim), zeros at the end.

    Sizes come from the host, so nothing waits for the device.
    """
    clips, dim = lengths.shape[0], frames.shape[1]
    ends = lengths.cumsum(0)
    number = torch.arange(frames.shape[0], device=frames.device)
    if torch.compiler.is_exporting():  # torch unrolls bucketize for the clips that were traced
        clip = (ends <= number[:, None]).sum(1)
    else:
        clip = torch.bucketize(number, ends, right=True)
    place = clip * longest + number - (ends - lengths)[clip]
    padded = frames.new_zeros(clips * longest, dim)
    return padded.index_copy(0, place, frames).view(clips, longest, dim)


def last_steps(padded: Tensor, lengths: Tensor) -> Tensor:
    """The last real step of each clip, (B, longest, dim) to (B, dim); zeros where there is none."""
    place = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, padded.shape[2])
    steps = padded.gather(1, place).squeeze(1)
    return steps.masked_fill((lengths == 0).unsqueeze(1), 0.0)
