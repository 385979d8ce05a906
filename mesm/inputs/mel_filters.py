"""Mel filters from librosa, also where neither the installation nor HOME can be written to."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt


def mel_filters(rate: int, window: int, bands: int) -> npt.NDArray[Any]:
    """Give the filters (bands, 1 + window // 2).

    Args:
        rate: samples per second.
        window: samples of the Fourier transform.
        bands: how many filters.
    """
    filters = _librosa().filters.mel(sr=rate, n_fft=window, n_mels=bands)
    return np.asarray(filters)


def _librosa() -> Any:
    try:
        import librosa.filters
    except RuntimeError:
        # numba found no folder to keep the compiled functions in that librosa asks for.
        import numba

        folder = tempfile.mkdtemp(prefix="mesm-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        vars(numba.config)["CACHE_DIR"] = folder
        import librosa.filters
    return librosa
