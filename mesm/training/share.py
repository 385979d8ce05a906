"""Which part of a step's clips and frames one of several processes has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True)
class Share:
    """One process's part of a step.

    The mean over all clips is the mean over the processes of each one's own, times `of_clips`;
    likewise for frames. DDP takes the mean over the processes of gradients.

    Args:
        clips: how many clips are this process's, none if its batch stands in, and how many a
            process has on average; None: the batch is the whole.
        of_clips: clips of this process, as a share of the average.
        of_frames: by "face" and "audio" the frames of this process, likewise.
        unread: parameters that read frames of a modality of which no process has any. Alone, a
            process gives them no gradient, and Adam leaves them as they are; an empty sum over
            processes would be a gradient of 0, with which Adam moves them on.
    """

    clips: tuple[int, float] | None = None
    of_clips: float = 1.0
    of_frames: Mapping[str, float] = field(default_factory=dict)
    unread: tuple[nn.Parameter, ...] = ()


WHOLE = Share()
