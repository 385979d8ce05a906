import numpy as np
import parselmouth
import pytest

from mesm.corpora.miniature.speech import Voice, speak
from mesm.features.pitch import track_pitch, voicing_onsets

RATE = 16_000


def praat(samples):
    """Praat's own autocorrelation tracker, the oracle."""
    sound = parselmouth.Sound(samples, RATE)
    pitch = sound.to_pitch_ac(time_step=0.01, pitch_floor=60, pitch_ceiling=350)
    return pitch.xs(), pitch.selected_array["frequency"]


@pytest.mark.parametrize("emotion", ["neutral", "angry", "sad", "happy", "fear", "excited"])
def test_as_praat_hears_it(emotion):
    voice = Voice.draw(np.random.default_rng(3), high=emotion in ("sad", "happy"))
    samples = speak(4.0, (emotion,), voice, np.random.default_rng(4)).samples
    samples = samples + np.random.default_rng(5).normal(0, 0.002, len(samples))
    times, pitch = track_pitch(samples)
    wanted_times, wanted = praat(samples)
    np.testing.assert_allclose(times, wanted_times, atol=1e-9)
    # Praat interpolates its peaks by sinc functions, this by parabolas. Measured: at least 0.98 of
    # the frames agree on voicing; F0 differs by a median of at most 1.2e-4, and by less than 1 % in
    # at least 0.974 of the frames, the others being octaves.
    assert np.mean((pitch > 0) == (wanted > 0)) > 0.97
    both = (pitch > 0) & (wanted > 0)
    assert both.mean() > 0.5
    error = np.abs(pitch[both] / wanted[both] - 1)
    assert np.median(error) < 1e-3
    assert np.mean(error < 0.01) > 0.96


@pytest.mark.parametrize("frequency", [65.0, 110.0, 220.0, 340.0])
def test_a_hum_has_its_own_pitch(frequency):
    time = np.arange(RATE // 2) / RATE
    samples = sum(np.sin(2 * np.pi * frequency * k * time) / k for k in range(1, 6))
    times, pitch = track_pitch(samples)
    assert len(times) == 46
    # The parabola through sampled lags.
    np.testing.assert_allclose(pitch, frequency, rtol=2e-3)


def test_no_voice_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    assert np.mean(track_pitch(noise)[1] > 0) < 0.02
    assert not track_pitch(np.zeros(RATE))[1].any()
    assert not track_pitch(np.full(RATE, 0.3))[1].any()
    for n in (0, 1, 799):
        times, pitch = track_pitch(np.ones(n))
        assert len(times) == len(pitch) == 0
    assert len(track_pitch(np.ones(800))[0]) == 1


def test_onsets_are_where_the_hum_begins():
    time = np.arange(2 * RATE) / RATE
    samples = np.random.default_rng(1).normal(0, 0.001, 2 * RATE)
    hum = 0.2 * np.sin(2 * np.pi * 150 * time)
    for start, end in ((0.0, 0.4), (0.7, 1.0), (1.3, 1.9)):
        inside = (time >= start) & (time < end)
        samples[inside] += hum[inside]
    onsets = voicing_onsets(*track_pitch(samples))
    # Sound that begins voiced has no onset there. A frame is 50 ms long.
    np.testing.assert_allclose(onsets, [0.7, 1.3], atol=0.025)


def test_onsets_of_a_given_track():
    times = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    onsets = voicing_onsets(times, np.array([100.0, 0, 0, 120, 0]))
    np.testing.assert_allclose(onsets, [0.35])
    assert len(voicing_onsets(np.zeros(0), np.zeros(0))) == 0
