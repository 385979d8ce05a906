import math

import librosa
import numpy as np
import pytest
import torch

from mesm.inputs.spectrograms import (
    POWER_FLOOR,
    chunk,
    log_mel,
)


@pytest.fixture(scope="module")
def sound():
    rng = np.random.default_rng(0)
    t = np.arange(20000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * t * (1 + 0.2 * t))
    return (tone + 0.01 * rng.standard_normal(t.size)).astype(np.float32)


def test_log_mel_against_librosa(sound):
    wanted = librosa.feature.melspectrogram(
        y=sound, sr=16000, n_fft=400, hop_length=200, n_mels=128, pad_mode="constant"
    )
    power = np.exp(log_mel(sound))
    assert power.shape == (128, 101)
    np.testing.assert_allclose(power, np.maximum(wanted, 1e-10), rtol=2e-3, atol=1e-6)
    assert np.abs(power - wanted).max() < 1e-5 * wanted.max()


def test_silence_is_the_floor_and_short_sound_has_a_column():
    assert np.all(log_mel(np.zeros(1000, np.float32)) == np.float32(np.log(1e-10)))
    assert log_mel(np.ones(10, np.float32)).shape == (128, 1)


def test_log1p_is_of_power_over_its_geometric_mean_and_0_in_silence_and_padding():
    spectrogram = np.random.default_rng(1).normal(-8, 3, (128, 40)).astype(np.float32)
    spectrogram[:, :3] = math.log(POWER_FLOOR)
    chunks = chunk(spectrogram, -8.0, 3.0, "log1p")
    joined = chunks[:, 0].transpose(0, 1).reshape(128, 64)
    ratio = np.exp(spectrogram.astype(np.float64)) / np.exp(-8.0)
    wanted = torch.from_numpy(np.log1p(ratio) / (0.7 * 3.0)).float()
    torch.testing.assert_close(joined[:, :40], wanted, rtol=1e-6, atol=1e-7)
    assert joined[:, :3].max() < 2e-6
    assert not joined[:, 40:].any()
    assert (joined >= 0).all()


def test_chunks_are_normalised_and_the_last_is_padded_with_zeros():
    spectrogram = np.random.default_rng(1).normal(-8, 3, (128, 70)).astype(np.float32)
    chunks = chunk(spectrogram, -8.0, 3.0)
    assert chunks.shape == (3, 1, 128, 32)
    joined = chunks[:, 0].transpose(0, 1).reshape(128, 96)
    torch.testing.assert_close(joined[:, :70], torch.from_numpy(spectrogram + 8) / 3)
    assert not joined[:, 70:].any()
    assert chunk(spectrogram[:, :64], 0.0, 1.0).shape == (2, 1, 128, 32)
    with pytest.raises(ValueError, match=r"must be \(128, T\), got \(64, 3\)"):
        chunk(np.zeros((64, 3), np.float32), 0.0, 1.0)
