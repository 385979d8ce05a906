from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import stft

from mesm.corpora.miniature.prosody import PROSODY
from mesm.corpora.miniature.speech import SAMPLE_RATE, Voice, speak

VOICE = Voice(pitch=150.0, tract=1.0)


def many(emotion, count=6):
    return [speak(2.0, (emotion,), VOICE, np.random.default_rng(seed)) for seed in range(count)]


def level(emotion):
    return np.mean([20 * np.log10(s.samples.std()) for s in many(emotion)])


def syllables_per_second(emotion):
    return np.mean([len(s.syllables) / 2.0 for s in many(emotion)])


def pitch(speech):
    """F0 of the loudest part of each syllable, by autocorrelation."""
    out = []
    for start, end, _ in speech.syllables:
        middle = int((start + end) / 2 * SAMPLE_RATE)
        part = speech.samples[max(0, middle - 400) : middle + 400]
        correlation = np.correlate(part, part, "full")[len(part) - 1 :]
        lags = slice(SAMPLE_RATE // 500, SAMPLE_RATE // 70)
        out.append(SAMPLE_RATE / (lags.start + int(np.argmax(correlation[lags]))))
    return np.median(out)


@pytest.mark.parametrize("emotion", PROSODY)
def test_sound_has_the_length_asked_for_and_does_not_clip(emotion):
    for speech in many(emotion, 3):
        assert len(speech.samples) == 2.0 * SAMPLE_RATE
        assert np.isfinite(speech.samples).all()
        assert 0.05 < np.abs(speech.samples).max() < 0.98


def test_energy_follows_the_emotion():
    assert level("angry") > level("neutral") + 5
    assert level("sad") < level("neutral") - 4


def test_tempo_follows_the_emotion():
    neutral = syllables_per_second("neutral")
    assert syllables_per_second("excited") > 1.3 * neutral
    assert syllables_per_second("sad") < 0.7 * neutral


def test_pitch_follows_the_emotion():
    by = {e: np.median([pitch(s) for s in many(e)]) for e in ("neutral", "excited", "sad")}
    assert by["excited"] > 1.25 * by["neutral"]
    assert by["sad"] < 0.95 * by["neutral"]


@pytest.mark.parametrize("emotion", ["frustrated", "happy", "surprised"])
def test_breath_cues_hold_noise_in_their_band(emotion):
    speech = many(emotion, 1)[0]
    cue = next(c for c in speech.cues if c.cue in ("sigh", "laugh", "gasp"))
    frequencies, times, values = stft(speech.samples, SAMPLE_RATE, nperseg=400)
    power = np.abs(values[:, (times > cue.start) & (times < cue.end)]) ** 2
    inside = (frequencies >= cue.low_hz) & (frequencies <= cue.high_hz)
    assert power[inside].sum() > 0.6 * power.sum()


def test_neutral_speech_has_no_cues():
    assert all(s.cues == [] for s in many("neutral"))


def test_two_moods_follow_one_another():
    speech = speak(2.4, ("happy", "sad"), VOICE, np.random.default_rng(0))
    half = len(speech.samples) // 2
    assert speech.samples[:half].std() > 1.5 * speech.samples[half:].std()


def test_speakers_differ_in_pitch():
    rng = np.random.default_rng(0)
    high = [Voice.draw(rng, high=True).pitch for _ in range(20)]
    low = [Voice.draw(rng, high=False).pitch for _ in range(20)]
    assert min(high) > max(low) + 30
    assert np.std(low) > 3
