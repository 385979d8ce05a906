"""Mean and deviation per column over rows that come a few at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass
class ColumnStatistics:
    """Mean and population standard deviation per column; what is NaN is left out.

    Values are counted from the first one seen, so that a constant column has a deviation of 0 and
    large means cost no digits.
    """

    columns: int
    first: npt.NDArray[np.float64] = field(init=False)
    count: npt.NDArray[np.int64] = field(init=False)
    total: npt.NDArray[np.float64] = field(init=False)
    squares: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.first = np.full(self.columns, np.nan)
        self.count = np.zeros(self.columns, np.int64)
        self.total = np.zeros(self.columns)
        self.squares = np.zeros(self.columns)

    def add(self, rows: npt.NDArray[np.floating]) -> None:
        """Count rows (n, columns)."""
        if len(rows) == 0:
            return
        values = rows.astype(np.float64)
        there = ~np.isnan(values)
        fresh = np.isnan(self.first) & there.any(0)
        self.first[fresh] = values[there.argmax(0), np.arange(self.columns)][fresh]
        offsets = np.where(there, values - self.first, 0.0)
        self.count += there.sum(0)
        self.total += offsets.sum(0)
        self.squares += np.square(offsets).sum(0)

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Both per column; 0 and 0 for a column never seen."""
        number = np.maximum(self.count, 1)
        offset = self.total / number
        variance = np.maximum(self.squares / number - offset**2, 0.0)
        return (np.nan_to_num(self.first) + offset).tolist(), np.sqrt(variance).tolist()
