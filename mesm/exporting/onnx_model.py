"""A trained model as an ONNX file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mesm.exporting.traced import OUTPUTS, Traced, described, quiet, without_fast_path
from mesm.inference.loading import Trained
from mesm.models import MESM
from mesm.runs.extras import install

PACKAGES = ("onnx", "onnxscript")
_MOST_BYTES = 2**31 - 1  # a file of protobuf


def check_packages() -> None:
    """Refuse, with a ValueError, to go on without the packages that write ONNX."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"export: the package {missing[0]} is missing; install what writes ONNX: "
            f"{install('onnx')}"
        )


def onnx_bytes(trained: Trained) -> bytes:
    """The content of an ONNX file: clips to logits and probabilities.

    The inputs are those of `Traced`. A MESM has a further one, "p": float64, the share of the
    attention that each block keeps, in the order that the metadata names; without it, the model's
    own shares count.

    Args:
        trained: the model, on the CPU.

    Raises:
        ValueError: the file would be larger than ONNX files can be.
    """
    from mesm_ops.onnx import OPSET, WithP

    traced = Traced(trained)
    inputs, axes, names = traced.example(), [*traced.axes().values()], list(traced.inputs)
    module: torch.nn.Module = traced
    shares: list[float] = []
    if isinstance(trained.model, MESM):
        module = WithP(traced)
        shares = module.shares
        inputs, axes = (*inputs, torch.tensor(shares, dtype=torch.float64)), [*axes, {}]
        names.append("p")
    with torch.no_grad(), quiet(), without_fast_path():
        program: Any = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            dynamic_shapes=(tuple(axes),),
            input_names=names,
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            # Folded constants would make the file larger; onnxruntime folds them as it loads.
            optimize=False,
            verbose=False,
        )
    proto = program.model_proto
    for name, value in described(trained, traced).items():
        proto.metadata_props.add(key=name, value=value)
    if shares:
        _set_default(proto, "p", shares)
    check_size(trained.path, proto.ByteSize())
    content: bytes = proto.SerializeToString()
    return content


def check_size(place: Path, size: int) -> None:
    """Refuse, with a ValueError, a model that is larger, in bytes, than ONNX files can be."""
    if size > _MOST_BYTES:
        raise ValueError(
            f"{place}: its model takes {size / 2**30:.1f} GiB, and an ONNX file holds 2; train one "
            "with a smaller text encoder"
        )


def _set_default(proto: Any, name: str, values: list[float]) -> None:
    """Give an input the value that counts where a caller leaves it out."""
    default = proto.graph.initializer.add()
    default.name, default.data_type = name, 11  # double
    default.dims.append(len(values))
    default.double_data.extend(values)
