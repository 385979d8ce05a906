import numpy as np

from mesm.data.augment import SHIFT, augment_faces, augment_spectrogram


def test_faces_keep_shape_dtype_and_content():
    faces = np.zeros((2, 48, 48, 3), np.uint8)
    faces[:, 20:28, 4:10] = 200
    seen = set()
    for seed in range(40):
        changed = augment_faces(faces, np.random.default_rng(seed))
        assert changed.shape == faces.shape
        assert changed.dtype == np.uint8
        # The same change for every face of the clip.
        assert (changed[0] == changed[1]).all()
        bright = changed[0, :, :, 0] > 100
        assert bright.sum() == 48
        rows, columns = np.nonzero(bright)
        assert abs(rows.min() - 20) <= SHIFT
        seen.add(int(columns.min()) < 24)
    assert seen == {True, False}  # mirrored and not


def test_spectrogram_loses_less_than_half_a_chunk():
    spectrogram = np.tile(np.arange(100, dtype=np.float32), (128, 1))
    for seed in range(20):
        changed = augment_spectrogram(spectrogram, 32, np.random.default_rng(seed))
        assert changed.dtype == np.float32
        cut = 100 - changed.shape[1]
        assert 0 <= cut < 16
        louder = changed - spectrogram[:, cut:]
        assert np.ptp(louder) < 1e-4
        assert abs(louder[0, 0]) <= 0.5


def test_short_spectrogram_is_not_cut():
    short = np.zeros((128, 40), np.float32)
    for seed in range(10):
        assert augment_spectrogram(short, 32, np.random.default_rng(seed)).shape == (128, 40)
