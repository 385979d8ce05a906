"""The acoustic columns of real speech, stage by stage, against DisVoice and Phonet themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mesm.features.onsets import bark_energies, mfccs, onset_features, onset_frames
from mesm.features.phonet import log_ratios, phonet_features
from mesm.features.phonet_network import load_network
from mesm.features.pitch import FULL_SCALE, _rapt, track_pitch, voicing_onsets
from mesm.features.posteriors import posteriors
from mesm.features.sound import ROW_SAMPLES, normalise
from mesm.inputs.spectrograms import SAMPLE_RATE
from mesm.inputs.waveforms import read_waveform
from tests.real.checks import Check, worst

REFERENCE = Path(__file__).with_name("disvoice.npz")
# In the order in which the reference's process had them.
RECORDINGS = ("pataka", "sentence", "austen-0870", "austen-0880", "austen-0890")
# As a share of a value, or of 1 where that is smaller: ratios and cepstra pass through 0.
RELATIVE = 1e-4
# RAPT's noise moves F0 by this much, in Hz.
NOISE = 0.5
FASTEST_AT_LEAST = 50  # times real time

Arrays = Mapping[str, np.ndarray]


def check_folder(folder: Path) -> Iterator[Check]:
    """Compare every recording of a folder with the reference."""
    with np.load(REFERENCE) as content:
        everything = {name: content[name] for name in content.files}
    waveforms = {
        name: read_waveform(folder / f"{name}.wav", 0, _seconds(folder / f"{name}.wav"))
        for name in RECORDINGS
    }
    for name, waveform in waveforms.items():
        # Without `track_pitch`, which evens RAPT's noise out between clips.
        pitch = _rapt(normalise(waveform) * FULL_SCALE)
        yield Check(name, "F0, one after the other", worst(pitch, everything[f"{name}/f0"], 0), 0)
    if sum(map(len, waveforms.values())) % 2:
        _rapt(np.zeros(ROW_SAMPLES + 1))
    for name, waveform in waveforms.items():
        start = f"{name}/"
        reference = {
            key.removeprefix(start): value
            for key, value in everything.items()
            if key.startswith(start)
        }
        yield from compare(name, waveform, reference)


def compare(name: str, waveform: np.ndarray, reference: Arrays) -> Iterator[Check]:
    """Compare each stage of a recording, given (n,) float32 at 16 kHz, with its reference."""
    network = load_network()
    samples = normalise(waveform)
    pitch = track_pitch(samples)
    wanted = reference["f0"]
    yield Check(name, "voicing", worst(pitch > 0, wanted > 0, 0), 0)
    yield Check(name, "F0, Hz", worst(pitch, wanted, 0), NOISE)
    onsets = voicing_onsets(pitch, len(samples))
    yield Check(name, "onsets", worst(onsets, reference["borders"], 0), 0)
    frames = np.concatenate([onset_frames(samples, onset) for onset in onsets])
    yield Check(name, "Bark energies", worst(bark_energies(frames), reference["bbe"]), RELATIVE)
    yield Check(name, "MFCCs", worst(mfccs(frames), reference["mfcc"]), RELATIVE)
    found = posteriors(samples, network)
    yield Check(name, "posteriors", worst(found, reference["posteriors"]), RELATIVE)
    if "pllr" in reference:
        yield Check(name, "ratios", worst(log_ratios(found), reference["pllr"]), RELATIVE)
    before = time.process_time()
    rows, statistics = onset_features(waveform), phonet_features(waveform, network)
    used = time.process_time() - before
    wanted = reference["statistics"]
    yield Check(name, "statistics", worst(statistics[: len(wanted)], wanted), RELATIVE)
    means = _row_means(onsets, reference, len(rows))
    yield Check(name, "rows of onsets", worst(rows, means), RELATIVE)
    share = used * SAMPLE_RATE / len(waveform)
    yield Check(name, "share of real time", share, 1 / FASTEST_AT_LEAST)


def _row_means(onsets: np.ndarray, reference: Arrays, rows: int) -> np.ndarray:
    """Means of the reference's frames, three to an onset, per 400 ms; NaN where there is none."""
    frames = np.concatenate([reference["bbe"], reference["mfcc"]], 1)
    owners = np.repeat(onsets[onsets >= 640] // ROW_SAMPLES, 3)
    means = np.full((rows, frames.shape[1]), np.nan)
    for row in np.unique(owners):
        means[row] = frames[owners == row].mean(0)
    return means


def _seconds(file: Path) -> float:
    import soundfile

    return soundfile.info(file).duration
