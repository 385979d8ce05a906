from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from mesm import Batch
from mesm.data.feature_batch import STREAMS, FeatureBatch

SMALL: dict[str, Any] = {
    "emotions": 6,
    "channels": (4, 6, 8, 10),
    "hidden": 16,
    "dim": 8,
    "heads": 2,
    "layers": 2,
    "feedforward": 16,
    "albert": {
        "vocab_size": 40,
        "embedding_size": 8,
        "hidden_size": 12,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
    },
}


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Arguments of a model that is quick to run."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    """Random clips with so many faces, chunks and subwords each."""

    def make(faces: Sequence[int], chunks: Sequence[int], words: Sequence[int]) -> Batch:
        generator = torch.Generator().manual_seed(1)
        words_tensor = torch.tensor(words)
        mask = torch.arange(max(words)) < words_tensor.unsqueeze(1)
        ids = torch.randint(4, 40, mask.shape, generator=generator) * mask
        return Batch(
            clip_ids=[f"clip{number}" for number in range(len(words))],
            text_ids=ids,
            text_mask=mask,
            faces=torch.randn(sum(faces), 3, 48, 48, generator=generator),
            face_lengths=torch.tensor(faces),
            spectrograms=torch.randn(sum(chunks), 1, 128, 32, generator=generator),
            spectrogram_lengths=torch.tensor(chunks),
            labels=torch.zeros(len(words), 6),
        )

    return make


@pytest.fixture(scope="session")
def row_of() -> Callable[[Batch, int], Batch]:
    """One clip of a batch, as a batch without any padding."""

    def row(batch: Batch, place: int) -> Batch:
        words = int(batch.text_mask[place].sum())
        return Batch(
            clip_ids=[batch.clip_ids[place]],
            text_ids=batch.text_ids[place : place + 1, :words],
            text_mask=batch.text_mask[place : place + 1, :words],
            faces=batch.faces.split(batch.face_lengths.tolist())[place],
            face_lengths=batch.face_lengths[place : place + 1],
            spectrograms=batch.spectrograms.split(batch.spectrogram_lengths.tolist())[place],
            spectrogram_lengths=batch.spectrogram_lengths[place : place + 1],
            labels=batch.labels[place : place + 1],
        )

    return row


@pytest.fixture(scope="session")
def widths() -> dict[str, int]:
    """Emotions and streams of baselines that are quick to run."""
    return {"emotions": 3, "text_dim": 12, "audio_dim": 10, "video_dim": 5}


@pytest.fixture(scope="session")
def make_features(widths: dict[str, int]) -> Callable[..., FeatureBatch]:
    """Random clips with so many words, audio rows and video rows each."""

    def make(words: Sequence[int], audio: Sequence[int], video: Sequence[int]) -> FeatureBatch:
        generator = torch.Generator().manual_seed(2)
        fields: dict[str, Any] = {}
        for name, lengths in (("text", words), ("audio", audio), ("video", video)):
            shape = (sum(lengths), widths[f"{name}_dim"])
            fields[name] = torch.randn(shape, generator=generator)
            fields[f"{name}_lengths"] = torch.tensor(lengths)
        return FeatureBatch(
            clip_ids=[f"clip{number}" for number in range(len(words))],
            labels=torch.zeros(len(words), widths["emotions"]),
            **fields,
        )

    return make


@pytest.fixture(scope="session")
def features_of() -> Callable[[FeatureBatch, int], FeatureBatch]:
    """One clip of a batch, as a batch of its own."""

    def row(batch: FeatureBatch, place: int) -> FeatureBatch:
        fields: dict[str, Any] = {}
        for letter, name in STREAMS.items():
            lengths = batch.lengths(letter)
            fields[name] = batch.rows(letter).split(lengths.tolist())[place]
            fields[f"{name}_lengths"] = lengths[place : place + 1]
        return FeatureBatch(
            clip_ids=[batch.clip_ids[place]], labels=batch.labels[place : place + 1], **fields
        )

    return row
