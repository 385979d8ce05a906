import math
import warnings

import numpy as np
import pytest

from mesm.features.onsets import (
    ONSET_COLUMNS,
    bark_energies,
    mfccs,
    onset_features,
    onset_frames,
)
from mesm.features.pitch import track_pitch, voicing_onsets
from mesm.features.sound import normalise

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
    frames = np.random.default_rng(0).normal(size=(2, 1024))
    got = bark_energies(frames)
    assert got.shape == (2, 22)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(256) / 255)
    for row, frame in enumerate(frames):
        bands = [[] for _ in range(22)]
        for k in range(1025):
            f = k * RATE / 2048
            # The transform's definition.
            turn = np.exp(-2j * math.pi * k * np.arange(256) / 2048)
            x = abs(np.sum(frame[:256] * window * turn))
            bands[int(13 * math.atan(0.00076 * f) + 3.5 * math.atan((f / 7500) ** 2))].append(x)
        wanted = [math.log(sum(band) / len(band) + 1e-30) for band in bands]
        np.testing.assert_allclose(got[row], wanted, rtol=1e-9)


def test_three_frames_around_an_onset():
    samples = np.random.default_rng(0).uniform(-1, 1, 4000)
    got = onset_frames(samples, 1500)
    assert got.shape == (3, 1024)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(640) / 639)
    for frame, first in zip(got, (860, 1180, 1500), strict=True):
        np.testing.assert_allclose(frame[:640], samples[first : first + 640] * window)
        assert not frame[640:].any()
    assert onset_frames(samples, 640).shape == (3, 1024)
    assert onset_frames(samples, 639).shape == (0, 1024)


@pytest.mark.parametrize("samples", [8000, 8001, 8319, 16_000])
def test_no_onset_is_too_near_to_the_end(samples):
    # A hum that begins later and later, until RAPT no longer sees it.
    found = []
    for start in range(samples - 2500, samples, 100):
        sound = normalise(burst(samples / RATE, (start / RATE,)))
        found += [t for t in voicing_onsets(track_pitch(sound), samples) if t > samples - 4000]
    assert found
    assert all(len(onset_frames(np.ones(samples), t)) == 3 for t in found)


def test_a_row_is_the_mean_over_its_onsets():
    samples = burst(1.9, (0.44, 0.72, 1.65))
    sound = normalise(samples)
    onsets = voicing_onsets(track_pitch(sound), len(sound))
    assert [t // 6400 for t in onsets] == [1, 1, 4]
    got = onset_features(samples)
    assert got.shape == (5, 34)
    assert got.dtype == np.float32
    assert np.isnan(got[[0, 2, 3]]).all()
    for row, own in ((1, onsets[:2]), (4, onsets[2:])):
        frames = [frame[None] for onset in own for frame in onset_frames(sound, onset)]
        each = [np.concatenate([bark_energies(f)[0], mfccs(f)[0]]) for f in frames]
        np.testing.assert_allclose(got[row], np.mean(each, 0), rtol=1e-5, atol=1e-6)


def test_level_and_its_shift_change_nothing():
    samples = burst(0.9, (0.3,))
    for other in (samples + 0.2, 0.01 * samples):
        np.testing.assert_allclose(onset_features(other), onset_features(samples), rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 2, 399, 400, 640, 759, 760, 800, 6400, 6401, 16_000])
def test_silence_and_short_sounds_have_no_onset(samples):
    noise = np.random.default_rng(0).normal(0, 0.1, samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sound in (np.zeros(samples), noise[:800]):
            got = onset_features(sound)
            assert got.shape == (-(-len(sound) // 6400), 34)
            assert np.isnan(got).all()


def test_digital_silence_before_a_voice_is_finite():
    samples = burst(0.9, (0.5,)) * (np.arange(round(0.9 * RATE)) > 0.5 * RATE)
    got = onset_features(samples)
    assert np.isfinite(got[1]).all()
    frames = np.zeros((1, 1024))
    np.testing.assert_allclose(bark_energies(frames), math.log(1e-30))
    assert np.isfinite(mfccs(frames)).all()


def test_columns_have_names_and_formulae():
    names = [column.name for column in ONSET_COLUMNS]
    assert len(set(names)) == len(names) == 34
    assert names[0] == "bark_01"
    assert names[-1] == "mfcc_12"
    assert "21 <= bark(f) < 22" in ONSET_COLUMNS[21].formula
