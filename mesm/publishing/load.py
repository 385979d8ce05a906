"""A published model read again: by its own files, without corpus and training.

The folder may be anybody's. Nothing of it is run: weights are safetensors, all else is JSON, whose
sizes are checked before memory is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from mesm.config.end_to_end import FE2ESettings
from mesm.config.limits import MOST, MOST_LAYERS
from mesm.data.clips import Collate, Sample, normalise_faces
from mesm.evaluation.calibration import Temperatures
from mesm.evaluation.metrics import Thresholds
from mesm.evaluation.single_label import MostProbable
from mesm.evaluation.softmax_calibration import SOFTMAX, SoftmaxTemperature
from mesm.inputs.spectrograms import chunk
from mesm.inputs.subwords import PretrainedSubwords, Subwords, UnigramSubwords
from mesm.models import FE2E, MESM
from mesm.models.late_fusion import LateFusionModel
from mesm.publishing.contents import (
    CONFIG,
    HASHED,
    MEND,
    PREPROCESSOR,
    TOKENIZER,
    WEIGHTS,
    Config,
    Preprocessor,
    check_sizes,
    fixed,
    read_content,
)
from mesm.publishing.tokenizers import check_tokenizer
from mesm.runs.finite import first_not_finite
from mesm.runs.hashes import check_files
from mesm.runs.memory import memory_there_is
from mesm.runs.tensor_files import read_forms, read_tensors

MODELS: dict[str, type[LateFusionModel]] = {"fe2e": FE2E, "mesm": MESM}
# As safetensors call what is in models.
_DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL"}
# Entries of a list in a model's arguments.
_MOST_ENTRIES = 1000
# Bytes of the weights' header, which takes some 100 for a tensor.
MOST_HEADER = 4 << 20


@dataclass(frozen=True)
class PublishedModel:
    """All that predictions need, as a published folder has it.

    Attributes:
        path: the folder.
        weights: SHA-256 of its weights, by which the model is known.
        settings: of the model; places in them are names alone.
        model: in evaluation mode, on its device.
        preprocessing: how raw media become samples, the emotions' names among it.
        collate: samples to batches.
        decider: makes decisions of logits.
        temperatures: for calibrated probabilities.
    """

    path: Path
    weights: str
    settings: FE2ESettings
    model: LateFusionModel
    preprocessing: Preprocessor
    collate: Collate
    decider: Thresholds | MostProbable
    temperatures: Temperatures

    @property
    def emotions(self) -> tuple[str, ...]:
        """E names, in the order of the logits."""
        return tuple(self.preprocessing.emotions)

    def sample(
        self,
        clip_id: str,
        text: str,
        faces: NDArray[np.uint8],
        spectrogram: NDArray[np.float32],
    ) -> Sample:
        """A clip as the model's batches are made of, as a run makes it of a prepared one.

        Args:
            clip_id: any name.
            text: what is said; "" where nothing is known.
            faces: (S, 48, 48, 3) uint8, RGB, of `mesm.inputs.faces.crop_faces`; S may be 0.
            spectrogram: (128, T) float32, of `mesm.inputs.spectrograms.log_mel`; T may be 0.

        Raises:
            ValueError: a shape does not fit.
        """
        read = self.preprocessing
        if faces.ndim != 4 or faces.shape[1:] != (48, 48, 3) or faces.dtype != np.uint8:
            raise ValueError(f"faces must be (S, 48, 48, 3) uint8, got {faces.shape} {faces.dtype}")
        return Sample(
            clip_id=clip_id,
            text=text,
            faces=normalise_faces(faces),
            chunks=chunk(spectrogram, read.spectrogram_mean, read.spectrogram_std, read.sound),
            labels=torch.zeros(len(read.emotions)),
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (N, E), float64, of logits (N, E)."""
        return self.temperatures.probabilities(logits)


def load_published(folder: Path | str, device: torch.device | str = "cpu") -> PublishedModel:
    """Load what `mesm publish` wrote.

    Args:
        folder: of its files; more than these are not looked at.
        device: where the model goes.

    Raises:
        ValueError: the folder is none, is damaged, or is of another version; says which file.
    """
    folder = Path(folder)
    check_sizes(folder)
    config = read_content(folder / CONFIG, Config, is_sealed=True)
    if config.files.keys() != set(HASHED):
        raise ValueError(f"{folder / CONFIG}: names not all of {', '.join(HASHED)}; {MEND}")
    read = read_content(folder / PREPROCESSOR, Preprocessor)
    _check_agreement(folder, config, read)
    settings = _settings(folder, config)
    _check_weights(folder, config, len(read.emotions))
    _check_same(folder / CONFIG, settings, config.arguments)
    # All sizes fit by now, so there is no more to hash than a model has.
    check_files(folder, {str(name): value for name, value in config.files.items()}, MEND)
    model = _model(folder, config)
    subwords = _subwords(folder, read, model)
    return PublishedModel(
        path=folder,
        weights=config.files["model.safetensors"],
        settings=settings,
        model=model.to(device).eval(),
        preprocessing=read,
        collate=Collate(subwords, read.max_text_length),
        decider=_decider(config),
        temperatures=_temperatures(config),
    )


def _check_agreement(folder: Path, config: Config, read: Preprocessor) -> None:
    """Refuse files that are of different models, or inputs that this version makes otherwise."""
    emotions, single = read.emotions, config.task == "single_label"
    other = [name for name, value in fixed().items() if read.fixed.get(name) != value]
    if other or read.fixed.keys() != fixed().keys():
        raise ValueError(
            f"{folder / PREPROCESSOR}: wants inputs that this version of mesm does not make, of "
            f"another {', '.join(other) or 'kind'}; take mesm {config.version}"
        )
    if single and not read.single_label:
        raise ValueError(
            f"{folder / CONFIG}: decides for one emotion where clips may have several; {MEND}"
        )
    values = config.threshold.values
    if (values is None) != single or (values is not None and len(values) != len(emotions)):
        raise ValueError(f"{folder / CONFIG}: thresholds that do not fit its emotions; {MEND}")
    if list(config.calibration.values) != ([SOFTMAX] if single else emotions):
        raise ValueError(f"{folder / CONFIG}: temperatures of other emotions; {MEND}")


def _settings(folder: Path, config: Config) -> FE2ESettings:
    try:
        return config.model_settings
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()[:200]
        raise ValueError(f"{folder / CONFIG}: settings of no {config.system} ({reason})") from None


def _check_same(place: Path, settings: FE2ESettings, arguments: Mapping[str, Any]) -> None:
    """Refuse, with a ValueError, settings that say otherwise what the model is made with."""
    said = settings.model_dump(mode="json")
    for name, value in arguments.items():
        if name in said and said[name] != value:
            shown = f"{name} is {str(said[name])[:60]}, and it is made with {str(value)[:60]}"
            raise ValueError(f"{place}: settings of another model: {shown}; {MEND}")


def _check_weights(folder: Path, config: Config, emotions: int) -> None:
    """Refuse, with a ValueError, weights that are not of the model that config.json describes.

    They are known by their header. No memory is taken, whatever the sizes.
    """
    place = folder / CONFIG
    _check_arguments(place, config.arguments)
    if config.arguments.get("emotions") != emotions:
        raise ValueError(f"{place}: a model of other emotions than {PREPROCESSOR} names; {MEND}")
    try:
        with torch.device("meta"):  # takes no memory, whatever the sizes
            empty = MODELS[config.system](**config.arguments)
    # Every kind of layer stumbles over nonsense in its own way.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{place}: makes no {config.system} ({reason}); {MEND}") from error
    _check_forms(folder / WEIGHTS, empty)
    taken = [*empty.parameters(), *empty.buffers()]
    # Once for the model, once for what is read of the file.
    wanted = 2 * sum(value.numel() * value.element_size() for value in taken)
    if wanted > memory_there_is():
        raise ValueError(
            f"{folder / WEIGHTS}: loading it wants {wanted / 2**30:,.1f} GiB, the memory is "
            f"{memory_there_is() / 2**30:,.1f} GiB; load it where there is more"
        )


def _model(folder: Path, config: Config) -> LateFusionModel:
    """The model with its weights, whose sizes are known to fit."""
    found = read_tensors(folder / WEIGHTS, MEND)
    odd = first_not_finite(found)
    if odd is not None:
        raise ValueError(f"{folder / WEIGHTS}: {odd} holds values that are not finite; {MEND}")
    model = MODELS[config.system](**config.arguments)
    model.load_state_dict(found)
    return model


def _check_arguments(place: Path, arguments: Mapping[str, Any], inside: str = "") -> None:
    """Refuse, with a ValueError, sizes that would take for ever, before a layer is made."""
    for name, value in arguments.items():
        where = f"{inside}{name}"[:80]
        most = MOST_LAYERS if "layer" in name or "group" in name else MOST
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                _check_arguments(place, one, f"{where}.")
            elif isinstance(one, int | float) and abs(one) > most:
                got = str(one)[:40]
                raise ValueError(f"{place}: {where} must be at most {most}, got {got}; {MEND}")
        if isinstance(value, list) and len(value) > _MOST_ENTRIES:
            raise ValueError(f"{place}: {where} has {len(value)} entries; {MEND}")


def _check_forms(file: Path, model: LateFusionModel) -> None:
    """Refuse, with a ValueError, weights of another model, by the file's header."""
    found = read_forms(file, MEND, MOST_HEADER)
    wanted = {
        name: (_DTYPES.get(value.dtype, str(value.dtype)), tuple(value.shape))
        for name, value in model.state_dict().items()
    }
    for name in sorted(wanted.keys() | found.keys()):
        one, other = wanted.get(name), found.get(name)
        if one != other:
            shown = [f"{form[0]} {form[1]}" if form else "nothing" for form in (one, other)]
            raise ValueError(
                f"{file}: weights of another model: {name[:80]!r} must be {shown[0]}, is "
                f"{shown[1][:80]}; {MEND}"
            )


def _subwords(folder: Path, read: Preprocessor, model: LateFusionModel) -> Subwords:
    file = folder / TOKENIZER
    kind: type[UnigramSubwords] | type[PretrainedSubwords] = UnigramSubwords
    if read.subwords == "pretrained":
        kind = PretrainedSubwords
    check_tokenizer(file)
    try:
        subwords = kind.load(file)
        ids, _ = subwords.encode(["", "a"], read.max_text_length)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{str(error)[:300]}; {MEND}") from error
    text = model.text
    if text is not None:
        most = max(subwords.vocab_size - 1, int(ids.max()) if ids.numel() else 0)
        if most >= text.vocabulary:
            raise ValueError(
                f"{file}: has subword {most}, the model knows {text.vocabulary}; {MEND}"
            )
        if text.positions is not None and read.max_text_length > text.positions:
            raise ValueError(
                f"{folder / PREPROCESSOR}: texts of {read.max_text_length} subwords, the model "
                f"knows {text.positions} positions; {MEND}"
            )
    return subwords


def _decider(config: Config) -> Thresholds | MostProbable:
    values = config.threshold.values
    return MostProbable() if values is None else Thresholds(config.threshold.policy, tuple(values))


def _temperatures(config: Config) -> Temperatures:
    own = config.calibration
    kind = SoftmaxTemperature if config.task == "single_label" else Temperatures
    return kind(own.values, own.notes, own.split, own.clips)
