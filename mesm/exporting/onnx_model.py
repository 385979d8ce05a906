"""A trained model as an ONNX file."""

from __future__ import annotations

import json
import logging
import warnings
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mesm.exporting.traced import OUTPUTS, Traced
from mesm.inference.loading import Trained
from mesm.models import MESM
from mesm_ops import SparseCrossModalBlock

PACKAGES = ("onnx", "onnxscript")
_MOST_BYTES = 2**31 - 1  # a file of protobuf


def check_packages() -> None:
    """Refuse, with a ValueError, to go on without the packages that write ONNX."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"export: the package {missing[0]} is missing; install what writes ONNX: "
            "pip install -e '.[onnx]'"
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
    with torch.no_grad(), _quiet(), _without_fast_path():
        program: Any = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            dynamic_shapes=(tuple(axes),),
            input_names=names,
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            verbose=False,
        )
    proto = program.model_proto
    for name, value in described(trained).items():
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


def described(trained: Trained) -> dict[str, str]:
    """Say by name all that the users of an exported model must know; lists are JSON."""
    found = {
        "mesm": metadata.version("mesm"),
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


def _set_default(proto: Any, name: str, values: list[float]) -> None:
    """Give an input the value that counts where a caller leaves it out."""
    default = proto.graph.initializer.add()
    default.name, default.data_type = name, 11  # double
    default.dims.append(len(values))
    default.double_data.extend(values)


class _quiet(warnings.catch_warnings):
    """Hold back what torch's exporter says to its own developers."""

    def __enter__(self) -> Any:
        found = super().__enter__()
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        return found

    def __exit__(self, *error: Any) -> None:
        logging.disable(logging.NOTSET)
        super().__exit__(*error)


class _without_fast_path:
    """Run encoders by torch's ops one by one, which alone can be exported."""

    def __enter__(self) -> None:
        self.before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)

    def __exit__(self, *error: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self.before)
