"""A clip's phonological posteriors, as Phonet computes them (Vásquez-Correa et al., 2019)."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from mesm.features.phonet_network import CLASSES, WINDOW, PhonetNetwork
from mesm.features.sound import Samples
from mesm.inputs.spectrograms import SAMPLE_RATE

FRAME, STEP = 400, 160  # samples: 25 ms, 10 ms
FFT = 512
FILTERS = 33
PRE_EMPHASIS = 0.97
# Phonet's noise after the sound, which fills the last window: 0.4 s.
PADDING = WINDOW * STEP
PADDING_LEVEL = 0.05
PRESENT = 0.5

Matrix = npt.NDArray[np.float64]


def posteriors(samples: Samples, network: PhonetNetwork) -> npt.NDArray[np.float32]:
    """Compute a clip's posteriors.

    The sound, and 0.4 s of noise of a deviation of 0.05 after it, is cut into windows of 40 frames.
    The noise is numpy's Mersenne Twister's from the seed 0: the same for every clip.

    Args:
        samples: (n,) at 16 kHz, as `normalise` gives them.
        network: computes them per window.

    Returns:
        (floor(n / 160) - 1, 18) float32, one row every 10 ms, in the order of `CLASSES`, corrected
        by `correct`; no rows where n is below 320.
    """
    count = max(0, len(samples) // STEP - 1)
    if count == 0:
        return np.zeros((0, len(CLASSES)), np.float32)
    features = filter_banks(np.concatenate([samples, _padding()]))
    windows = features[: len(features) // WINDOW * WINDOW].reshape(-1, WINDOW, FILTERS + 1)
    return correct(network(windows).reshape(-1, len(CLASSES))[:count])


def filter_banks(samples: Samples) -> Matrix:
    """Compute the network's input: python_speech_features' filter banks and energy, by log10.

    Frames of 25 ms every 10 ms without a window, zeros after the last sample, of the sound after
    y[t] = x[t] - 0.97 x[t - 1]; 33 triangles of the HTK mel scale between bins of 512 points. A 0
    counts as float64's epsilon.

    Args:
        samples: (n,) at 16 kHz.

    Returns:
        (1 + ceil((n - 400) / 160), 34), at least one row.
    """
    emphasised = samples - PRE_EMPHASIS * np.concatenate([[0.0], samples[:-1]])
    count = 1 + max(0, -(-(len(samples) - FRAME) // STEP))
    padded = np.pad(emphasised, (0, (count - 1) * STEP + FRAME - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::STEP]
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 / FFT
    energies = np.concatenate([power @ _mel_bank(), power.sum(1, keepdims=True)], 1)
    return np.log10(np.where(energies == 0, np.finfo(float).eps, energies))


def correct(found: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mend single frames: one on the other side of 0.5 than both its neighbours is their mean.

    Args:
        found: (n, classes).

    Returns:
        Likewise. Frames are gone through in order, each seeing what became of the one before.
    """
    out = found.copy()
    above = out >= PRESENT
    alone = (above[1:-1] != above[:-2]) & (above[1:-1] != above[2:])
    for place, name in np.argwhere(alone):
        before, here, after = out[place : place + 3, name] >= PRESENT
        if before != here != after:
            out[place + 1, name] = (out[place, name] + out[place + 2, name]) / 2
    return out


@cache
def _padding() -> Samples:
    return PADDING_LEVEL * np.random.RandomState(0).standard_normal(PADDING)


@cache
def _mel_bank() -> Matrix:
    """(257, 33): triangles between 35 bins at equal distances of mel from 0 to 8 kHz."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, FILTERS + 2) / 2595) - 1)
    edges = np.floor((FFT + 1) * hertz / SAMPLE_RATE)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(FFT // 2 + 1)[:, None]
    rising = (bins - low) / np.maximum(middle - low, 1)
    falling = (high - bins) / np.maximum(high - middle, 1)
    inside = [(bins >= low) & (bins < middle), (bins >= middle) & (bins < high)]
    return np.select(inside, [rising, falling], 0.0)
