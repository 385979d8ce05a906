"""Checkpoints: weights and Adam's state as safetensors, everything else as JSON; no pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mesm.runs.files import write_beside
from mesm.runs.folder import RunFolder

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class Progress:
    """How far a training has come.

    Args:
        corpus: what identifies the corpus; a run goes on with the same only.
        epoch: finished epochs.
        history: one record per finished epoch.
        best_epoch: the epoch whose weights are the run's; 0: none yet.
        finished: why the training is over; None: it is not.
        scaler: the state of fp16's gradient scaler, if there is one.
    """

    corpus: dict[str, Any]
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    finished: str | None = None
    scaler: dict[str, Any] | None = None


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as contiguous CPU tensors."""
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def load_weights(model: nn.Module, file: Path) -> None:
    """Take all weights from a safetensors file.

    Raises:
        ValueError: the file is not there or damaged, or names or shapes are not the model's.
    """
    found = _read(file)
    wanted = model.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in wanted]
    problems += [
        f"{name} must be {tuple(wanted[name].shape)}, is {tuple(found[name].shape)}"
        for name in wanted
        if name in found and wanted[name].shape != found[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(
            f"{file}: a checkpoint of another model than this {type(model).__name__}: "
            f"{'; '.join(problems[:4])}{more}"
        )
    model.load_state_dict(found)


def save_best(model: nn.Module, folder: RunFolder) -> None:
    """Make the model's weights the run's."""
    write_beside(folder.best, save(weights_of(model), metadata={"format": "pt"}))


def save_last(
    model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, folder: RunFolder
) -> None:
    """Write the checkpoint from which the training can go on."""
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            state[f"{key}/{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    folder.replace_last(
        {
            MODEL: save(weights_of(model), metadata={"format": "pt"}),
            OPTIMIZER: save(state),
            STATE: json.dumps(asdict(progress), indent=2).encode(),
        }
    )


def read_progress(folder: RunFolder) -> Progress | None:
    """How far the run had come; None: it has no checkpoint.

    Raises:
        ValueError: the checkpoint's state cannot be read.
    """
    file = folder.last / STATE
    if not folder.last.exists():
        return None
    try:
        return Progress(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        message = f"{file}: cannot be read ({error}); delete {folder.last} to start anew"
        raise ValueError(message) from error


def load_last(model: nn.Module, optimizer: torch.optim.Optimizer, folder: RunFolder) -> None:
    """Take weights and Adam's state from the last checkpoint.

    Raises:
        ValueError: they are another model's.
    """
    load_weights(model, folder.last / MODEL)
    parameters = dict(model.named_parameters())
    file = folder.last / OPTIMIZER
    for key, value in _read(file).items():
        kind, _, name = key.partition("/")
        if name not in parameters or (kind != "step" and value.shape != parameters[name].shape):
            raise ValueError(f"{file}: a checkpoint of another model: {key} does not fit")
        if kind != "step":
            value = value.to(parameters[name].device)
            # As Adam makes it: laid out like the parameter.
            value = torch.empty_like(parameters[name], requires_grad=False).copy_(value)
        optimizer.state[parameters[name]][kind] = value


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ValueError(f"{file}: no such checkpoint")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: not a safetensors file, or damaged ({error})") from error
