"""Fundamental frequency by RAPT (Talkin, 1995), as DisVoice asks pysptk for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mesm.features.sound import Samples
from mesm.features.sptk import load_sptk
from mesm.inputs.spectrograms import SAMPLE_RATE

LOWEST, HIGHEST = 60.0, 350.0  # Hz
STEP = 320  # samples, 20 ms
VOICE_BIAS = -0.2
FULL_SCALE = 2**15
# Two steps and a window of 7.5 ms; RAPT refuses shorter sounds.
SHORTEST = 760


def track_pitch(samples: Samples) -> npt.NDArray[np.float32]:
    """Follow the pitch of a voice.

    Args:
        samples: (n,) at 16 kHz, as `normalise` gives them.

    Returns:
        F0 (ceil(n / 320),) in Hz, every 20 ms; 0 where there is no voice, and in a sound shorter
        than 47.5 ms.
    """
    if len(samples) < SHORTEST:
        return np.zeros(-(-len(samples) // STEP), np.float32)
    pitch = _rapt(samples * FULL_SCALE)
    # RAPT adds faint noise from a generator that makes two numbers at a time, and keeps the second
    # from call to call: an odd call would change what the next clip gets. A second one evens it.
    if len(samples) % 2:
        _rapt(np.zeros(SHORTEST + 1))
    return pitch


def voicing_onsets(pitch: npt.NDArray[np.floating], samples: int) -> npt.NDArray[np.int64]:
    """Find the samples at which F0 goes from 0 to voiced, as DisVoice places them.

    Args:
        pitch: (frames,), every 20 ms.
        samples: how many the clip has.

    Returns:
        (onsets,): j · floor(samples / frames) for each j from 2 on with no voice at j - 1 and voice
        at j.
    """
    begins = 2 + np.flatnonzero((pitch[2:] > 0) & (pitch[1:-1] == 0))
    return begins * (samples // max(1, len(pitch)))


def _rapt(samples: Samples) -> npt.NDArray[np.float32]:
    return load_sptk().rapt(
        samples.astype(np.float32),
        SAMPLE_RATE,
        STEP,
        min=LOWEST,
        max=HIGHEST,
        voice_bias=VOICE_BIAS,
        otype="f0",
    )
