"""Writes what OpenFace would have measured on the drawn faces: one CSV file per clip.

The numbers are the planted action units with measurement noise, not OpenFace's: no face is looked
at here. The columns, their names (with the leading blank OpenFace puts before them) and their
ranges are OpenFace's.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Final

import numpy as np

from mesm.corpora.miniature.media import VideoFormat, drawn_time
from mesm.corpora.miniature.performance import Performance
from mesm.corpora.miniature.plan import ClipPlan, DialogPlan
from mesm.corpora.miniature.recording import Recording

FOLDER: Final = "OpenFace"
_INTENSITIES: Final = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_PRESENCES: Final = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
# OpenFace takes an action unit that it does not know for the most similar one: a mouth stretch for
# a jaw drop, a lip pressor for a lip tightener, shut eyes for a blink. It misses a lip funneler.
_TAKEN_FOR: Final = {27: (26, 1.0), 24: (23, 0.7), 43: (45, 1.0)}
_SCALE: Final = 5.0  # OpenFace's intensities go from 0 to 5
_NOISE: Final = 0.35
_PRESENT: Final = 1.0  # an intensity that counts as present
_WRONG_PRESENCE: Final = 0.03
_FAILED: Final = 0.02


def write_openface(
    root: Path, plan: DialogPlan, recording: Recording, seed: int, video: VideoFormat
) -> None:
    """Write the files of a recording's clips; none for a video that cannot be read.

    Args:
        root: of the corpus.
        plan: of the recording.
        recording: who shows what.
        seed: of the corpus; the numbers drawn here have a stream of their own.
        video: gives the frame rate.
    """
    if plan.truncated or plan.unfilmed:
        return
    rng = np.random.default_rng([seed, 4, plan.index])
    for clip in plan.clips:
        if clip.end > clip.start:
            lines = _lines(clip, recording.performances[clip.speaker], video, rng)
            file = root / FOLDER / f"{clip.clip_id}.csv"
            file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _lines(
    clip: ClipPlan, performance: Performance, video: VideoFormat, rng: np.random.Generator
) -> list[str]:
    names = ["frame", "face_id", "timestamp", "confidence", "success"]
    names += [f"AU{unit:02d}_r" for unit in _INTENSITIES]
    names += [f"AU{unit:02d}_c" for unit in _PRESENCES]
    lines = [", ".join(names)]
    for frame in range(ceil((clip.end - clip.start) * video.rate - 1e-6)):
        time = float(frame / video.rate)
        intensities = _measure(performance, drawn_time(clip.start + time, video), rng)
        # Drawn for every frame, so that an absence moves no other number.
        lost = rng.random() < _FAILED
        confidence = rng.uniform(0.9, 0.98)
        flips = rng.random(len(_PRESENCES)) < _WRONG_PRESENCE
        if intensities is None or lost:
            intensities, confidence, success = {}, 0.0, 0
            flips[:] = False
        else:
            success = 1
        present = [
            (intensities.get(unit, 0.0) >= _PRESENT) != flip
            for unit, flip in zip(_PRESENCES, flips, strict=True)
        ]
        fields = [f"{frame + 1}", "0", f"{time:.3f}", f"{confidence:.2f}", f"{success}"]
        fields += [f"{intensities.get(unit, 0.0):.2f}" for unit in _INTENSITIES]
        fields += [f"{float(value):.2f}" for value in present]
        lines.append(", ".join(fields))
    return lines


def _measure(
    performance: Performance, time: float, rng: np.random.Generator
) -> dict[int, float] | None:
    """Intensities 0 to 5 of the units OpenFace knows; None without a face."""
    noise = rng.normal(0, _NOISE, len(_INTENSITIES))
    expression = performance.expression_at(time)
    if expression is None:
        return None
    seen = {45: performance.blink_at(time), 25: 0.5 * performance.talk_at(time)}
    for unit, intensity in expression.items():
        taken, share = _TAKEN_FOR.get(unit, (unit, 1.0))
        seen[taken] = max(seen.get(taken, 0.0), share * intensity)
    return {
        unit: float(np.clip(_SCALE * seen.get(unit, 0.0) + error, 0, _SCALE))
        for unit, error in zip(_INTENSITIES, noise, strict=True)
    }
