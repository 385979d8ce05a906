"""Bark-band energies and MFCCs where a voice sets in, as DisVoice's articulation features have
them (Vásquez-Correa et al., 2018).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from mesm.features.manifest import Column
from mesm.features.pitch import track_pitch, voicing_onsets
from mesm.features.sound import ROW_SAMPLES, Samples, normalise, row_count
from mesm.features.sptk import load_sptk
from mesm.inputs.spectrograms import SAMPLE_RATE

AROUND = round(0.04 * SAMPLE_RATE)  # samples on either side of an onset
FRAME, STEP = round(0.04 * SAMPLE_RATE), round(0.02 * SAMPLE_RATE)
PADDED = 1024  # a frame with zeros after it, to the next power of two
BARK_WINDOW = PADDED // 4
BARK_FFT = 2048
BARK_BANDS, MFCCS = 22, 12
# Added to a band's mean magnitude; its logarithm, -69.08, is what digital silence becomes.
TINY = 1e-30

_BARK = "bark(f) = 13 atan(0.00076 f) + 3.5 atan((f/7500)^2)"
ONSET_COLUMNS = [
    *(
        Column(
            name=f"bark_{k:02d}",
            formula=f"mean over onset frames of ln(1e-30 + mean of |X(f)| where {k - 1} <= bark(f) "
            f"< {k}), X of the frame's first 16 ms under a second Hamming window; {_BARK}",
        )
        for k in range(1, BARK_BANDS + 1)
    ),
    *(
        Column(
            name=f"mfcc_{n:02d}",
            formula=f"mean over onset frames of coefficient {n} of pysptk.sptk.mfcc(frame and zeros"
            " to 1024, order=12, alpha=0.97, num_filterbanks=32, cepslift=22, use_hamming=True)",
        )
        for n in range(1, MFCCS + 1)
    ),
]

Matrix = npt.NDArray[np.float64]


def onset_features(waveform: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Describe the voicing onsets of a clip, per 400 ms.

    An onset is where F0 (60 to 350 Hz) goes from 0 to voiced. The 80 ms around it are cut into
    frames of 40 ms every 20 ms under a Hamming window; a row is the mean over the frames of all
    onsets inside it, by the onset's sample.

    Args:
        waveform: (n,) at 16 kHz, n at least 1.

    Returns:
        (ceil(n / 6400), 34) float32: 22 Bark-band energies, 12 MFCCs; NaN in a row without onset.
    """
    out = np.full((row_count(len(waveform)), BARK_BANDS + MFCCS), np.nan, np.float32)
    samples = normalise(waveform)
    if samples is None:
        return out
    onsets = voicing_onsets(track_pitch(samples), len(samples))
    places = onsets // ROW_SAMPLES
    for row in np.unique(places):
        frames = np.concatenate([onset_frames(samples, t) for t in onsets[places == row]])
        if len(frames):
            out[row] = np.concatenate([bark_energies(frames).mean(0), mfccs(frames).mean(0)])
    return out


def onset_frames(samples: Samples, onset: int) -> Matrix:
    """Cut the frames around an onset.

    Args:
        samples: (n,), as `normalise` gives them.
        onset: a sample, at least 40 ms before the end: RAPT sees no voice later.

    Returns:
        Three windowed frames (3, 1024): 640 samples and zeros. None, (0, 1024), of an onset nearer
        than 40 ms to the start: DisVoice has none either.
    """
    first = onset - AROUND
    if first < 0:
        return np.zeros((0, PADDED))
    part = samples[first : onset + AROUND]
    frames = np.lib.stride_tricks.sliding_window_view(part, FRAME)[::STEP] * np.hamming(FRAME)
    return np.pad(frames, ((0, 0), (0, PADDED - FRAME)))


def bark_energies(frames: Matrix) -> Matrix:
    """Logarithm of the mean magnitude per Bark band.

    Args:
        frames: (F, 1024), as `onset_frames` gives them; their first quarter counts.

    Returns:
        (F, 22).
    """
    heads = frames[:, :BARK_WINDOW] * np.hamming(BARK_WINDOW)
    magnitude = np.abs(np.fft.rfft(heads, BARK_FFT))
    return np.log(magnitude @ _bark_bank() + TINY)


def mfccs(frames: Matrix) -> Matrix:
    """Mel-frequency cepstral coefficients 1 to 12, as pysptk has them.

    Args:
        frames: (F, 1024), as `onset_frames` gives them, F at least 1.

    Returns:
        (F, 12).
    """
    mfcc = load_sptk().mfcc
    options = {"num_filterbanks": 32, "cepslift": 22, "use_hamming": True}
    return np.stack(
        [mfcc(frame, order=MFCCS, fs=SAMPLE_RATE, alpha=0.97, **options) for frame in frames]
    )


@cache
def _bark_bank() -> Matrix:
    """(1025, 22): averages the bins of each band."""
    f = np.fft.rfftfreq(BARK_FFT, 1 / SAMPLE_RATE)
    bark = 13 * np.arctan(0.00076 * f) + 3.5 * np.arctan((f / 7500) ** 2)
    inside = (np.floor(bark)[:, None] == np.arange(BARK_BANDS)).astype(float)
    return inside / inside.sum(0)
