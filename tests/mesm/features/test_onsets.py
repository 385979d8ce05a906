import math

import librosa
import numpy as np
import pytest

from mesm.features.onsets import ONSET_COLUMNS, bark_energies, mfccs, onset_features
from mesm.features.pitch import track_pitch, voicing_onsets

RATE = 16_000


def burst(duration, starts, length=0.2, seed=0):
    """Noise with hums that begin at given instants."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(duration * RATE)) / RATE
    samples = generator.normal(0, 0.001, len(time))
    for start in starts:
        inside = (time >= start) & (time < start + length)
        samples[inside] += sum(
            0.1 / k * np.sin(2 * np.pi * 140 * k * time[inside]) for k in (1, 2, 5)
        )
    return samples


def test_bark_energies_by_the_formula():
    frames = np.random.default_rng(0).normal(size=(2, 640))
    got = bark_energies(frames)
    assert got.shape == (2, 22)
    for row, frame in enumerate(frames):
        bands = [[] for _ in range(22)]
        for k in range(1025):
            f = k * RATE / 2048
            # The transform's definition.
            x = abs(np.sum(frame * np.exp(-2j * math.pi * k * np.arange(640) / 2048)))
            bands[int(13 * math.atan(0.00076 * f) + 3.5 * math.atan((f / 7500) ** 2))].append(x)
        wanted = [math.log(sum(band) / len(band)) for band in bands]
        np.testing.assert_allclose(got[row], wanted, rtol=1e-9)


def test_mfccs_as_librosa_has_them():
    frames = np.random.default_rng(1).normal(size=(3, 640))
    power = np.abs(np.fft.rfft(frames, 2048)).T ** 2
    mel = librosa.feature.melspectrogram(S=power, sr=RATE, n_mels=32, htk=True, norm=None)
    plain = librosa.feature.mfcc(S=np.log(mel), n_mfcc=13, dct_type=2, norm="ortho")[1:]
    # librosa counts its lifter from 1 at its first row.
    raw = librosa.feature.mfcc(S=np.log(mel), n_mfcc=13, dct_type=2, norm="ortho", lifter=22)
    lifter = raw[:12] / librosa.feature.mfcc(S=np.log(mel), n_mfcc=12, dct_type=2, norm="ortho")
    # librosa keeps its filters in float32.
    np.testing.assert_allclose(mfccs(frames), (plain * lifter[:, :1]).T, rtol=1e-4, atol=1e-4)


def oracle_row(samples, onsets):
    """Mean over the three frames around each onset, zeros beyond the ends, one loop per step."""
    samples = samples - samples.mean()
    emphasised = samples.copy()
    emphasised[1:] -= 0.97 * samples[:-1]
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(640) / 639)
    rows = []
    for onset in onsets:
        for shift in (0, 320, 640):
            first = round(onset * RATE) - 640 + shift
            frames = []
            for signal in (samples, emphasised):
                places = range(first, first + 640)
                values = [signal[i] if 0 <= i < len(signal) else 0.0 for i in places]
                frames.append((np.array(values) * window)[None])
            rows.append(np.concatenate([bark_energies(frames[0])[0], mfccs(frames[1])[0]]))
    return np.mean(rows, 0)


def test_a_row_is_the_mean_over_its_onsets():
    samples = burst(1.9, (0.46, 0.74, 1.65))
    onsets = voicing_onsets(*track_pitch(samples))
    assert [int(t / 0.4) for t in onsets] == [1, 1, 4]
    got = onset_features(samples)
    assert got.shape == (5, 34)
    assert got.dtype == np.float32
    assert np.isnan(got[[0, 2, 3]]).all()
    # One rounding to float32.
    np.testing.assert_allclose(got[1], oracle_row(samples, onsets[:2]), rtol=1e-5)
    np.testing.assert_allclose(got[4], oracle_row(samples, onsets[2:]), rtol=1e-5)


def test_a_shift_of_the_level_changes_nothing():
    samples = burst(0.9, (0.3,))
    np.testing.assert_allclose(onset_features(samples + 0.2), onset_features(samples), rtol=1e-5)


def test_sound_without_onsets_short_sound_and_edges():
    assert np.isnan(onset_features(np.zeros(16_000))).all()
    assert onset_features(np.zeros(16_000)).shape == (3, 34)
    assert onset_features(np.zeros(1)).shape == (1, 34)
    assert onset_features(np.zeros(6400)).shape == (1, 34)
    assert onset_features(np.zeros(6401)).shape == (2, 34)
    # An onset nearer to the end than 40 ms.
    samples = burst(0.56, (0.5,))
    onsets = voicing_onsets(*track_pitch(samples))
    assert len(onsets) == 1
    assert onsets[0] > 0.5 - 0.04
    np.testing.assert_allclose(onset_features(samples)[1], oracle_row(samples, onsets), rtol=1e-5)


def test_columns_have_names_and_formulae():
    names = [column.name for column in ONSET_COLUMNS]
    assert len(set(names)) == len(names) == 34
    assert names[0] == "bark_01"
    assert names[-1] == "mfcc_12"
    assert "21 <= bark(f) < 22" in ONSET_COLUMNS[21].formula


@pytest.mark.parametrize("scale", [1e-30, 0.0])
def test_silence_is_finite(scale):
    frames = np.full((1, 640), scale)
    assert np.isfinite(bark_energies(frames)).all()
    assert np.isfinite(mfccs(frames)).all()
