"""Every stage as DisVoice and Phonet themselves have it; tests/data/disvoice says how."""

from pathlib import Path

import numpy as np
import pytest

from mesm.features.onsets import bark_energies, mfccs, onset_features, onset_frames
from mesm.features.phonet import phonet_features
from mesm.features.phonet_network import load_network
from mesm.features.pitch import track_pitch, voicing_onsets
from mesm.features.posteriors import posteriors
from mesm.features.sound import normalise

CLIPS = ("talk", "cut")
# Sums of float32 in another order move a posterior by 5e-7, and a ratio near 0 by some 1e-5.
RATIOS = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[2] / "data" / "disvoice" / "golden.npz") as content:
        return {name: content[name] for name in content.files}


@pytest.fixture(params=CLIPS)
def clip(request, golden):
    found = {key.split("/")[1]: golden[key] for key in golden if key.startswith(request.param)}
    found["waveform"] = (found["samples"] / 2**15).astype(np.float32)
    return found


def test_pitch_and_onsets_are_the_same(clip):
    samples = normalise(clip["waveform"])
    pitch = track_pitch(samples)
    np.testing.assert_array_equal(pitch, clip["f0"])
    np.testing.assert_array_equal(voicing_onsets(pitch, len(samples)), clip["borders"])


def test_frames_of_onsets(clip):
    samples = normalise(clip["waveform"])
    frames = np.concatenate([onset_frames(samples, onset) for onset in clip["borders"]])
    assert len(frames) == len(clip["bbe"])
    np.testing.assert_allclose(bark_energies(frames), clip["bbe"], rtol=1e-4)
    np.testing.assert_allclose(mfccs(frames), clip["mfcc"], rtol=1e-4, atol=1e-5)


def test_rows_are_means_over_the_frames_of_their_onsets(clip):
    early = clip["borders"] < 640  # has no frame
    owners = np.repeat(clip["borders"][~early] // 6400, 3)
    frames = np.concatenate([clip["bbe"], clip["mfcc"]], 1)
    got = onset_features(clip["waveform"])
    assert got.shape == (-(-len(clip["samples"]) // 6400), 34)
    for row, values in enumerate(got):
        if (owners == row).any():
            wanted = frames[owners == row].mean(0)
            np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5)
        else:
            assert np.isnan(values).all()


def test_posteriors_and_their_statistics(clip):
    found = posteriors(normalise(clip["waveform"]), load_network())
    np.testing.assert_allclose(found, clip["posteriors"], atol=2e-6)
    got = phonet_features(clip["waveform"], load_network())
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, clip["statistics"], **RATIOS)


def test_both_kinds_of_clips_are_there(golden):
    assert len(golden["talk/samples"]) % 2 == 0
    assert len(golden["cut/samples"]) % 2 == 1
    assert golden["cut/borders"][0] < 640
    assert 3 * len(golden["talk/borders"]) == len(golden["talk/bbe"])
