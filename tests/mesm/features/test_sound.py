import numpy as np
import pytest

from mesm.features.sound import normalise, row_count


def test_the_mean_goes_and_the_peak_is_1():
    samples = normalise(np.array([0.5, 1.5, 0.25, -0.25], np.float32))
    assert samples.dtype == np.float64
    np.testing.assert_allclose(samples, [0, 1, -0.25, -0.75])


@pytest.mark.parametrize("level", [0.0, 0.3, -1e5, 1e-12])
def test_a_constant_is_silence(level):
    assert normalise(np.full(16_001, level, np.float32)) is None
    assert normalise(np.full(1, level)) is None


def test_rows_of_400_ms():
    assert [row_count(n) for n in (1, 6400, 6401)] == [1, 1, 2]
