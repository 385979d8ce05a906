import numpy as np
import pytest
from scipy import stats

from mesm.features.phonet import (
    CLASSES,
    PHONET_COLUMNS,
    check_phonet,
    read_phonet,
    statistics,
)


def write(path, times, posteriors, columns=CLASSES):
    """As Phonet's get_phon_wav writes them: an index, the time, the phoneme, the classes."""
    lines = [",".join(["", "time", "phoneme", *columns])]
    for i, (time, row) in enumerate(zip(times, posteriors, strict=True)):
        lines.append(",".join([str(i), f"{time:.2f}", "a", *(f"{p:.6f}" for p in row)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_statistics_as_scipy_has_them():
    posteriors = np.random.default_rng(0).beta(0.5, 0.5, (40, 18))
    got = statistics(posteriors).reshape(18, 6)
    wanted = [
        posteriors.mean(0),
        posteriors.std(0),
        stats.skew(posteriors),
        stats.kurtosis(posteriors),
        posteriors.max(0),
        posteriors.min(0),
    ]
    np.testing.assert_allclose(got, np.stack(wanted, 1), rtol=1e-9)


def test_statistics_by_hand():
    posteriors = np.zeros((4, 18))
    posteriors[:, 3] = [0, 0, 0, 1]
    posteriors[:, 4] = 0.7
    got = statistics(posteriors)
    # m 1/4, s^2 3/16, skewness 2/sqrt(3), kurtosis 7/3 - 3.
    np.testing.assert_allclose(
        got[18:24], [0.25, 0.4330127, 1.1547005, -0.6666667, 1, 0], rtol=1e-6
    )
    np.testing.assert_allclose(got[24:30], [0.7, 0, 0, 0, 0.7, 0.7], atol=1e-15)
    assert len(got) == 108


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
            got[row], statistics(posteriors[first:last]), rtol=1e-5, atol=1e-6
        )
    assert np.isnan(got[3]).all()
    own = read_phonet(file, 0.0, 0.4, 1)
    np.testing.assert_allclose(own[0], statistics(posteriors[:40]), rtol=1e-5, atol=1e-6)


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
