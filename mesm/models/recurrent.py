"""A bidirectional LSTM over clips of different lengths."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mesm.models.sequence import last_steps, pad_clips


class BidirectionalLSTM(nn.Module):
    """Reads each clip from its first to its last real step and back; padding is never seen.

    A clip of no steps is answered with zeros, as the state of an LSTM that has read nothing.

    Args:
        dim: width of a step.
        hidden: width of each direction's state.
        layers: layers.
        dropout: between layers.
    """

    def __init__(self, dim: int, hidden: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            dim, hidden, layers, dropout=dropout, batch_first=True, bidirectional=True
        )

    def forward(self, rows: Tensor, lengths: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Read the clips.

        Args:
            rows: (ΣS, dim), the clips' steps one after the other.
            lengths: (B,) int64, steps per clip.
            known: the same on the CPU.

        Returns:
            The last layer's final state in each direction, forward (after the last step) beside
            backward (after the first), (B, 2 * hidden); and its output at the last step, where the
            backward direction has read that step alone, (B, 2 * hidden).
        """
        longest = max(int(known.max()), 1)
        padded = pad_clips(rows, lengths, longest)
        packed = pack_padded_sequence(
            padded, known.clamp(min=1), batch_first=True, enforce_sorted=False
        )
        outputs, (states, _) = self.lstm(packed)
        steps, _ = pad_packed_sequence(outputs, batch_first=True, total_length=longest)
        ends = torch.cat((states[-2], states[-1]), dim=1)
        ends = ends.masked_fill((lengths == 0).unsqueeze(1), 0.0)
        return ends, last_steps(steps, lengths)
