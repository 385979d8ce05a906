"""Writes golden.npz anew: what DisVoice and Phonet give for the samples that it holds.

See README.md for what must be installed; nothing of mesm is.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import pysptk
import scipy.stats
from phonet.phonet import Phonet
from scipy.io import wavfile

GOLDEN = Path(__file__).with_name("golden.npz")
RATE, ROW = 16_000, 40
# The module alone: the package's others want Praat.
sys.path.append(str(Path(find_spec("disvoice").origin).parent / "articulation"))
from articulation_functions import extract_transitions, get_transition_segments  # noqa: E402


def measure(samples: np.ndarray, phonet: Phonet, wav: Path) -> dict[str, np.ndarray]:
    """Do as the extract_features_file of Articulation and of Phonological do."""
    signal = samples - np.mean(samples)
    signal = signal / float(np.max(np.abs(signal)))
    scaled = np.asarray(signal * 2**15, dtype=np.float32)
    f0 = pysptk.sptk.rapt(scaled, RATE, 320, min=60, max=350, voice_bias=-0.2, otype="f0")
    onsets = get_transition_segments(f0, signal, RATE, "onset")
    bbe, mfcc = extract_transitions(onsets, RATE, 0.04 * RATE, 0.02 * RATE)
    step = int(len(signal) / len(f0))
    borders = [j * step for j in range(2, len(f0)) if f0[j - 1] == 0 and f0[j] != 0]
    wavfile.write(wav, RATE, samples)
    tables = []
    for compute in (phonet.get_phon_wav, phonet.get_PLLR):
        np.random.seed(0)
        table = compute(str(wav), plot_flag=False)
        tables.append(np.stack([table[name] for name in phonet.names], 1))
    posteriors, pllr = tables
    functions = (np.mean, np.std, scipy.stats.skew, scipy.stats.kurtosis, np.max, np.min)
    statistics = [
        [function(pllr[first : first + ROW, name]) for name in range(18) for function in functions]
        for first in range(0, len(pllr), ROW)
    ]
    found = {
        "f0": f0, "bbe": bbe, "mfcc": mfcc, "posteriors": posteriors, "statistics": statistics
    }  # fmt: skip
    return {
        "samples": samples,
        "borders": np.array(borders, np.int64),
        **{name: np.asarray(values, np.float32) for name, values in found.items()},
    }


def main() -> None:
    """Compute everything but the samples."""
    with np.load(GOLDEN) as kept:
        clips = {key.split("/")[0]: kept[key] for key in kept.files if key.endswith("/samples")}
    phonet, wav = Phonet(["all"]), GOLDEN.with_suffix(".wav")
    content = {}
    # RAPT's noise carries over from a clip of an odd length; it comes last.
    for name in sorted(clips, key=lambda name: len(clips[name]) % 2):
        measured = measure(clips[name], phonet, wav)
        content |= {f"{name}/{key}": values for key, values in measured.items()}
    wav.unlink()
    np.savez_compressed(GOLDEN, **content)


if __name__ == "__main__":
    main()
