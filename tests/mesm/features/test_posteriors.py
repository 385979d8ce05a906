import warnings

import numpy as np
import pytest

from mesm.features.phonet_network import load_network
from mesm.features.posteriors import correct, filter_banks, posteriors


def test_filter_banks_by_the_formula():
    samples = np.random.default_rng(0).normal(size=1000)
    got = filter_banks(samples)
    # 1 + ceil(600 / 160) frames, the last of them with zeros.
    assert got.shape == (5, 34)
    y = [samples[0], *(samples[t] - 0.97 * samples[t - 1] for t in range(1, 1000))]
    y = np.array(y + [0.0] * 40)
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 35)
    edges = [int(513 * 700 * (10 ** (m / 2595) - 1) / 16_000) for m in mel]
    for row, values in enumerate(got):
        frame = y[160 * row : 160 * row + 400]
        turns = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
        power = np.abs(turns @ frame) ** 2 / 512
        wanted = []
        for low, middle, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            rising = sum(power[k] * (k - low) / (middle - low) for k in range(low, middle))
            falling = sum(power[k] * (high - k) / (high - middle) for k in range(middle, high))
            wanted.append(np.log10(rising + falling))
        np.testing.assert_allclose(values, [*wanted, np.log10(power.sum())], rtol=1e-9)


def test_silence_counts_as_epsilon():
    np.testing.assert_allclose(filter_banks(np.zeros(300)), np.full((1, 34), np.log10(2.0**-52)))


def one_by_one(track):
    """As Phonet has it: frame after frame, in place."""
    track = track.copy()
    for j in range(1, len(track) - 1):
        before, here, after = (track[j + i] >= 0.5 for i in (-1, 0, 1))
        if before == after != here:
            track[j] = (track[j - 1] + track[j + 1]) / 2
    return track


def test_single_frames_are_mended_in_order():
    tracks = np.random.default_rng(0).random((300, 18)).astype(np.float32)
    wanted = np.stack([one_by_one(track) for track in tracks.T], 1)
    assert (wanted != tracks).any()
    np.testing.assert_array_equal(correct(tracks), wanted)
    # The second frame is mended, so the third is not alone.
    swinging = np.array([[0.9], [0.1], [0.8], [0.2]], np.float32)
    np.testing.assert_allclose(correct(swinging), [[0.9], [0.85], [0.8], [0.2]])
    for few in (0, 1, 2):
        assert len(correct(tracks[:few])) == few


@pytest.mark.parametrize(
    ("samples", "rows"), [(1, 0), (319, 0), (320, 1), (400, 1), (800, 4), (6400, 39), (6560, 40)]
)
def test_a_frame_every_10_ms(samples, rows):
    sound = np.random.default_rng(0).uniform(-1, 1, samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = posteriors(sound, load_network())
    assert got.shape == (rows, 18)
    assert ((got >= 0) & (got <= 1)).all()
    np.testing.assert_array_equal(posteriors(sound, load_network()), got)


def test_the_state_of_numpys_generator_is_left_alone():
    np.random.seed(7)
    wanted = np.random.random()
    np.random.seed(7)
    posteriors(np.sin(np.arange(4000)), load_network())
    assert np.random.random() == wanted
