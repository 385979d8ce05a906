"""A model's input: the clips of one step, ragged over faces and spectrogram chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

FACE_SHAPE = (3, 48, 48)
CHUNK_SHAPE = (1, 128, 32)


@dataclass
class Batch:
    """B clips; the frames of all clips lie one after the other, in clip order.

    Args:
        clip_ids: B names.
        text_ids: (B, T) int64 subword numbers, padded at the end.
        text_mask: (B, T) bool, True at real subwords.
        faces: (ΣSv, 3, 48, 48) floating, normalised.
        face_lengths: (B,) int64, faces per clip; may be 0.
        spectrograms: (ΣSa, 1, 128, 32) floating, normalised.
        spectrogram_lengths: (B,) int64, chunks per clip; may be 0.
        labels: (B, E) floating, 1 where the emotion is present.
        most_faces: the largest of face_lengths, known to the host so that nothing waits for the
            device; None: read from face_lengths where they are on the CPU.
        most_chunks: likewise for spectrogram_lengths.
        text_there: (B,) bool, False at clips that have no text, whose vector is left out of MESM's
            query; None: an empty text is a text too, as in training.

    Raises:
        ValueError: shapes, dtypes or lengths do not fit together; says what was wanted and what
            came.
    """

    clip_ids: Sequence[str]
    text_ids: Tensor
    text_mask: Tensor
    faces: Tensor
    face_lengths: Tensor
    spectrograms: Tensor
    spectrogram_lengths: Tensor
    labels: Tensor
    most_faces: int | None = None
    most_chunks: int | None = None
    text_there: Tensor | None = None

    def __post_init__(self) -> None:
        check_fields("Batch", self)
        size = len(self.clip_ids)
        if size == 0:
            raise ValueError("Batch: wanted at least one clip, got none")
        _check_text(self.text_ids, self.text_mask, size)
        _check_frames("faces", self.faces, "face_lengths", self.face_lengths, FACE_SHAPE, size)
        _check_frames(
            "spectrograms",
            self.spectrograms,
            "spectrogram_lengths",
            self.spectrogram_lengths,
            CHUNK_SHAPE,
            size,
        )
        if self.labels.ndim != 2 or self.labels.shape[0] != size:
            raise ValueError(
                f"Batch: labels must be ({size}, emotions), got {tuple(self.labels.shape)}"
            )
        if not self.labels.is_floating_point():
            raise ValueError(f"Batch: labels must be floating, got {self.labels.dtype}")
        there = self.text_there
        if there is not None and (there.shape != (size,) or there.dtype != torch.bool):
            raise ValueError(
                f"Batch: text_there must be ({size},) torch.bool, got {tuple(there.shape)} "
                f"{there.dtype}"
            )
        self.most_faces = _largest("most_faces", self.most_faces, self.face_lengths)
        self.most_chunks = _largest("most_chunks", self.most_chunks, self.spectrogram_lengths)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; what is there already is not copied."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for copies to a GPU that overlap with work."""
        return self._with_tensors(Tensor.pin_memory)

    def without_frames(self) -> Batch:
        """The same clips without faces and without chunks."""
        return replace(
            self,
            faces=self.faces[:0],
            face_lengths=torch.zeros_like(self.face_lengths),
            spectrograms=self.spectrograms[:0],
            spectrogram_lengths=torch.zeros_like(self.spectrogram_lengths),
            most_faces=0,
            most_chunks=0,
        )

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {
            field.name: change(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


def check_fields(owner: str, batch: Any) -> None:
    """Refuse, with a ValueError, names that are no texts and tensors that are none.

    Args:
        owner: for the message.
        batch: a dataclass with `clip_ids`; every field that is annotated so is a tensor.
    """
    ids = batch.clip_ids
    if isinstance(ids, str) or not isinstance(ids, Sequence):
        raise ValueError(f"{owner}: clip_ids must be a sequence of names, got {type(ids).__name__}")
    if not all(isinstance(name, str) for name in ids):
        kind = next(type(name).__name__ for name in ids if not isinstance(name, str))
        raise ValueError(f"{owner}: clip_ids must be names, got one of type {kind}")
    for field in fields(batch):
        value = getattr(batch, field.name)
        if field.type == "Tensor" and not isinstance(value, Tensor):
            raise ValueError(f"{owner}: {field.name} must be a tensor, got {type(value).__name__}")


def _largest(name: str, known: int | None, lengths: Tensor) -> int | None:
    if lengths.device.type != "cpu":
        return known
    largest = int(lengths.max())
    if known is None:
        return largest
    if isinstance(known, bool) or not isinstance(known, int) or known < largest:
        raise ValueError(f"Batch: {name} must be the largest length, {largest}, got {known!r}")
    return known


def _check_text(ids: Tensor, mask: Tensor, size: int) -> None:
    if ids.ndim != 2 or 0 in ids.shape or ids.shape[0] != size or ids.dtype != torch.int64:
        raise ValueError(
            f"Batch: text_ids must be ({size}, T) torch.int64, T at least 1, "
            f"got {tuple(ids.shape)} {ids.dtype}"
        )
    if mask.shape != ids.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"Batch: text_mask must be {tuple(ids.shape)} torch.bool, "
            f"got {tuple(mask.shape)} {mask.dtype}"
        )


def _check_frames(
    name: str,
    frames: Tensor,
    lengths_name: str,
    lengths: Tensor,
    shape: tuple[int, ...],
    size: int,
) -> None:
    if frames.ndim != 4 or tuple(frames.shape[1:]) != shape or not frames.is_floating_point():
        raise ValueError(
            f"Batch: {name} must be (frames, {', '.join(map(str, shape))}) floating, "
            f"got {tuple(frames.shape)} {frames.dtype}"
        )
    if lengths.shape != (size,) or lengths.dtype != torch.int64:
        raise ValueError(
            f"Batch: {lengths_name} must be ({size},) torch.int64, "
            f"got {tuple(lengths.shape)} {lengths.dtype}"
        )
    # Reading a length waits for the device; only a CPU batch, where batches are made, is checked.
    if lengths.device.type != "cpu":
        return
    if int(lengths.min()) < 0 or int(lengths.sum()) != frames.shape[0]:
        raise ValueError(
            f"Batch: {lengths_name} must be at least 0 and sum to the {frames.shape[0]} {name}, "
            f"got {lengths.tolist()}"
        )
