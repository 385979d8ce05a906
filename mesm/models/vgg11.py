"""Start the convolutions from the VGG-11 weights that torchvision publishes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from mesm.models.late_fusion import LateFusionModel
from mesm.runs.tensor_files import read_tensors

logger = logging.getLogger(__name__)


def load_vgg11(model: LateFusionModel, file: Path) -> dict[str, str | None]:
    """Copy VGG-11's convolutions into those of the model's extractors whose shapes fit.

    Both networks are walked from input to output; each 3x3 or 5x5 convolution takes the next
    VGG layer of its shape, if there is one. Only kernels are taken: a convolution's bias has no
    effect before a batch norm.

    Args:
        model: FE2E or MESM.
        file: torchvision's `vgg11-*.pth`, or the same names in a `.safetensors` file.

    Returns:
        Per convolution of the model, the VGG layer it was loaded from, or None.

    Raises:
        ValueError: the file holds no VGG features, or none of them fits.
    """
    kernels = _read_kernels(file)
    loaded: dict[str, str | None] = {}
    for branch, extractor in model.feature_extractors.items():
        left = list(kernels.items())
        for name, weight in _convolutions(extractor):
            place = next((i for i, (_, k) in enumerate(left) if k.shape == weight.shape), None)
            source = None
            if place is not None:
                source, kernel = left[place]
                with torch.no_grad():
                    weight.copy_(kernel)
                left = left[place + 1 :]
            loaded[f"{branch}.{name}"] = source
    if not any(loaded.values()):
        raise ValueError(f"{file}: no layer fits the model's convolutions, nothing was loaded")
    for name, source in loaded.items():
        logger.info("VGG-11: %s %s", name, f"from {source}" if source else "left as it was")
    return loaded


def _convolutions(extractor: nn.Module) -> list[tuple[str, Tensor]]:
    """Convolution kernels in the order in which the frames pass them."""
    return [
        (name, parameter)
        for name, parameter in extractor.named_parameters()
        if parameter.ndim == 4 and parameter.shape[-1] > 1
    ]


def _read_kernels(file: Path) -> dict[str, Tensor]:
    state = read_tensors(file, "vgg11 wants torchvision's VGG-11 weights, .pth or .safetensors")
    layers = {}
    for name, value in state.items():
        match = re.fullmatch(r"features\.(\d+)\.weight", name)
        if match and value.ndim == 4:
            if not bool(value.isfinite().all()):
                raise ValueError(f"{file}: {name} holds values that are not finite")
            layers[int(match[1])] = (name, value)
    if not layers:
        raise ValueError(
            f"{file}: no features.N.weight there; wanted torchvision's VGG-11, "
            f"got {sorted(state)[:3]}"
        )
    return dict(layers[number] for number in sorted(layers))
