"""Checkpoints: weights and Adam's state as safetensors, everything else as JSON; no pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mesm.runs.files import finite_json, write_beside
from mesm.runs.finite import first_not_finite
from mesm.runs.folder import RunFolder, json_text
from mesm.runs.ordinary import ordinary
from mesm.runs.tensor_files import read_tensors

MEND = "copy the run again from where it is whole, or delete its folder and train it anew"
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
        processes: how many began the training, which fixes how many clips a step has; None: not
            noted, as in earlier checkpoints.
    """

    corpus: dict[str, Any]
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    finished: str | None = None
    scaler: dict[str, Any] | None = None
    processes: int | None = None


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as contiguous CPU tensors."""
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def load_weights(model: nn.Module, file: Path) -> None:
    """Take all weights from a safetensors file.

    Raises:
        ValueError: the file is not there or damaged, holds values that are not finite, or names,
            shapes or dtypes are not the model's.
    """
    found = _read(file)
    wanted = model.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in wanted]
    problems += [
        f"{name} must be {_form(wanted[name], found[name])}, is {_form(found[name], wanted[name])}"
        for name in wanted
        if name in found and _differ(wanted[name], found[name])
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(
            f"{file}: a checkpoint of another model than this {type(model).__name__}: "
            f"{'; '.join(problems[:4])}{more}; {MEND}"
        )
    odd = first_not_finite(found)
    if odd is not None:
        raise ValueError(
            f"{file}: {odd} holds values that are not finite: its training diverged, or the file "
            f"is damaged; {MEND}"
        )
    model.load_state_dict(found)


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or one.dtype != other.dtype


def _form(tensor: Tensor, other: Tensor) -> str:
    """The shape, and the dtype where that is what differs from another's."""
    return f"{tuple(tensor.shape)}{f' {tensor.dtype}' if tensor.dtype != other.dtype else ''}"


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
            STATE: json_text(asdict(progress), folder.last / STATE, indent=2).encode(),
        }
    )


def read_progress(folder: RunFolder) -> Progress | None:
    """How far the run had come; None: it has no checkpoint.

    Raises:
        ValueError: the checkpoint's state cannot be read, or has values that none has.
    """
    file = folder.last / STATE
    if not folder.last.exists():
        return None
    try:
        values = finite_json(ordinary(file).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"wanted keys and values, got {type(values).__name__}")
        progress = Progress(**values)
        _check_progress(progress)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        message = f"{file}: cannot be read ({error}); delete {folder.last} to start anew"
        raise ValueError(message) from error
    return progress


# The figures of an epoch's record that the training or a command reads.
_NUMBERS = ("train_loss", "valid_loss", "valid_f1")
_NUMBERS_OR_NONE = ("gradient_norm", "valid_accuracy", "learning_rate", "clips_per_second")


def check_record(record: Any, epoch: int) -> None:
    """Refuse, with a ValueError, what is no record of an epoch.

    Args:
        record: from a checkpoint's state or a line of metrics.jsonl.
        epoch: which one it must be.
    """
    if not isinstance(record, dict):
        raise ValueError(f"the record of epoch {epoch} is {type(record).__name__}")
    if record.get("epoch") != epoch or isinstance(record["epoch"], bool):
        raise ValueError(f"the record of epoch {epoch} says it is of {record.get('epoch')!r}")
    for name in _NUMBERS:
        # fp16's losses may overflow, and are then left out.
        if not _is_number(record.get(name)) and not (name == "train_loss" and name in record):
            raise ValueError(f"epoch {epoch}: {name} must be a number, is {record.get(name)!r}")
    for name in ("train_loss", *_NUMBERS_OR_NONE):
        if record.get(name) is not None and not _is_number(record[name]):
            raise ValueError(f"epoch {epoch}: {name} must be a number, is {record[name]!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_progress(progress: Progress) -> None:
    def check(name: str, right: bool) -> None:
        if not right:
            shown = repr(getattr(progress, name))
            raise ValueError(f"{name} is {shown if len(shown) <= 60 else f'{shown[:60]}...'}")

    epoch, best = progress.epoch, progress.best_epoch
    check("corpus", isinstance(progress.corpus, dict))
    check("epoch", type(epoch) is int and epoch >= 0)
    check("history", isinstance(progress.history, list) and len(progress.history) == epoch)
    check("best_epoch", type(best) is int and min(epoch, 1) <= best <= epoch)
    check("finished", progress.finished is None or (type(progress.finished) is str and epoch > 0))
    begun = progress.processes
    check("processes", begun is None or (type(begun) is int and begun > 0))
    check("scaler", progress.scaler is None or isinstance(progress.scaler, dict))
    for place, record in enumerate(progress.history):
        check_record(record, place + 1)


def load_last(model: nn.Module, optimizer: torch.optim.Optimizer, folder: RunFolder) -> None:
    """Take weights and Adam's state from the last checkpoint.

    Raises:
        ValueError: they are another model's, not whole, or not finite; says how to start anew.
    """
    mend = f"delete {folder.last} to start anew"
    try:
        load_weights(model, folder.last / MODEL)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix(f'; {MEND}')}; {mend}") from error
    parameters = dict(model.named_parameters())
    file = folder.last / OPTIMIZER
    try:
        found = _read(file)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix(f'; {MEND}')}; {mend}") from error
    _check_adam(found, parameters, file, mend)
    for key, value in found.items():
        kind, _, name = key.partition("/")
        if kind != "step":
            value = value.to(parameters[name].device)
            # As Adam makes it: laid out like the parameter.
            value = torch.empty_like(parameters[name], requires_grad=False).copy_(value)
        optimizer.state[parameters[name]][kind] = value


_ADAM = ("exp_avg", "exp_avg_sq", "step")


def _check_adam(
    found: dict[str, Tensor], parameters: Mapping[str, Tensor], file: Path, mend: str
) -> None:
    if not found:
        raise ValueError(f"{file}: is empty; {mend}")
    for key, value in found.items():
        kind, _, name = key.partition("/")
        fits = name in parameters and kind in _ADAM
        if not fits or value.shape != (() if kind == "step" else parameters[name].shape):
            raise ValueError(f"{file}: a checkpoint of another model: {key} does not fit; {mend}")
        for other in _ADAM:
            if f"{other}/{name}" not in found:
                raise ValueError(f"{file}: not whole: {other}/{name} is missing; {mend}")
    odd = first_not_finite(found)
    if odd is not None:
        raise ValueError(f"{file}: {odd} holds values that are not finite; {mend}")


def read_arguments(folder: RunFolder) -> dict[str, Any]:
    """The arguments that the run's model is made with, from its config.json.

    Raises:
        ValueError: the file is missing or damaged; says how to make it again.
    """
    file = folder.model_arguments
    try:
        arguments = finite_json(ordinary(file).read_text(encoding="utf-8"))
        if not isinstance(arguments, dict):
            raise ValueError(f"wanted keys and values, got {type(arguments).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file}: cannot be read ({error}); {REMAKE}") from error
    return arguments


REMAKE = "delete it, and the same `mesm train` makes it again"


def _read(file: Path) -> dict[str, Tensor]:
    return read_tensors(file, MEND)
