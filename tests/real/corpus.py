"""The commands on a corpus of real recordings, from raw files to one page."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.splits import SPLITS
from mesm.features.store import FeatureStore
from mesm.report.page import write_report
from tests.real.checks import Check
from tests.real.raw_corpus import READING, REFUSED, SILENT, VIDEOS, write_corpus

SYSTEMS = ("fe2e", "mesm", "lf_lstm", "lf_transformer", "emo_embs", "mult")
EPOCHS = 2
ENCODER = "all-minilm-l6-v2"
TITLE = "Real recordings through every command"
NOTE = (
    "Real faces and voices, made-up labels. Pictures and sounds are of real recordings; the "
    "labels, the words of all clips but “reading”, the action units and the word vectors are made "
    "up, and two epochs teach nothing: scores show that the chain works, and no more. “langer” is "
    "silent; in “reading” somebody else speaks than is seen."
)
# Videos in whose every clip somebody looks at the camera, or nobody does.
RATES = {"langer": 0.9, "reading": 0.9, "single_face": 1.0, "no_face": 0.0}


class Commands:
    """Runs `mesm`, one command after the other, and says how long each took.

    Args:
        logs: folder for what they print.
    """

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True)
        self.logs = logs
        self.number = 0
        self.lock = Lock()

    def run(self, *arguments: str | Path) -> None:
        """Run a command.

        Raises:
            RuntimeError: its status is not 0; with the last of what it printed.
        """
        with self.lock:
            self.number += 1
            number = self.number
        words = [str(argument) for argument in arguments]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "mesm", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            encoding="utf-8",
            errors="replace",
        )
        seconds = time.perf_counter() - began
        log = self.logs / f"{number:02d}-{words[0]}.txt"
        log.write_text(done.stdout, encoding="utf-8")
        print(f"{seconds:6.1f} s  mesm {' '.join(words)}", flush=True)
        if done.returncode:
            raise RuntimeError(f"mesm {words[0]} failed, see {log}: {done.stdout[-1500:]}")


def check_corpus(recordings: Path, out: Path) -> Iterator[Check]:
    """Make a corpus of the recordings and run every command on it.

    Args:
        recordings: the folder that fetch.sh filled.
        out: a folder for all that is made; what is there is deleted.
    """
    shutil.rmtree(out, ignore_errors=True)
    raw, prepared, runs = out / "raw", out / "prepared", out / "runs"
    usable = write_corpus(recordings, raw, out / "lists")
    commands = Commands(out / "logs")
    commands.run("prepare", "mosei", raw, prepared, "--splits", out / "lists")
    yield from check_prepared(PreparedCorpus.open(prepared), usable)
    commands.run("features", prepared, "--raw", raw)
    yield from check_features(prepared)
    chains = [(system, f"miniature_{system}", "") for system in SYSTEMS]
    encoder = f"model.text.path={recordings / ENCODER}"
    chains.append(("fe2e_minilm", "miniature_fe2e", encoder))
    # Two commands at a time: each is on one thread for the most part.
    with ThreadPoolExecutor(2) as pool:
        started = [pool.submit(one_run, commands, prepared, runs, *chain) for chain in chains]
        for (name, _, _), run in zip(chains, started, strict=True):
            run.result()
            yield Check(name, "scores", off_score(runs / name), 0)
    commands.run("explain", runs / "mesm")
    commands.run("verify", prepared)
    order = [runs / name for name in ("mesm", "fe2e", "fe2e_minilm", *SYSTEMS[2:])]
    page = write_report(out / "page.html", order, synthetic=True, title=TITLE, note=NOTE)
    yield Check("page", "pictures missing", missing_pictures(page, runs / "mesm"), 0)
    print(page.resolve(), flush=True)


def one_run(
    commands: Commands, prepared: Path, runs: Path, name: str, config: str, change: str
) -> None:
    """Train a system for two epochs, score it, and check that its folder is whole."""
    run = runs / name
    settings = [f"corpus={prepared}", f"training.epochs={EPOCHS}", *([change] if change else [])]
    commands.run("train", config, "--run", run, *settings)
    commands.run("evaluate", run)
    commands.run("verify", run)


def check_prepared(corpus: PreparedCorpus, usable: Sequence[str]) -> Iterator[Check]:
    """Every usable clip is there, the others are refused for their fault; faces are found."""
    clips = [clip for split in SPLITS for clip in corpus.split(split)]
    lost = set(usable) ^ {clip.clip_id for clip in clips}
    yield Check("prepare", f"clips of {len(usable)} wrong", len(lost), 0)
    refused = {skipped.clip_id: skipped.reason for skipped in corpus.manifest.skipped}
    for skipped in corpus.manifest.skipped:
        print(skipped.line())
    yield Check("prepare", "refusals wrong", len(refused.items() ^ REFUSED.items()), 0)
    for video in VIDEOS:
        found = [bool(face) for c in clips if c.dialog == video.name for face in c.face_found]
        if not found:
            continue
        rate = float(np.mean(found))
        print(f"{video.name}: a face in {sum(found)} of {len(found)} frames ({rate:.0%})")
        if video.name in RATES:
            away = RATES[video.name] - rate if RATES[video.name] else rate
            yield Check(video.name, "face rate, below or above", max(away, 0.0), 0)
    silent = [c.spectrogram for c in clips if c.dialog == SILENT.name]
    yield Check(SILENT.name, "sound, loudest", max(float(np.ptp(s)) for s in silent), 0)


def check_features(prepared: Path) -> Iterator[Check]:
    """All 142 columns are measured where somebody speaks."""
    corpus = PreparedCorpus.open(prepared)
    store = FeatureStore.open(corpus)
    clips = [clip for split in SPLITS for clip in corpus.split(split)]
    rows = [store.clip(clip.clip_id).audio for clip in clips if clip.dialog == READING.name]
    spoken = np.concatenate(rows)
    yield Check("features", "columns missing of 142", abs(spoken.shape[1] - 142), 0)
    # A row without a measurement is the mean, which is 0 after the normalisation.
    constant = int((spoken.std(axis=0) == 0).sum())
    yield Check("features", "columns that never change", constant, 0)


def off_score(run: Path) -> float:
    """How many scores of a run are no number from 0 to 1."""
    scores: dict[str, Any] = json.loads((run / "evaluation.json").read_text())["test"]
    values = [*scores["average"].values()]
    values += [value for emotion in scores["emotions"].values() for value in emotion.values()]
    numbers = [value for value in values if isinstance(value, (int, float))]
    print(f"{run.name}: average F1 {scores['average']['f1']:.3f}, accuracies and F1 {len(numbers)}")
    return sum(not (math.isfinite(value) and 0 <= value <= 1) for value in numbers)


def missing_pictures(page: Path, run: Path) -> int:
    """How many of a run's pictures are not on the page."""
    text = page.read_text(encoding="utf-8")
    drawn = [file for file in (run / "explain").rglob("*.png") if "loudest" not in file.name]
    # Learning curves are one picture more.
    return max(0, len(drawn) + 1 - text.count("data:image/png"))
