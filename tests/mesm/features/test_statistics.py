import numpy as np

from mesm.features.statistics import ColumnStatistics


def test_mean_and_std_over_batches_leave_gaps_out():
    values = np.random.default_rng(0).normal(1e4, 0.5, (50, 4)).astype(np.float32)
    values[:, 1] = 0.1
    values[::3, 2] = np.nan
    values[:, 3] = np.nan
    statistics = ColumnStatistics(4)
    for batch in np.array_split(values, [0, 1, 7, 30]):
        statistics.add(batch)
    mean, std = map(np.array, statistics.mean_and_std())
    wanted = values.astype(np.float64)
    np.testing.assert_allclose(mean[:3], np.nanmean(wanted[:, :3], 0), rtol=1e-12)
    np.testing.assert_allclose(std[[0, 2]], np.nanstd(wanted[:, [0, 2]], 0), rtol=1e-9)
    # A constant column has exactly none.
    assert std[1] == 0
    assert (mean[3], std[3]) == (0, 0)
