"""How many times faster than real time the 142 acoustic columns are computed, stage by stage.

Clips are of generated speech, of the lengths of a short, an average and a long utterance. CPU time
of this process on one thread is taken, not time on the clock, so that other work on the machine
costs little; the median of several runs. Sound is in memory already.

    OMP_NUM_THREADS=1 python -m benchmarks.studies.acoustic_features     # half a minute
"""

from __future__ import annotations

import argparse
import json
import os
import statistics as averages
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import ROOT, environment
from benchmarks.report import write_json
from mesm.corpora.miniature.speech import SAMPLE_RATE, Voice, speak
from mesm.features.onsets import bark_energies, mfccs, onset_features, onset_frames
from mesm.features.phonet import log_ratios, phonet_features, statistics
from mesm.features.phonet_network import WINDOW, load_network
from mesm.features.pitch import track_pitch, voicing_onsets
from mesm.features.posteriors import FILTERS, correct, filter_banks
from mesm.features.sound import normalise

RESULTS = ROOT / "benchmarks/results/acoustic-features-epyc-2cores.json"
SECONDS = (2, 5, 15)
REPEATS = 15
NOISE = 0.002


def make_clip(seconds: float) -> np.ndarray:
    """Generate speech with faint noise, float32."""
    voice = Voice.draw(np.random.default_rng(0), high=False)
    moods = ("neutral", "happy", "angry")
    speech = speak(seconds, moods, voice, np.random.default_rng(1)).samples
    noise = np.random.default_rng(2).normal(0, NOISE, len(speech))
    return (speech + noise).astype(np.float32)


def stages(clip: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The stages of a clip, each given what the one before made, and all of them together."""
    network = load_network()
    samples = normalise(clip)
    assert samples is not None
    onsets = voicing_onsets(track_pitch(samples), len(samples))
    frames = np.concatenate([onset_frames(samples, onset) for onset in onsets])
    # The padding of 0.4 s is sound too.
    banks = filter_banks(np.concatenate([samples, samples[: WINDOW * 160]]))
    windows = banks[: len(banks) // WINDOW * WINDOW].reshape(-1, WINDOW, FILTERS + 1)
    found = network(windows).reshape(-1, 18)

    def summarise() -> list[np.ndarray]:
        ratios = log_ratios(found)
        rows = range(0, len(ratios), WINDOW)
        return [statistics(ratios[row : row + WINDOW]) for row in rows]

    def whole() -> np.ndarray:
        return np.concatenate([onset_features(clip), phonet_features(clip, network)], 1)

    return {
        "normalisation": lambda: normalise(clip),
        "F0 and onsets": lambda: voicing_onsets(track_pitch(samples), len(samples)),
        "frames": lambda: [onset_frames(samples, onset) for onset in onsets],
        "Bark energies": lambda: bark_energies(frames),
        "MFCCs": lambda: mfccs(frames),
        "filter banks": lambda: filter_banks(samples),
        "network": lambda: network(windows),
        "correction": lambda: correct(found),
        "ratios and statistics": summarise,
        "all": whole,
    }


def cpu_seconds(work: Callable[[], Any]) -> float:
    """The median of `REPEATS` runs, after one that does not count."""
    work()
    times = []
    for _ in range(REPEATS):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return averages.median(times)


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.acoustic_features",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    content: dict[str, Any] = {"machine": environment(), "load_before": os.getloadavg()[0]}
    content["clips"] = []
    for seconds in SECONDS:
        clip = make_clip(seconds)
        times = {name: cpu_seconds(work) for name, work in stages(clip).items()}
        content["clips"].append(
            {
                "seconds": len(clip) / SAMPLE_RATE,
                "cpu_ms": {name: 1e3 * used for name, used in times.items()},
                "times_real_time": seconds / times["all"],
            }
        )
    write_json(arguments.results, content)
    print(json.dumps(content["clips"], indent=1))


if __name__ == "__main__":
    main()
