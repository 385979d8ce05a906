"""A model as programs without this package call it: plain tensors in, probabilities out."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

import torch
from torch import Tensor, nn

from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE, Batch
from mesm.evaluation.task import SINGLE_LABEL
from mesm.inference.loading import Trained
from mesm.models import MESM
from mesm_ops import SparseCrossModalBlock

# The inputs by modality's letter: frames and their numbers per clip, or subwords and their mask.
_READ = {
    "t": ("text_ids", "text_mask"),
    "v": ("faces", "face_lengths"),
    "a": ("spectrograms", "spectrogram_lengths"),
}
_SHAPES = {"faces": FACE_SHAPE, "spectrograms": CHUNK_SHAPE}
# As programs without this package check them; the shapes of frames follow.
_SIZES = {
    "text_ids": "I64 clips subwords",
    "text_mask": "BOOL clips subwords",
    "faces": "F32 faces*",
    "face_lengths": "I64 clips =faces*",
    "spectrograms": "F32 chunks*",
    "spectrogram_lengths": "I64 clips =chunks*",
}
OUTPUTS = ("logits", "probabilities")


@dataclass
class _Clips:
    """A `Batch` as models read it, without its checks, which would fix sizes in a trace."""

    text_ids: Tensor | None = None
    text_mask: Tensor | None = None
    faces: Tensor | None = None
    face_lengths: Tensor | None = None
    spectrograms: Tensor | None = None
    spectrogram_lengths: Tensor | None = None
    most_faces: int | None = None
    most_chunks: int | None = None
    text_there: Tensor | None = None


class Traced(nn.Module):
    """A trained model to be traced, with inputs of any number of clips, frames and subwords.

    A clip of one black face and one silent chunk is added and taken away again: no size is then 0,
    which traces take for a size of its own.

    Args:
        trained: the model, on the CPU.

    Attributes:
        inputs: the names of the inputs, in order; those of `mesm.data.batch.Batch`.
    """

    temperatures: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model = trained.model
        letters = trained.model.modalities
        self.inputs = tuple(
            name for letter, names in _READ.items() if letter in letters for name in names
        )
        self.single = trained.task is SINGLE_LABEL
        known = trained.temperatures
        values = [1.0] if known is None else list(known.values.values())
        self.register_buffer("temperatures", torch.tensor(values, dtype=torch.float64))
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, E) float32 and probabilities (B, E) float64 of B clips.

        Args:
            inputs: as `inputs` names them, in shapes and dtypes of `Batch`.
        """
        given = dict(zip(self.inputs, inputs, strict=True))
        text = None
        if self.model.text is not None:
            text = self.model.text(given["text_ids"], given["text_mask"])
            text = torch.cat([text, text.new_zeros(1, text.shape[1])])
        clips = cast(Batch, _Clips(**_with_another(given)))
        logits = self.model.fused(clips, text).logits[:-1]
        scores = logits.double() / self.temperatures
        return logits, scores.softmax(1) if self.single else scores.sigmoid()

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of two clips to trace with; no size is 0 or 1, or that of another axis."""
        random = torch.Generator().manual_seed(0)
        made: dict[str, Tensor] = {
            "text_ids": torch.zeros(2, 5, dtype=torch.int64),
            "text_mask": torch.ones(2, 5, dtype=torch.bool),
            "face_lengths": torch.tensor([1, 2]),
            "spectrogram_lengths": torch.tensor([3, 1]),
        }
        for name, frames in (("faces", 3), ("spectrograms", 4)):
            made[name] = torch.randn(frames, *_SHAPES[name], generator=random)
        return tuple(made[name] for name in self.inputs)

    def sizes(self) -> list[str]:
        """Say of each input its name, its dtype as safetensors has it, and its sizes.

        A size is a number or a name. A name stands for one size in all inputs, at least 1 unless it
        ends in "*"; after a "=" it is the sum of the values, none of which is negative.
        """
        return [
            " ".join([name, _SIZES[name], *map(str, _SHAPES.get(name, ()))]) for name in self.inputs
        ]

    def axes(self) -> dict[str, dict[int, str]]:
        """The axes of each input that may have any size, by name."""
        known = {
            "text_ids": {0: "clips", 1: "subwords"},
            "text_mask": {0: "clips", 1: "subwords"},
            "faces": {0: "faces"},
            "face_lengths": {0: "clips"},
            "spectrograms": {0: "chunks"},
            "spectrogram_lengths": {0: "clips"},
        }
        return {name: known[name] for name in self.inputs}


def _with_another(given: Mapping[str, Tensor]) -> dict[str, Any]:
    """The frames of all clips and of one more that has one frame of zeros."""
    added: dict[str, Any] = {}
    for name, longest in (("faces", "most_faces"), ("spectrograms", "most_chunks")):
        if name not in given:
            continue
        frames = given[name]
        lengths = given[f"{name[:-1]}_lengths"]
        added[name] = torch.cat([frames, frames.new_zeros(1, *_SHAPES[name])])
        added[f"{name[:-1]}_lengths"] = torch.cat([lengths, lengths.new_ones(1)])
        added[longest] = added[name].shape[0]  # an upper bound that needs no values
    return added


def described(trained: Trained, traced: Traced) -> dict[str, str]:
    """Say by name all that the users of an exported model must know; lists are JSON."""
    found = {
        "mesm": metadata.version("mesm"),
        "inputs": json.dumps(traced.inputs),
        "sizes": json.dumps(traced.sizes()),
        "system": trained.settings.name,
        "emotions": json.dumps(trained.emotions),
        "calibrated": json.dumps(trained.temperatures is not None),
        "weights": trained.weights,
    }
    if isinstance(trained.model, MESM):
        found["p"] = json.dumps(block_names(trained.model))
    return found


def block_names(model: MESM) -> list[str]:
    """Name a model's blocks in the order of its p's, e.g. "audio 1" to "face 3"."""
    order = [module for module in model.modules() if isinstance(module, SparseCrossModalBlock)]
    names = {
        id(block): f"{name} {place}"
        for name, extractor in model.sparse_extractors.items()
        for place, block in enumerate(extractor.blocks, 1)
    }
    return [names[id(block)] for block in order]


class quiet(warnings.catch_warnings):
    """Hold back what torch's exporter says to its own developers."""

    def __enter__(self) -> Any:
        found = super().__enter__()
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        return found

    def __exit__(self, *error: Any) -> None:
        logging.disable(logging.NOTSET)
        super().__exit__(*error)


class without_fast_path:
    """Run encoders by torch's ops one by one, which alone can be exported."""

    def __enter__(self) -> None:
        self.before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)

    def __exit__(self, *error: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self.before)
