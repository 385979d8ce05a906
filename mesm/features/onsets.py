"""Bark-band energies and MFCCs where a voice sets in, as DisVoice's articulation features have
them (Vásquez-Correa et al., 2018).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.fft import dct

from mesm.features.manifest import Column
from mesm.features.pitch import track_pitch, voicing_onsets
from mesm.inputs.mel_filters import mel_filters
from mesm.inputs.spectrograms import SAMPLE_RATE

ROW = 0.4  # seconds
AROUND = round(0.04 * SAMPLE_RATE)  # samples on either side of an onset
FRAME, STEP = round(0.04 * SAMPLE_RATE), round(0.02 * SAMPLE_RATE)
FFT = 2048
BARK_BANDS, MFCCS = 22, 12
PRE_EMPHASIS = 0.97
FILTERS = 32
LIFTER = 22
# The least magnitude or filter output; its logarithm, -23.03, is what digital silence becomes.
FLOOR = 1e-10

ONSET_COLUMNS = [
    *(
        Column(
            name=f"bark_{k:02d}",
            formula=f"mean over onset frames of ln(max(1e-10, mean of |X(f)| where "
            f"{k - 1} <= bark(f) < {k})); bark(f) = 13 atan(0.00076 f) + 3.5 atan((f/7500)^2)",
        )
        for k in range(1, BARK_BANDS + 1)
    ),
    *(
        Column(
            name=f"mfcc_{n:02d}",
            formula=f"mean over onset frames of (1 + 11 sin(pi {n}/22)) sqrt(2/32) sum over m of "
            f"ln(max(1e-10, E_m)) cos(pi {n} (m + 1/2)/32), m = 0..31; E_m = mel filter m of "
            "|X(f)|^2 after y[t] = x[t] - 0.97 x[t-1]",
        )
        for n in range(1, MFCCS + 1)
    ),
]

Matrix = npt.NDArray[np.float64]


def onset_features(waveform: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Describe the voicing onsets of a clip, per 400 ms.

    An onset is where F0 (60 to 350 Hz) goes from 0 to voiced. The 80 ms around it are cut into
    frames of 40 ms every 20 ms under a Hamming window; a row is the mean over the frames of all
    onsets inside it.

    Args:
        waveform: (n,) at 16 kHz; its mean is subtracted.

    Returns:
        (ceil(n / 6400), 34) float32: 22 Bark-band energies, 12 MFCCs; NaN in a row without onset.
    """
    samples = np.asarray(waveform, np.float64)
    samples = samples - samples.mean()
    count = -(-len(samples) // round(ROW * SAMPLE_RATE))
    out = np.full((count, BARK_BANDS + MFCCS), np.nan)
    onsets = voicing_onsets(*track_pitch(samples))
    places = np.minimum((onsets / ROW).astype(int), count - 1)
    for row in np.unique(places):
        frames = np.concatenate([_transition(samples, t) for t in onsets[places == row]])
        emphasised = np.concatenate(
            [_transition(_emphasise(samples), t) for t in onsets[places == row]]
        )
        out[row] = np.concatenate([bark_energies(frames).mean(0), mfccs(emphasised).mean(0)])
    return out.astype(np.float32)


def bark_energies(frames: Matrix) -> Matrix:
    """Logarithm of the mean magnitude per Bark band.

    Args:
        frames: (F, n) samples at 16 kHz, n at most 2048; windowed already.

    Returns:
        (F, 22).
    """
    magnitude = np.abs(np.fft.rfft(frames, FFT))
    return np.log(np.maximum(magnitude @ _bark_bank(), FLOOR))


def mfccs(frames: Matrix) -> Matrix:
    """Mel-frequency cepstral coefficients 1 to 12, liftered.

    32 triangular filters of the HTK mel scale, mel(f) = 2595 log10(1 + f/700), from 0 to 8 kHz,
    of height 1; orthonormal DCT-II; lifter 1 + 11 sin(pi n / 22).

    Args:
        frames: (F, n) samples at 16 kHz, n at most 2048; pre-emphasised and windowed already.

    Returns:
        (F, 12).
    """
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2
    energies = np.log(np.maximum(power @ _mel_bank(), FLOOR))
    cepstrum = dct(energies, type=2, norm="ortho", axis=1)[:, 1 : MFCCS + 1]
    n = np.arange(1, MFCCS + 1)
    return cepstrum * (1 + LIFTER / 2 * np.sin(np.pi * n / LIFTER))


def _emphasise(samples: Matrix) -> Matrix:
    return samples - PRE_EMPHASIS * np.concatenate([[0.0], samples[:-1]])


def _transition(samples: Matrix, time: float) -> Matrix:
    """Windowed frames (3, 640) of the 80 ms around an onset; zeros beyond the clip's ends."""
    first = round(time * SAMPLE_RATE) - AROUND
    before = max(0, -first)
    part = samples[max(0, first) : first + 2 * AROUND]
    segment = np.pad(part, (before, 2 * AROUND - before - len(part)))
    frames = np.lib.stride_tricks.sliding_window_view(segment, FRAME)[::STEP]
    return frames * np.hamming(FRAME)


@cache
def _bark_bank() -> Matrix:
    """(1025, 22): averages the bins of each band."""
    f = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    bark = 13 * np.arctan(0.00076 * f) + 3.5 * np.arctan((f / 7500) ** 2)
    inside = (np.floor(bark)[:, None] == np.arange(BARK_BANDS)).astype(float)
    return inside / inside.sum(0)


@cache
def _mel_bank() -> Matrix:
    """(1025, 32)."""
    bank = mel_filters(SAMPLE_RATE, FFT, FILTERS, htk=True, norm=None, dtype=np.float64)
    return np.ascontiguousarray(bank.T)
