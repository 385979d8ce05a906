import warnings

import numpy as np
import pytest
from scipy import stats

from mesm.features.phonet import (
    PHONET_COLUMNS,
    check_phonet,
    log_ratios,
    phonet_features,
    read_phonet,
    statistics,
)
from mesm.features.phonet_network import CLASSES, load_network


def write(path, times, posteriors, columns=CLASSES):
    """As Phonet's get_phon_wav writes them: an index, the time, the phoneme, the classes."""
    lines = [",".join(["", "time", "phoneme", *columns])]
    for i, (time, row) in enumerate(zip(times, posteriors, strict=True)):
        lines.append(",".join([str(i), f"{time:.2f}", "a", *(f"{p:.6f}" for p in row)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_statistics_as_scipy_has_them():
    ratios = np.random.default_rng(0).normal(-1, 2, (40, 18))
    got = statistics(ratios).reshape(18, 6)
    wanted = [
        ratios.mean(0),
        ratios.std(0),
        stats.skew(ratios),
        stats.kurtosis(ratios),
        ratios.max(0),
        ratios.min(0),
    ]
    np.testing.assert_allclose(got, np.stack(wanted, 1), rtol=1e-9)


def test_statistics_by_hand():
    ratios = np.zeros((4, 18))
    ratios[:, 3] = [0, 0, 0, 1]
    ratios[:, 4] = 0.7
    got = statistics(ratios)
    # m 1/4, s^2 3/16, skewness 2/sqrt(3), kurtosis 7/3 - 3.
    np.testing.assert_allclose(
        got[18:24], [0.25, 0.4330127, 1.1547005, -0.6666667, 1, 0], rtol=1e-6
    )
    # The shape of a constant cannot be measured.
    np.testing.assert_allclose(got[24:30], [0.7, 0, np.nan, np.nan, 0.7, 0.7], atol=1e-15)
    assert len(got) == 108


def test_log_ratios_by_hand():
    found = np.full((3, 18), 0.5)
    found[0, 0] = 10 / 11
    found[1, :2] = 0, 1
    got = log_ratios(found)
    np.testing.assert_allclose(got[0], [1 - 1 / 18, *([-1 / 18] * 17)], atol=1e-12)
    # 0 and 1 count as the nearest numbers of float32 that are neither.
    low, high = np.log10(2.0**-126), np.log10(2.0**24 - 1)
    mean = (low + high) / 18
    np.testing.assert_allclose(got[1], [low - mean, high - mean, *([-mean] * 16)], atol=1e-9)
    np.testing.assert_array_equal(got[2], np.zeros(18))
    wanted = got.astype(np.float32)
    np.testing.assert_allclose(log_ratios(found.astype(np.float32)), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "measured"), [(1, 0), (319, 0), (320, 1), (800, 1), (6400, 1), (6559, 1), (6560, 1)]
)
def test_silence_and_short_sounds(samples, measured):
    noise = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    rows = -(-samples // 6400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = phonet_features(noise, load_network())
        silence = phonet_features(np.zeros(samples, np.float32), load_network())
    assert got.shape == silence.shape == (rows, 108)
    assert np.isnan(silence).all()
    assert np.isfinite(got).any(1).sum() == measured
    assert not np.isinf(got).any()
    if measured:
        shape = got[0].reshape(18, 6)
        assert np.isfinite(shape[:, [0, 1, 4, 5]]).all()
        # One frame has no skewness.
        assert np.isnan(shape[:, 2:4]).all() == (samples == 320)


def test_a_pause_of_digital_silence_is_finite():
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    noise[4000:12_000] = 0
    got = phonet_features(noise, load_network())
    # The mean of the clip was no silence, so rounding keeps the pause from being 0 throughout.
    assert np.isfinite(got).all()


def test_columns_say_what_stands_where():
    names = [column.name for column in PHONET_COLUMNS]
    assert len(set(names)) == len(names) == 108
    assert names[:6] == [
        f"vocalic_{name}" for name in ("mean", "std", "skewness", "kurtosis", "max", "min")
    ]
    assert names[-1] == "pause_min"


def test_rows_are_400_ms_of_the_clip(tmp_path):
    times = np.arange(300) / 100
    posteriors = np.random.default_rng(1).random((300, 18)).round(6)
    file = write(tmp_path / "dialog.csv", times, posteriors)
    check_phonet(file)
    # The clip is 0.9 s from 1.0 s on: 40, 40 and 10 posteriors.
    got = read_phonet(file, 1.0, 1.9, 4)
    assert got.dtype == np.float32
    for row, (first, last) in enumerate([(100, 140), (140, 180), (180, 190)]):
        np.testing.assert_allclose(
            got[row], statistics(log_ratios(posteriors[first:last])), rtol=1e-5, atol=1e-5
        )
    assert np.isnan(got[3]).all()
    own = read_phonet(file, 0.0, 0.4, 1)
    wanted = statistics(log_ratios(posteriors[:40]))
    np.testing.assert_allclose(own[0], wanted, rtol=1e-5, atol=1e-5)


def test_wrong_files_are_refused(tmp_path):
    posteriors = np.random.default_rng(1).random((3, 17))
    columns = [name for name in CLASSES if name != "nasal"]
    file = write(tmp_path / "a.csv", [0, 0.01, 0.02], posteriors, columns)
    with pytest.raises(ValueError, match=r"a\.csv has no column 'nasal'; wanted .* Phonet"):
        check_phonet(file)
    file.write_text(file.read_text().replace("time", "seconds", 1))
    with pytest.raises(ValueError, match=r"a\.csv has no column 'time'"):
        check_phonet(file)
    file = write(tmp_path / "b.csv", [0], np.ones((1, 18)))
    file.write_text(file.read_text().replace("1.000000", "high", 1))
    with pytest.raises(ValueError, match=r"b\.csv cannot be read, .*high"):
        read_phonet(file, 0, 1, 3)
