"""Hand-crafted features to batches: which rows are kept, and how they are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mesm.data.clips import SplitDataset
from mesm.data.feature_batch import FeatureBatch
from mesm.features.store import ClipFeatures

Rows = NDArray[np.float32]


class Store(Protocol):
    """A source of features; `mesm.features.store.FeatureStore` is one."""

    def clip(self, clip_id: str) -> ClipFeatures:
        """The features of a clip; ValueError if there is none."""
        ...


@dataclass(frozen=True)
class Limits:
    """How many rows of a clip are read at most.

    Attributes:
        words: the first ones.
        audio: evenly spread over the clip; None: all.
        video: likewise.
    """

    words: int = 50
    audio: int | None = None
    video: int | None = None


@dataclass(frozen=True)
class FeatureSample:
    """One clip: text (T, 300), audio (Sa, A), video (Sv, V), labels (E,); float32."""

    clip_id: str
    text: Tensor
    audio: Tensor
    video: Tensor
    labels: Tensor


def spread_rows(rows: Rows, most: int | None) -> Rows:
    """At most so many rows of (S, d): the middles of as many equal parts of the clip."""
    count = len(rows)
    if most is None or count <= most:
        return rows
    return rows[((np.arange(most) + 0.5) * count / most).astype(np.int64)]


class FeatureDataset(SplitDataset):
    """The features of some clips.

    Args:
        store: where features are read from.
        clip_ids: N names.
        labels: (N, E) of 0 and 1.
        limits: rows at most.
    """

    def __init__(
        self, store: Store, clip_ids: Sequence[str], labels: NDArray[np.int8], limits: Limits
    ) -> None:
        self.store = store
        self.clip_ids = list(clip_ids)
        self.limits = limits
        self._labels = torch.from_numpy(np.asarray(labels, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> FeatureSample:
        clip = self.store.clip(self.clip_ids[index])
        return FeatureSample(
            clip_id=clip.clip_id,
            text=torch.from_numpy(clip.text[: self.limits.words]),
            audio=torch.from_numpy(spread_rows(clip.audio, self.limits.audio)),
            video=torch.from_numpy(spread_rows(clip.video, self.limits.video)),
            labels=self._labels[index],
        )

    def labels(self) -> Tensor:
        """The labels (N, E) float32."""
        return self._labels


def collate_features(samples: list[FeatureSample]) -> FeatureBatch:
    """Rows one after the other, in clip order."""
    return FeatureBatch(
        clip_ids=[sample.clip_id for sample in samples],
        text=torch.cat([sample.text for sample in samples]),
        text_lengths=torch.tensor([len(sample.text) for sample in samples]),
        audio=torch.cat([sample.audio for sample in samples]),
        audio_lengths=torch.tensor([len(sample.audio) for sample in samples]),
        video=torch.cat([sample.video for sample in samples]),
        video_lengths=torch.tensor([len(sample.video) for sample in samples]),
        labels=torch.stack([sample.labels for sample in samples]),
    )
