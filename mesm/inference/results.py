"""Predictions of recordings: a piece, and all pieces of one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The note of a piece with pictures and no face in any of them.
NO_FACE = "no face found"


@dataclass(frozen=True)
class Prediction:
    """The emotions of one piece of a recording.

    Attributes:
        file: the recording.
        start: seconds from where the first of its streams begins.
        end: likewise.
        text: what was said, as far as it is known.
        probabilities: by emotion; thresholds and decisions are of these.
        calibrated: likewise, after the run's temperatures; None: the run keeps none.
        thresholds: by emotion; None: the most probable one is decided for.
        policy: how the thresholds were found.
        decided: the emotions decided for.
        faces: frames in which the face was found.
        frames: frames that were looked at.
        people: how many were seen.
        person: which of them it is of; None: by the run's own rule.
        missing: of "text", "sound" and "pictures", those that the model reads and the piece lacks.
        notes: what was not as it should be, in words.
        system: the model's name in tables.
        weights: SHA-256 of the run's weights.
    """

    file: Path
    start: float
    end: float
    text: str | None
    probabilities: dict[str, float]
    calibrated: dict[str, float] | None
    thresholds: dict[str, float] | None
    policy: str
    decided: tuple[str, ...]
    faces: int
    frames: int
    people: int
    person: int | None
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    system: str
    weights: str

    def row(self) -> dict[str, Any]:
        """Its JSON values by name, in a fixed order."""
        return {
            "file": os.fsencode(self.file).decode("utf-8", "backslashreplace"),
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "probability": self.probabilities,
            "calibrated": self.calibrated,
            "threshold": self.thresholds,
            "policy": self.policy,
            "decided": list(self.decided),
            "faces": self.faces,
            "frames": self.frames,
            "people": self.people,
            "person": self.person,
            "missing": list(self.missing),
            "notes": list(self.notes),
            "model": self.system,
            "weights": self.weights,
        }


@dataclass(frozen=True)
class Predicted:
    """All pieces of one recording, by time; of a piece, one per person that was asked for."""

    file: Path
    pieces: tuple[Prediction, ...]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, place: int) -> Prediction:
        return self.pieces[place]


def columns(predictions: Sequence[Prediction], emotions: Sequence[str]) -> dict[str, list[Any]]:
    """Predictions as flat columns for a table: a column per emotion, lists as one text.

    Args:
        predictions: N of them.
        emotions: the run's names.

    Returns:
        N values per column; the columns are there without any prediction, too.
    """
    single = ("file", "start", "end", "text")
    after = ("policy", "decided", "faces", "frames", "people", "person", "missing", "notes")
    rows = [one.row() for one in predictions]
    found: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in single}
    for kind in ("probability", "calibrated", "threshold"):
        for emotion in emotions:
            found[f"{kind}_{emotion}"] = [row[kind] and row[kind][emotion] for row in rows]
    for name in (*after, "model", "weights"):
        values = [row[name] for row in rows]
        found[name] = [";".join(v) if isinstance(v, list) else v for v in values]
    return found
