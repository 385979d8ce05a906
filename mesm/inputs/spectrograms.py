"""Sound to log-mel spectrograms and their chunks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE = 16_000
WINDOW = 400  # 25 ms, also the length of the Fourier transform
HOP = 200  # 12.5 ms
MEL_BINS = 128
CHUNK_COLUMNS = 32  # 400 ms
# The least power; its logarithm, -23.03, is what digital silence becomes.
POWER_FLOOR = 1e-10
# A recording may end this much before a clip does.
LONGEST_LACK = 0.25


class AudioError(ValueError):
    """A recording that cannot be read, or does not reach into a clip."""


def read_waveform(
    path: Path, start: float, end: float, channel: int | None = None
) -> npt.NDArray[np.float32]:
    """Read a part of a recording at 16 kHz, mono.

    Args:
        path: any file soundfile reads.
        start: seconds.
        end: seconds; the recording may end up to 0.25 s before.
        channel: which channel; None: the mean of all.

    Returns:
        (n,) float32 in -1 to 1.

    Raises:
        AudioError: the file cannot be read, has no such channel, or ends too early; names it.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            if channel is not None and channel >= channels:
                raise AudioError(f"{path} has {channels} channel(s), none at index {channel}")
            if file.frames / rate < end - LONGEST_LACK:
                raise AudioError(f"{path} ends at {file.frames / rate:.2f} s, before {end:.2f} s")
            first = min(round(start * rate), file.frames)
            file.seek(first)
            samples = file.read(max(0, round(end * rate) - first), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path} cannot be read as sound ({error})") from error
    if len(samples) == 0:
        raise AudioError(f"{path} has no sound from {start:.2f} s to {end:.2f} s")
    waveform = samples.mean(axis=1) if channel is None else samples[:, channel]
    if rate != SAMPLE_RATE:
        import soxr

        waveform = soxr.resample(waveform, rate, SAMPLE_RATE)
    return np.ascontiguousarray(waveform, dtype=np.float32)


@cache
def _mel_bank() -> Tensor:
    import librosa

    return torch.from_numpy(librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=MEL_BINS))


@torch.inference_mode()
def log_mel(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the natural logarithm of the mel power spectrogram, floored at 1e-10.

    Periodic Hann window of 25 ms, every 12.5 ms, centred, zeros beyond both ends; librosa's
    (Slaney's) 128 mel bands from 0 to 8 kHz.

    Args:
        waveform: (n,) float32, 16 kHz.

    Returns:
        (128, 1 + n // 200) float32.
    """
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


def chunk(spectrogram: npt.NDArray[np.float32] | Tensor, mean: float, std: float) -> Tensor:
    """Normalise a spectrogram and cut it into chunks of 32 columns (400 ms).

    The last chunk is padded with zeros after the normalisation: what is missing looks like the
    training set's mean, and not like a sudden silence.

    Args:
        spectrogram: (128, T) float32, T at least 1.
        mean: over the training split.
        std: over the training split.

    Returns:
        (ceil(T / 32), 1, 128, 32) float32.

    Raises:
        ValueError: the shape does not fit.
    """
    columns = torch.as_tensor(spectrogram)
    if columns.ndim != 2 or columns.shape[0] != MEL_BINS or columns.shape[1] == 0:
        raise ValueError(f"a spectrogram must be ({MEL_BINS}, T), got {tuple(columns.shape)}")
    normalised = (columns - mean) / std
    padded = F.pad(normalised, (0, -columns.shape[1] % CHUNK_COLUMNS))
    chunks = padded.unflatten(1, (-1, CHUNK_COLUMNS)).transpose(0, 1)
    return chunks.unsqueeze(1).contiguous()
