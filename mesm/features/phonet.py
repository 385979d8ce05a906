"""Phonological statistics from the posteriors of Phonet (Vásquez-Correa et al., 2019).

Phonet is a TensorFlow model and not run here: its CSV files are read where a user has them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mesm.features.csv_files import read_columns, require_columns
from mesm.features.manifest import Column
from mesm.features.onsets import ROW

# Phonet's phonological classes, by the names of its columns.
CLASSES = (
    "vocalic", "consonantal", "back", "anterior", "open", "close", "nasal", "stop", "continuant",
    "lateral", "flap", "trill", "voice", "strident", "labial", "dental", "velar", "pause",
)  # fmt: skip
TIME = "time"
_FORMULAE = {
    "mean": "m = mean of p",
    "std": "s = sqrt(mean of (p - m)^2)",
    "skewness": "mean of (p - m)^3 / s^3; 0 where s = 0",
    "kurtosis": "mean of (p - m)^4 / s^4 - 3; 0 where s = 0",
    "max": "largest p",
    "min": "smallest p",
}
# A smaller deviation is rounding noise of a constant posterior.
_CONSTANT = 1e-7

PHONET_COLUMNS = [
    Column(
        name=f"{name}_{statistic}",
        formula=f"{formula}; p: column {name!r} of Phonet's CSV inside the 400 ms",
    )
    for name in CLASSES
    for statistic, formula in _FORMULAE.items()
]


def check_phonet(file: Path) -> None:
    """Check the header of a file.

    Raises:
        ValueError: the time or a class is missing; names the file and the column.
    """
    require_columns(file, (TIME, *CLASSES), "Phonet's get_phon_wav(..., 'all')")


def read_phonet(file: Path, start: float, end: float, rows: int) -> npt.NDArray[np.float32]:
    """Read the statistics of a clip's posteriors, per 400 ms.

    Args:
        file: Phonet's CSV: a column `time` in seconds and one per class.
        start: of the clip, in the file's time, in seconds.
        end: likewise.
        rows: how many times 400 ms.

    Returns:
        (rows, 108) float32; NaN where the file has no posterior.

    Raises:
        ValueError: the file cannot be read, or a posterior is not between 0 and 1.
    """
    columns = read_columns(file, (TIME, *CLASSES))
    posteriors = np.stack([columns[name] for name in CLASSES], 1)
    wrong = (posteriors < 0) | (posteriors > 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{file}: row {row + 1} of the table has {posteriors[row, column]:g} for "
            f"{CLASSES[column]!r}; a posterior lies between 0 and 1"
        )
    times = columns[TIME] - start
    good = (times >= -1e-6) & (times < end - start) & np.isfinite(posteriors).all(1)
    places = ((times[good] + 1e-6) / ROW).astype(int)
    out = np.full((rows, len(PHONET_COLUMNS)), np.nan)
    for row in range(rows):
        inside = posteriors[good][places == row]
        if len(inside):
            out[row] = statistics(inside)
    return out.astype(np.float32)


def statistics(posteriors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute mean, std, skewness, excess kurtosis, maximum and minimum of each class.

    Args:
        posteriors: (n, 18), n at least 1.

    Returns:
        (108,), the six statistics of the first class first.
    """
    mean, std = posteriors.mean(0), posteriors.std(0)
    constant = std < _CONSTANT
    scaled = (posteriors - mean) / np.where(constant, 1.0, std)
    skewness = np.where(constant, 0.0, (scaled**3).mean(0))
    kurtosis = np.where(constant, 0.0, (scaled**4).mean(0) - 3)
    table = [mean, std, skewness, kurtosis, posteriors.max(0), posteriors.min(0)]
    return np.stack(table, 1).ravel()
