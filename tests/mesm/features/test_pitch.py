import numpy as np
import pytest

from mesm.features.pitch import SHORTEST, track_pitch, voicing_onsets
from mesm.features.sound import normalise

RATE = 16_000


def hum(frequency, samples=RATE // 2):
    time = np.arange(samples) / RATE
    return normalise(sum(np.sin(2 * np.pi * frequency * k * time) / k for k in range(1, 6)))


@pytest.mark.parametrize("frequency", [80.0, 110.0, 220.0, 340.0])
def test_a_hum_has_its_own_pitch(frequency):
    pitch = track_pitch(hum(frequency))
    assert pitch.shape == (25,)
    # RAPT ends 27 ms before the sound, and has one to three frames to begin.
    np.testing.assert_allclose(pitch[4:23], frequency, rtol=5e-3)


@pytest.mark.parametrize("before", [8000, 8001, 801, 760])
def test_the_clip_before_changes_nothing(before):
    wanted = track_pitch(hum(150.0, 8001))
    track_pitch(np.random.default_rng(0).uniform(-1, 1, before))
    np.testing.assert_array_equal(track_pitch(hum(150.0, 8001)), wanted)


def test_a_short_sound_has_no_voice(capfd):
    for samples in (1, 320, 321, SHORTEST - 1, SHORTEST, 800):
        pitch = track_pitch(np.sin(np.arange(samples)))
        assert pitch.shape == (-(-samples // 320),)
        assert np.isfinite(pitch).all()
        assert len(voicing_onsets(pitch, samples)) == 0
    assert not track_pitch(np.sin(np.arange(SHORTEST - 1))).any()
    # RAPT's own words about short sounds.
    assert capfd.readouterr() == ("", "")


def test_onsets_of_a_given_track():
    pitch = np.array([0, 90, 0, 100, 110, 0, 0, 120], np.float32)
    # 312 of the 2500 samples per frame. The first frame counts as no onset, as in DisVoice.
    np.testing.assert_array_equal(voicing_onsets(pitch, 2500), [3 * 312, 7 * 312])
    for length in range(3):
        assert len(voicing_onsets(pitch[:length], 320 * length)) == 0
