import math

import librosa
import numpy as np
import pytest
import soundfile
import torch

from mesm.inputs.spectrograms import (
    POWER_FLOOR,
    AudioError,
    ShortSoundError,
    chunk,
    log_mel,
    read_waveform,
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


def test_a_part_of_one_channel_is_read(tmp_path, sound):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([sound, sound * 0], 1), 16000, subtype="FLOAT")
    assert np.array_equal(read_waveform(path, 0.25, 0.75, 0), sound[4000:12000])
    assert not read_waveform(path, 0.25, 0.75, 1).any()
    np.testing.assert_allclose(read_waveform(path, 0.25, 0.75), sound[4000:12000] / 2, atol=1e-7)


def test_other_rates_are_resampled(tmp_path):
    path = tmp_path / "tone.wav"
    t = np.arange(44100) / 44100
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 1000 * t), 44100)
    waveform = read_waveform(path, 0.2, 0.7)
    assert waveform.shape == (8000,)
    peak = np.abs(np.fft.rfft(waveform)).argmax() * 16000 / 8000
    assert peak == pytest.approx(1000, abs=2)


def test_unusable_sound_is_refused_by_name(tmp_path, sound):
    path = tmp_path / "short.wav"
    soundfile.write(path, sound, 16000)
    assert len(read_waveform(path, 1.0, 1.4)) == 4000
    for start, end in ((1.0, 1.8), (1.25, 1.3), (7.0, 9.0)):
        said = rf"short\.wav ends at 1\.25 s, the clip goes from {start:.2f} s to {end:.2f} s"
        with pytest.raises(ShortSoundError, match=said):
            read_waveform(path, start, end)
    with pytest.raises(AudioError, match=r"short\.wav has 1 channel\(s\), none at index 1"):
        read_waveform(path, 0, 1, 1)
    with pytest.raises(AudioError, match=r"short\.wav has no sound from"):
        read_waveform(path, 1.0, 1.00001)
    (tmp_path / "text.wav").write_text("not sound")
    with pytest.raises(AudioError, match=r"text\.wav cannot be read as sound"):
        read_waveform(tmp_path / "text.wav", 0, 1)


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
