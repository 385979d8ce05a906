"""Phonological statistics from Phonet's posteriors, as DisVoice has them.

The posteriors are computed here, or read from a user's CSV files of Phonet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mesm.features.csv_files import read_columns, require_columns
from mesm.features.manifest import Column
from mesm.features.phonet_network import CLASSES, WINDOW, PhonetNetwork
from mesm.features.posteriors import posteriors
from mesm.features.sound import ROW, normalise, row_count

TIME = "time"
_FORMULAE = {
    "mean": "m = mean of r",
    "std": "s = sqrt(mean of (r - m)^2)",
    "skewness": "mean of (r - m)^3 / s^3; NaN where s = 0",
    "kurtosis": "mean of (r - m)^4 / s^4 - 3; NaN where s = 0",
    "max": "largest r",
    "min": "smallest r",
}
# A smaller deviation is rounding noise of a constant.
_CONSTANT = 1e-7
# The posteriors of float32 next to 0 and 1, in whose place they count: ratios stay finite, from
# -37.9 to 7.2.
_LEAST, _MOST = float(np.finfo(np.float32).tiny), 1 - 2.0**-24

PHONET_COLUMNS = [
    Column(
        name=f"{name}_{statistic}",
        formula=f"{formula}; r: log10(p/(1-p)) less its mean over the 18 classes; p: Phonet's "
        f"posterior of {name!r}, every 10 ms of the 400 ms",
    )
    for name in CLASSES
    for statistic, formula in _FORMULAE.items()
]


def phonet_features(
    waveform: npt.NDArray[np.floating], network: PhonetNetwork
) -> npt.NDArray[np.float32]:
    """Compute the phonological statistics of a clip, per 400 ms.

    Args:
        waveform: (n,) at 16 kHz, n at least 1.
        network: Phonet's.

    Returns:
        (ceil(n / 6400), 108) float32; NaN in silence, and in a last row that no frame begins in.
    """
    out = np.full((row_count(len(waveform)), len(PHONET_COLUMNS)), np.nan, np.float32)
    samples = normalise(waveform)
    if samples is not None:
        ratios = log_ratios(posteriors(samples, network))
        for row, first in enumerate(range(0, len(ratios), WINDOW)):
            out[row] = statistics(ratios[first : first + WINDOW])
    return out


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
    found = np.stack([columns[name] for name in CLASSES], 1)
    wrong = (found < 0) | (found > 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{file}: row {row + 1} of the table has {found[row, column]:g} for "
            f"{CLASSES[column]!r}; a posterior lies between 0 and 1"
        )
    times = columns[TIME] - start
    good = (times >= -1e-6) & (times < end - start) & np.isfinite(found).all(1)
    places = ((times[good] + 1e-6) / ROW).astype(int)
    ratios = log_ratios(found[good])
    out = np.full((rows, len(PHONET_COLUMNS)), np.nan)
    for row in range(rows):
        inside = ratios[places == row]
        if len(inside):
            out[row] = statistics(inside)
    return out.astype(np.float32)


def log_ratios(found: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Compute phonological log-likelihood ratios, projected as by Diez et al. (2014).

    Args:
        found: (n, 18) posteriors, 0 to 1. A 0 counts as 1.2e-38, a 1 as 1 - 6e-8.

    Returns:
        (n, 18): log10(p / (1 - p)) less its mean over the classes.
    """
    p = np.clip(found.astype(np.float64), _LEAST, _MOST)
    ratios = np.log10(p / (1 - p))
    return ratios - ratios.mean(1, keepdims=True)


def statistics(ratios: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute mean, std, skewness, excess kurtosis, maximum and minimum of each class.

    Args:
        ratios: (n, 18), n at least 1.

    Returns:
        (108,), the six statistics of the first class first; skewness and kurtosis of a constant,
        such as of one frame, are NaN.
    """
    mean, std = ratios.mean(0), ratios.std(0)
    constant = std < _CONSTANT
    scaled = (ratios - mean) / np.where(constant, 1.0, std)
    skewness = np.where(constant, np.nan, (scaled**3).mean(0))
    kurtosis = np.where(constant, np.nan, (scaled**4).mean(0) - 3)
    table = [mean, std, skewness, kurtosis, ratios.max(0), ratios.min(0)]
    return np.stack(table, 1).ravel()
