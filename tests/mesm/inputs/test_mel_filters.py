"""librosa's filters, wherever its compiled functions may be kept."""

import subprocess
import sys

import librosa
import numpy as np

from mesm.inputs.mel_filters import mel_filters

NOWHERE = """
import numba.core.caching as caching
# The folder that is asked for is left, as where neither the installation nor HOME is writable.
caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]
from mesm.inputs.mel_filters import mel_filters
import numba
assert not numba.config.CACHE_DIR
print(mel_filters(16000, 400, 128).shape, bool(numba.config.CACHE_DIR))
"""


def test_the_filters_are_librosas():
    wanted = librosa.filters.mel(sr=16000, n_fft=400, n_mels=128)
    assert np.array_equal(mel_filters(16000, 400, 128), wanted)


def test_nothing_need_be_writable():
    done = subprocess.run([sys.executable, "-c", NOWHERE], capture_output=True, text=True)
    assert done.stdout.strip() == "(128, 201) True", done.stderr
