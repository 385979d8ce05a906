"""Files of tensors that others wrote: safetensors, and torch's pickles without their code."""

from __future__ import annotations

import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from mesm.runs.ordinary import not_a_file

# A damaged pickle makes torch's reader stumble anywhere; each of these was seen to be raised.
_TORCH = (
    *(pickle.UnpicklingError, EOFError, struct.error, LookupError, ValueError, OverflowError),
    *(TypeError, AttributeError, AssertionError, RuntimeError, OSError),
)


def read_tensors(file: Path, mend: str) -> dict[str, Tensor]:
    """Read tensors by their names.

    Args:
        file: `.safetensors`, or else written by `torch.save`; nothing in it is executed.
        mend: what to do about a damaged file, for the message.

    Raises:
        ValueError: the file is not there, or is damaged or another; names it and the mend.
        OSError: the file may not be read.
    """
    if not file.is_file():
        raise ValueError(f"{file} {not_a_file(file)}; {mend}")
    file.open("rb").close()  # the readers below do not say that a file may not be read
    content: Any
    if file.suffix == ".safetensors":
        try:
            content = load_file(file)
        except SafetensorError as error:
            raise _damaged(file, "safetensors file", error, mend) from error
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of odd versions, in damaged files
                content = torch.load(file, map_location="cpu", weights_only=True)
        except _TORCH as error:
            raise _damaged(file, "file of torch weights", error, mend) from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: wanted tensors by name, got {type(content).__name__}; {mend}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.is_sparse:
            shown = f"{name!r}: {type(value).__name__}"[:80]
            raise ValueError(f"{file}: wanted dense tensors by name, got {shown}; {mend}")
    return content


def read_forms(
    file: Path, mend: str, most_header: int | None = None
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and shape of each tensor in a safetensors file, from its header alone.

    Args:
        file: whose header must fit its length; no tensor is read.
        mend: as of `read_tensors`.
        most_header: bytes that its header may have, of which each takes some twenty to be read;
            None: any number.

    Returns:
        By name the dtype as the file has it, such as "F32", and the shape.

    Raises:
        ValueError: the file is not there, or is damaged or another; names it and the mend.
    """
    if not file.is_file():
        raise ValueError(f"{file} {not_a_file(file)}; {mend}")
    if most_header is not None:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
        if most_header < length <= file.stat().st_size:  # a longer one is told as damage
            raise ValueError(
                f"{file}: names its tensors in {length} bytes, wanted at most {most_header}; {mend}"
            )
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (SafetensorError, OverflowError) as error:
        raise _damaged(file, "safetensors file", error, mend) from error


def _damaged(file: Path, kind: str, error: Exception, mend: str) -> ValueError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ValueError(f"{file}: not a {kind}, or damaged ({lines[0][:200]}); {mend}")
