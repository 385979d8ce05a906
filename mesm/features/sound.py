"""A clip's sound as DisVoice takes it, and the rows of 400 ms that describe it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mesm.inputs.spectrograms import SAMPLE_RATE

ROW = 0.4  # seconds
ROW_SAMPLES = round(ROW * SAMPLE_RATE)
# The least loudness of a sound; anything fainter is the rounding of a constant.
FAINTEST = 1e-9

Samples = npt.NDArray[np.float64]


def normalise(waveform: npt.NDArray[np.floating]) -> Samples | None:
    """Subtract a clip's mean and divide by the largest magnitude.

    Args:
        waveform: (n,) at 16 kHz, n at least 1.

    Returns:
        (n,) float64 from -1 to 1; None where there is silence, of which nothing can be measured.
    """
    samples = np.asarray(waveform, np.float64)
    samples = samples - samples.mean()
    loudest = np.abs(samples).max()
    return None if loudest < FAINTEST else samples / loudest


def row_count(samples: int) -> int:
    """Count the rows of so many samples; the last row may be shorter than 400 ms."""
    return -(-samples // ROW_SAMPLES)
