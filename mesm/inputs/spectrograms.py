"""Sound to log-mel spectrograms and their chunks."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

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
# A recording may end this much before a clip does: aligners place words up to half a second off.
LONGEST_LACK = 0.5
# Samples per second: telephones have 8,000, studios 192,000. Far outside, a header is damaged, and
# its rate would move every clip to another place.
RATES = (4_000, 768_000)
# Full scale is 1; files of floats may go beyond. From here on no recording was meant, and powers
# of larger samples would leave float32's range.
LOUDEST = 1e6


class AudioError(ValueError):
    """A recording that cannot be read, or does not reach into a clip."""


class ShortSoundError(AudioError):
    """A recording that ends before a clip begins, or too long before the clip ends."""


def read_waveform(
    path: Path,
    start: float,
    end: float,
    channel: int | None = None,
    channels: int | None = None,
) -> npt.NDArray[np.float32]:
    """Read a part of a recording at 16 kHz, mono.

    Args:
        path: any file soundfile reads.
        start: seconds, at least 0.
        end: seconds, after the start; the recording may end up to 0.5 s before.
        channel: which channel; None: the mean of all.
        channels: how many the recording must have; None: any number.

    Returns:
        (n,) float32 in -1 to 1.

    Raises:
        ShortSoundError: the recording ends before the start, or more than 0.5 s before the end.
        AudioError: the file cannot be read, has no such channel or another number of them, a rate
            outside 4 kHz to 768 kHz, or samples that are not finite or beyond 1e6; names it. Or
            start and end are no part of a recording.
    """
    import soundfile

    if not 0 <= start < end < math.inf:
        raise AudioError(f"{path}: wanted a part from 0 s on, got {start:.2f} s to {end:.2f} s")
    try:
        with soundfile.SoundFile(path) as file:
            rate, there = file.samplerate, file.channels
            if channels is not None and there != channels:
                raise AudioError(f"{path} has {there} channel(s), wanted {channels}")
            if channel is not None and channel >= there:
                raise AudioError(f"{path} has {there} channel(s), none at index {channel}")
            if not RATES[0] <= rate <= RATES[1]:
                raise AudioError(
                    f"{path} has {rate} samples per second, wanted {RATES[0]} to {RATES[1]}"
                )
            length = file.frames / rate
            if length < end - LONGEST_LACK or length <= start:
                clip = f"the clip goes from {start:.2f} s to {end:.2f} s"
                raise ShortSoundError(f"{path} ends at {length:.2f} s, {clip}")
            first = min(round(start * rate), file.frames)
            file.seek(first)
            samples = file.read(max(0, round(end * rate) - first), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path} cannot be read as sound ({error})") from error
    if len(samples) == 0:
        raise AudioError(f"{path} has no sound from {start:.2f} s to {end:.2f} s")
    # Each channel, before the mean: opposite infinities would hide in one.
    _check_samples(samples if channel is None else samples[:, channel], str(path))
    waveform = samples.mean(axis=1) if channel is None else samples[:, channel]
    if rate != SAMPLE_RATE:
        import soxr

        waveform = soxr.resample(waveform, rate, SAMPLE_RATE)
    return np.ascontiguousarray(waveform, dtype=np.float32)


def _check_samples(samples: npt.NDArray[np.float32], what: str) -> None:
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
    _check_samples(waveform, "the waveform")
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
        spectrogram: (128, T) float32, T at least 1.
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
    if columns.ndim != 2 or columns.shape[0] != MEL_BINS or columns.shape[1] == 0:
        raise ValueError(f"a spectrogram must be ({MEL_BINS}, T), got {tuple(columns.shape)}")
    if sound == "log1p":
        normalised = F.softplus(columns - mean) / (LOG1P_SPREAD * std)
    else:
        normalised = (columns - mean) / std
    padded = F.pad(normalised, (0, -columns.shape[1] % CHUNK_COLUMNS))
    chunks = padded.unflatten(1, (-1, CHUNK_COLUMNS)).transpose(0, 1)
    return chunks.unsqueeze(1).contiguous()
