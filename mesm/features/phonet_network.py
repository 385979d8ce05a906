"""Phonet's network for 18 phonological classes (Vásquez-Correa et al., 2019), over its own weights.

The files are found without importing phonet, which would need TensorFlow.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mesm.runs.extras import install
from mesm.runs.hashes import sha256

COMMAND = "pip install --no-deps phonet==0.3.7"
# SHA-256 of the files in phonet 0.3.7.
FILES = {
    "model.h5": "a1a8d745d54c7c66b479ecae6b9bb0ae102642a1ad0965214a906512ec46b622",
    "mu.npy": "d2cabfca516be5c28470a638e1b8c78a7ed0eb644df84dc883ebadb1cd87caad",
    "std.npy": "dea606c8fa7f13babcac38d78ff7afd6022498e35f36506e80a7d3db4250e958",
}
# Phonet's phonological classes, in the order in which its network has them.
CLASSES = (
    "vocalic", "consonantal", "back", "anterior", "open", "close", "nasal", "stop", "continuant",
    "lateral", "flap", "trill", "voice", "strident", "labial", "dental", "velar", "pause",
)  # fmt: skip
WINDOW = 40  # frames
_UNITS = 128
_NORM_EPSILON = 1e-3  # Keras' own
# Windows at a time: 26 s of sound, some 100 MB.
_BATCH = 64


class PhonetNetwork:
    """Posteriors of the classes, from windows of filter banks.

    Normalisation, two bidirectional GRU layers whose reset gate acts before the recurrent product
    (Keras' `reset_after=False`, which torch's GRU has not), a hidden layer, and per class another
    one and two logits.

    Args:
        folder: with Phonet's model.h5, mu.npy and std.npy.

    Raises:
        FileNotFoundError: a file or h5py is missing; says how to install it.
        ValueError: a file is not phonet 0.3.7's.
    """

    def __init__(self, folder: Path) -> None:
        for name, digest in FILES.items():
            _check(folder / name, digest)
        self._mean, self._std = (np.load(folder / name) for name in ("mu.npy", "std.npy"))
        weights = _read_weights(folder / "model.h5")
        norm = "batch_normalization_1"
        # Both are applied to the input and after another: one factor and one shift.
        deviation = (weights[norm, "moving_variance"] + _NORM_EPSILON).sqrt()
        self._scale = weights[norm, "gamma"] / deviation
        self._shift = weights[norm, "beta"] - weights[norm, "moving_mean"] * self._scale
        self._layers = [_Recurrent(weights, number) for number in (1, 2)]
        hidden = "time_distributed_1"
        self._hidden = weights[hidden, "kernel"], weights[hidden, "bias"]
        # The classes' hidden layers are numbered on from 2; side by side they are one product.
        own = [f"time_distributed_{number}" for number in range(2, 2 + len(CLASSES))]
        self._own = (
            torch.cat([weights[name, "kernel"] for name in own], 1),
            torch.cat([weights[name, "bias"] for name in own]),
        )
        self._logits = (
            torch.stack([weights[name, "kernel"] for name in CLASSES]),
            torch.stack([weights[name, "bias"] for name in CLASSES])[:, None],
        )

    @torch.inference_mode()
    def __call__(self, windows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Compute posteriors.

        Args:
            windows: (n, 40, 34), log10 of 33 filter banks and the energy.

        Returns:
            (n, 40, 18) float32, 0 to 1, in the order of `CLASSES`.
        """
        scaled = torch.from_numpy((windows - self._mean) / self._std).float()
        return torch.cat([self._run(part) for part in scaled.split(_BATCH)]).numpy()

    def _run(self, x: Tensor) -> Tensor:
        windows = len(x)
        x = (x * self._scale + self._shift).transpose(0, 1)
        for layer in self._layers:
            x = layer(x)
        x = torch.addmm(self._hidden[1], x.flatten(0, 1), self._hidden[0]).relu_()
        x = torch.addmm(self._own[1], x, self._own[0]).relu_()
        by_class = x.unflatten(1, (len(CLASSES), _UNITS)).transpose(0, 1)
        logits = torch.baddbmm(self._logits[1], by_class, self._logits[0])
        posteriors = logits.softmax(2)[:, :, 1]
        return posteriors.unflatten(1, (WINDOW, windows)).permute(2, 1, 0)


class _Recurrent:
    """A bidirectional GRU layer; both directions step side by side."""

    def __init__(self, weights: dict[tuple[str, str], Tensor], number: int) -> None:
        names = [f"{direction}_gru_{number}" for direction in ("forward", "backward")]
        # Gates in Keras' order: update, reset, candidate.
        self._kernel = torch.stack([weights[name, "kernel"] for name in names])
        self._bias = torch.stack([weights[name, "bias"] for name in names])[:, None]
        recurrent = torch.stack([weights[name, "recurrent_kernel"] for name in names])
        self._gates = recurrent[:, :, : 2 * _UNITS].contiguous()
        self._candidate = recurrent[:, :, 2 * _UNITS :].contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """(40, n, inputs) to (40, n, 256)."""
        steps, windows, _ = x.shape
        both = torch.stack([x, x.flip(0)]).flatten(1, 2)
        projected = torch.baddbmm(self._bias, both, self._kernel).unflatten(1, (steps, windows))
        state = x.new_zeros(2, windows, _UNITS)
        out = x.new_empty(2, steps, windows, _UNITS)
        for step in range(steps):
            here = projected[:, step]
            gates = torch.baddbmm(here[..., : 2 * _UNITS], state, self._gates).sigmoid_()
            update, reset = gates[..., :_UNITS], gates[..., _UNITS:]
            fresh = torch.baddbmm(here[..., 2 * _UNITS :], reset * state, self._candidate).tanh_()
            state = torch.lerp(fresh, state, update)
            out[:, step] = state
        return torch.cat([out[0], out[1].flip(0)], 2)


@cache
def load_network() -> PhonetNetwork:
    """Give the network over the installed weights.

    Raises:
        FileNotFoundError: phonet or h5py is missing; says how to install it.
        ValueError: the files are not phonet 0.3.7's.
    """
    return PhonetNetwork(weights_folder())


def weights_folder() -> Path:
    """Find the folder of Phonet's weight files without importing the package.

    Raises:
        FileNotFoundError: the package is missing; says how to install it.
    """
    spec = importlib.util.find_spec("phonet")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(_missing("no package phonet"))
    return Path(next(iter(spec.submodule_search_locations))) / "models"


def _missing(what: str) -> str:
    return (
        f"Phonet's weights are missing ({what}); install them with: {COMMAND}, or name Phonet's "
        "own CSV files with --phonet"
    )


def _check(file: Path, digest: str) -> None:
    if not file.is_file():
        raise FileNotFoundError(_missing(f"no file {file}"))
    if sha256(file) != digest:
        raise ValueError(
            f"{file} is not that of phonet 0.3.7; install it again with: "
            f"pip install --force-reinstall --no-deps {COMMAND.split()[-1]}"
        )


def _read_weights(file: Path) -> dict[tuple[str, str], Tensor]:
    """Read a Keras file: (layer, name) to its weights."""
    try:
        import h5py
    except ImportError as error:
        raise FileNotFoundError(
            f"h5py is missing, which reads Phonet's weights; install it with: {install('features')}"
        ) from error
    weights = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, weight = name.split("/")[-2:]
            weights[layer, weight.removesuffix(":0")] = torch.from_numpy(item[()])

    with h5py.File(file) as content:
        content.visititems(keep)
    return weights
