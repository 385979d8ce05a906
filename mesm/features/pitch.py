"""Fundamental frequency by autocorrelation (Boersma, 1993), as Praat computes it.

Written here because the choices were a copyleft binding to Praat, which tests use as their oracle,
and librosa: its `yin` does not say which frames are voiced, and its `pyin` takes about as long as
the sound lasts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mesm.inputs.spectrograms import SAMPLE_RATE

LOWEST, HIGHEST = 60.0, 350.0  # Hz
STEP = 0.01  # seconds
WINDOW = 3 / LOWEST  # three periods of the lowest pitch
# Praat's standard settings.
VOICING_THRESHOLD = 0.45
SILENCE_THRESHOLD = 0.03
OCTAVE_COST = 0.01
OCTAVE_JUMP_COST = 0.35
VOICING_COST = 0.14
CANDIDATES = 14

_SAMPLES = round(WINDOW * SAMPLE_RATE)
_PERIOD = round(SAMPLE_RATE / LOWEST)  # the longest
_FFT = 2048  # at least one and a half windows: the autocorrelation must not wrap around
_HANN = np.hanning(_SAMPLES + 2)[1:-1]
_LAGS = np.arange(int(SAMPLE_RATE / HIGHEST) - 1, int(SAMPLE_RATE / LOWEST) + 3)

Vector = npt.NDArray[np.float64]


def track_pitch(waveform: npt.NDArray[np.floating]) -> tuple[Vector, Vector]:
    """Follow the pitch of a voice.

    Per frame of 50 ms, every 10 ms: the autocorrelation of the Hann-windowed frame, divided by that
    of the window; its peaks between 60 and 350 Hz are the candidates, and one of them is no voice.
    The path through the candidates that is strongest, less the cost of its jumps, is the pitch.

    Args:
        waveform: (n,) at 16 kHz.

    Returns:
        Times (frames,) in seconds, of the frames' centres, and F0 (frames,) in Hz, 0 where there
        is no voice. No frames where the sound is shorter than one.
    """
    samples = np.asarray(waveform, np.float64)
    duration = len(samples) / SAMPLE_RATE
    frames = int(np.floor((duration - WINDOW) / STEP + 1e-9)) + 1
    if frames < 1:
        return np.zeros(0), np.zeros(0)
    # Centred, so that as much is left out at either end.
    times = duration / 2 + STEP * (np.arange(frames) - (frames - 1) / 2)
    starts = np.clip(
        np.rint(times * SAMPLE_RATE).astype(int) - _SAMPLES // 2, 0, len(samples) - _SAMPLES
    )
    windows = np.lib.stride_tricks.sliding_window_view(samples, _SAMPLES)[starts]
    middle = _SAMPLES // 2
    period = windows[:, middle - _PERIOD : middle + _PERIOD]
    centred = windows - period.mean(1, keepdims=True)
    loudest = np.abs(samples - samples.mean()).max()
    if loudest == 0:
        return times, np.zeros(frames)
    frequency, strength = _candidates(centred)
    half = slice(middle - _PERIOD // 2, middle + _PERIOD // 2)
    relative = np.abs(centred[:, half]).max(1) / loudest
    quiet = np.maximum(0, 2 - relative / (SILENCE_THRESHOLD / (1 + VOICING_THRESHOLD)))
    frequency = np.concatenate([np.zeros((frames, 1)), frequency], 1)
    strength = np.concatenate([(VOICING_THRESHOLD + quiet)[:, None], strength], 1)
    return times, _best_path(frequency, strength)


def voicing_onsets(times: Vector, pitch: Vector) -> Vector:
    """Find the instants (seconds) where F0 goes from 0 to voiced, half-way between the frames."""
    begins = np.flatnonzero((pitch[1:] > 0) & (pitch[:-1] == 0))
    return (times[begins] + times[begins + 1]) / 2


def _candidates(frames: Vector) -> tuple[Vector, Vector]:
    """Frequencies (frames, 14) and strengths; -inf where there are fewer peaks."""
    spectrum = np.fft.rfft(frames * _HANN, _FFT)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, _FFT)
    energy = correlation[:, :1]
    window = np.fft.irfft(np.abs(np.fft.rfft(_HANN, _FFT)) ** 2, _FFT)
    safe = np.where(energy > 0, energy, 1.0)
    r = correlation[:, _LAGS] / safe / (window[_LAGS] / window[0])
    before, here, after = r[:, :-2], r[:, 1:-1], r[:, 2:]
    # A parabola through a peak and its neighbours.
    bend = np.minimum(before - 2 * here + after, -1e-12)
    shift = np.clip(0.5 * (before - after) / bend, -1, 1)
    lag = _LAGS[1:-1] + shift
    height = here - 0.25 * (before - after) * shift
    height = np.where(height > 1, 1 / np.maximum(height, 1), height)
    frequency = SAMPLE_RATE / lag
    peak = (here > before) & (here >= after) & (here > 0.5 * VOICING_THRESHOLD)
    peak &= (frequency >= LOWEST) & (frequency <= HIGHEST)
    strength = np.where(peak, height - OCTAVE_COST * np.log2(LOWEST / frequency), -np.inf)
    best = np.argsort(-strength, axis=1, kind="stable")[:, :CANDIDATES]
    rows = np.arange(len(frames))[:, None]
    return frequency[rows, best], strength[rows, best]


def _best_path(frequency: Vector, strength: Vector) -> Vector:
    """Viterbi's path; candidate 0 is no voice."""
    scale = 0.01 / STEP
    voiced = frequency > 0
    octaves = np.log2(np.where(voiced, frequency, 1.0))
    score = strength[0]
    back = np.zeros(frequency.shape, int)
    for i in range(1, len(frequency)):
        both = voiced[i - 1][:, None] & voiced[i][None, :]
        change = voiced[i - 1][:, None] != voiced[i][None, :]
        jump = np.abs(octaves[i - 1][:, None] - octaves[i][None, :])
        cost = scale * (VOICING_COST * change + OCTAVE_JUMP_COST * jump * both)
        total = score[:, None] - cost
        back[i] = total.argmax(0)
        score = total.max(0) + strength[i]
    place = int(score.argmax())
    path = np.zeros(len(frequency))
    for i in range(len(frequency) - 1, -1, -1):
        path[i] = frequency[i, place]
        place = back[i, place]
    return path
