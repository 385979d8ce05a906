"""Waveforms to log-mel spectrograms and their chunks."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mesm.config.modalities import Sound
from mesm.inputs.mel_filters import mel_filters

SAMPLE_RATE = 16_000
WINDOW = 400  # 25 ms, also the length of the Fourier transform
HOP = 200  # 12.5 ms
MEL_BINS = 128
CHUNK_COLUMNS = 32  # 400 ms
# The deviation of softplus(x) over that of x, where x is as loud as speech with its pauses.
LOG1P_SPREAD = 0.7
# The least power; its logarithm, -23.03, is what digital silence becomes.
POWER_FLOOR = 1e-10
# Full scale is 1; files of floats may go beyond. From here on no recording was meant, and powers
# of larger samples would leave float32's range.
LOUDEST = 1e6


class AudioError(ValueError):
    """A recording that cannot be read, or does not reach into a clip."""


def check_samples(samples: npt.NDArray[np.float32], what: str) -> None:
    """Refuse, with an AudioError, samples that are not finite, or beyond 1e6."""
    loudest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(loudest):
        kind = "NaN" if np.isnan(samples).any() else "infinite values"
        raise AudioError(f"{what} holds {kind}")
    if loudest > LOUDEST:
        raise AudioError(f"{what} holds samples of {loudest:.3g}, wanted -1 to 1")


@cache
def _mel_bank() -> Tensor:
    return torch.from_numpy(mel_filters(SAMPLE_RATE, WINDOW, MEL_BINS))


@torch.inference_mode()
def log_mel(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the natural logarithm of the mel power spectrogram, floored at 1e-10.

    Periodic Hann window of 25 ms, every 12.5 ms, centred, zeros beyond both ends; librosa's
    (Slaney's) 128 mel bands from 0 to 8 kHz.

    Args:
        waveform: (n,) float32, 16 kHz.

    Returns:
        (128, 1 + n // 200) float32.

    Raises:
        AudioError: a sample is not finite, or beyond 1e6.
    """
    check_samples(waveform, "the waveform")
    spectrum = torch.stft(
        torch.from_numpy(waveform),
        n_fft=WINDOW,
        hop_length=HOP,
        window=torch.hann_window(WINDOW),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return (_mel_bank() @ power).clamp_(min=POWER_FLOOR).log_().numpy()


def chunk(
    spectrogram: npt.NDArray[np.float32] | Tensor, mean: float, std: float, sound: Sound = "log"
) -> Tensor:
    """Normalise a spectrogram and cut it into chunks of 32 columns (400 ms).

    The last chunk is padded with zeros after the normalisation. By "log" that is the training set's
    mean, (x - mean) / std of the logarithm of power x, and not a sudden silence; by "log1p" it is
    silence: log(1 + power / geometric mean of power), over 0.7 std, about its own deviation.

    Args:
        spectrogram: (128, T) float32; T is 0 where there is no sound.
        mean: over the training split.
        std: over the training split.
        sound: "log" or "log1p".

    Returns:
        (ceil(T / 32), 1, 128, 32) float32.

    Raises:
        ValueError: the shape does not fit, or mean and std cannot normalise anything.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ValueError(f"wanted a finite mean and a std above 0, got {mean} and {std}")
    columns = torch.as_tensor(spectrogram)
    if columns.ndim != 2 or columns.shape[0] != MEL_BINS:
        raise ValueError(f"a spectrogram must be ({MEL_BINS}, T), got {tuple(columns.shape)}")
    if sound == "log1p":
        normalised = F.softplus(columns - mean) / (LOG1P_SPREAD * std)
    else:
        normalised = (columns - mean) / std
    padded = F.pad(normalised, (0, -columns.shape[1] % CHUNK_COLUMNS))
    count = padded.shape[1] // CHUNK_COLUMNS
    chunks = padded.unflatten(1, (count, CHUNK_COLUMNS)).transpose(0, 1)
    return chunks.unsqueeze(1).contiguous()
