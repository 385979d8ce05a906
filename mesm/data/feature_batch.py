"""A two-phase baseline's input: feature vectors of the clips of one step, three streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mesm.config.modalities import Modality
from mesm.data.batch import check_fields

# Name in the batch by letter.
STREAMS = {modality.letter: modality.stream for modality in Modality}


@dataclass
class FeatureBatch:
    """B clips; each stream keeps its own lengths, and clips lie one after the other in clip order.

    Args:
        clip_ids: B names.
        text: (ΣT, 300) floating, a vector per word.
        text_lengths: (B,) int64, words per clip; may be 0.
        audio: (ΣSa, A) floating, a vector per 400 ms.
        audio_lengths: (B,) int64, vectors per clip; may be 0.
        video: (ΣSv, V) floating, a vector per frame.
        video_lengths: (B,) int64, frames per clip; may be 0.
        labels: (B, E) floating, 1 where the emotion is present.
        host_lengths: the three lengths on the CPU, by "t", "a" and "v", so that nothing waits for
            the device; None: taken from the lengths where they are on the CPU.

    Raises:
        ValueError: shapes, dtypes or lengths do not fit together; says what was wanted and what
            came.
    """

    clip_ids: Sequence[str]
    text: Tensor
    text_lengths: Tensor
    audio: Tensor
    audio_lengths: Tensor
    video: Tensor
    video_lengths: Tensor
    labels: Tensor
    host_lengths: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        check_fields("FeatureBatch", self)
        size = len(self.clip_ids)
        if size == 0:
            raise ValueError("FeatureBatch: wanted at least one clip, got none")
        for name in STREAMS.values():
            _check_stream(name, getattr(self, name), getattr(self, f"{name}_lengths"), size)
        if self.labels.ndim != 2 or self.labels.shape[0] != size:
            raise ValueError(
                f"FeatureBatch: labels must be ({size}, emotions), got {tuple(self.labels.shape)}"
            )
        if not self.labels.is_floating_point():
            raise ValueError(f"FeatureBatch: labels must be floating, got {self.labels.dtype}")
        on_cpu = self.text_lengths.device.type == "cpu"
        if self.host_lengths is None and on_cpu:
            self.host_lengths = {x: self.lengths(x) for x in STREAMS}
        if self.host_lengths is not None:
            _check_host_lengths(self.host_lengths, size)
            for x, known in self.host_lengths.items():
                if on_cpu and not torch.equal(known, self.lengths(x)):
                    raise ValueError(
                        f"FeatureBatch: host_lengths[{x!r}] must be {self.lengths(x).tolist()}, "
                        f"got {known.tolist()}"
                    )

    def __len__(self) -> int:
        return len(self.clip_ids)

    def rows(self, modality: str) -> Tensor:
        """The vectors (ΣS, d) of "t", "a" or "v"."""
        rows: Tensor = getattr(self, STREAMS[modality])
        return rows

    def lengths(self, modality: str) -> Tensor:
        """The lengths (B,) of "t", "a" or "v", where the batch is."""
        lengths: Tensor = getattr(self, f"{STREAMS[modality]}_lengths")
        return lengths

    def known_lengths(self, modality: str) -> Tensor:
        """The lengths (B,) on the CPU; waits for the device only where none are known."""
        if self.host_lengths is None:
            return self.lengths(modality).cpu()
        return self.host_lengths[modality]

    def to(self, device: torch.device | str) -> FeatureBatch:
        """The same batch on another device; what is there already is not copied."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> FeatureBatch:
        """The same batch in page-locked memory, for copies to a GPU that overlap with work."""
        return self._with_tensors(Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> FeatureBatch:
        tensors: dict[str, Any] = {
            field.name: change(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


def _check_host_lengths(known: Any, size: int) -> None:
    if not isinstance(known, dict) or known.keys() != STREAMS.keys():
        shown = sorted(map(str, known)) if isinstance(known, dict) else type(known).__name__
        raise ValueError(
            f"FeatureBatch: host_lengths must hold {', '.join(STREAMS)} alone, got {shown}"
        )
    for x, lengths in known.items():
        tensor = isinstance(lengths, Tensor)
        if not tensor or lengths.device.type != "cpu" or lengths.shape != (size,):
            shown = f"{tuple(lengths.shape)} on {lengths.device}" if tensor else repr(lengths)
            raise ValueError(
                f"FeatureBatch: host_lengths[{x!r}] must be ({size},) on cpu, got {shown}"
            )


def _check_stream(name: str, rows: Tensor, lengths: Tensor, size: int) -> None:
    if rows.ndim != 2 or not rows.is_floating_point():
        raise ValueError(
            f"FeatureBatch: {name} must be (rows, features) floating, "
            f"got {tuple(rows.shape)} {rows.dtype}"
        )
    if lengths.shape != (size,) or lengths.dtype != torch.int64:
        raise ValueError(
            f"FeatureBatch: {name}_lengths must be ({size},) torch.int64, "
            f"got {tuple(lengths.shape)} {lengths.dtype}"
        )
    # Reading a length waits for the device; only a CPU batch, where batches are made, is checked.
    if lengths.device.type != "cpu":
        return
    if int(lengths.min()) < 0 or int(lengths.sum()) != rows.shape[0]:
        raise ValueError(
            f"FeatureBatch: {name}_lengths must be at least 0 and sum to the {rows.shape[0]} rows "
            f"of {name}, got {lengths.tolist()}"
        )
