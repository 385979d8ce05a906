"""Where a miniature corpus planted what carries the emotion, in the coordinates of the inputs.

The ground truth speaks of pixels of the full video, seconds of the dialog and hertz. The model sees
48x48 face crops and chunks of 128 mel bins x 32 columns. Here the one becomes the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesm.inputs.spectrograms import HOP, MEL_BINS, SAMPLE_RATE
from mesm.runs.ordinary import not_a_file

Regions = NDArray[np.float64]  # (R, 4): x0, y0, x1, y1

FACE_SIZE = 48
SECONDS_PER_COLUMN = HOP / SAMPLE_RATE
# A face frame belongs to the planted frame nearest in time, if it is this near.
TIME_TOLERANCE = 0.05
SAMPLES_PER_PIXEL = 4


@dataclass(frozen=True)
class PlantedFrame:
    """The action units of one sampling instant, in pixels of the full video.

    Attributes:
        time: seconds of the dialog.
        regions: (R, 4) of those that carry the emotion.
        misleading: (R, 4) of those in the half of the face that the sentence does not name; none
            where a face shows one emotion.
    """

    time: float
    regions: Regions
    misleading: Regions


@dataclass(frozen=True)
class SoundCue:
    """One acoustic cue: seconds of the dialog, hertz."""

    start: float
    end: float
    low_hz: float
    high_hz: float
    cue: str


@dataclass(frozen=True)
class PlantedClip:
    """The planted cues of one clip; `hints` says per modality "true", "missing" or "misleading"."""

    clip_id: str
    start: float
    frames: tuple[PlantedFrame, ...]
    sound: tuple[SoundCue, ...]
    hints: dict[str, str]


def no_regions() -> Regions:
    """An empty (0, 4)."""
    return np.zeros((0, 4))


def _frame(entry: dict[str, Any], named: str | None) -> PlantedFrame:
    regions: dict[bool, list[list[float]]] = {True: [], False: []}
    for unit in entry["action_units"]:
        if unit["intensity"] > 0:
            regions[named is None or unit["half"] == named] += unit["regions"]
    true, misleading = (
        np.array(regions[kind], dtype=np.float64).reshape(-1, 4) for kind in (True, False)
    )
    return PlantedFrame(float(entry["time"]), true, misleading)


def read_ground_truth(path: Path) -> dict[str, PlantedClip]:
    """Read ground_truth.jsonl of a miniature corpus.

    Returns:
        Planted clips by clip id.

    Raises:
        ValueError: no such file, or a line that is not such an entry; names the line.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} {not_a_file(path)}; the ground truth is ground_truth.jsonl in the folder that "
            "`mesm miniature` made"
        )
    clips = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                named = entry["where"]["named"] if "where" in entry else None
                clip = PlantedClip(
                    clip_id=entry["clip_id"],
                    start=float(entry["start"]),
                    frames=tuple(_frame(frame, named) for frame in entry["frames"]),
                    sound=tuple(
                        SoundCue(
                            float(cue["start"]),
                            float(cue["end"]),
                            float(cue["low_hz"]),
                            float(cue["high_hz"]),
                            str(cue["cue"]),
                        )
                        for cue in entry["sound"]
                    ),
                    hints=dict(entry["hints"]),
                )
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}:{number}: not a line of a miniature corpus' ground truth "
                    f"({type(error).__name__}: {error})"
                ) from error
            clips[clip.clip_id] = clip
    return clips


def to_crop(regions: Regions, box: NDArray[np.floating[Any]]) -> Regions:
    """Map (R, 4) from pixels of the video into the 48x48 crop of `box` (x0, y0, x1, y1).

    Clipped to the crop; what lies wholly outside is left out.
    """
    x0, y0, x1, y1 = (float(edge) for edge in box)
    if not (x1 > x0 and y1 > y0):
        return no_regions()
    origin = np.array([x0, y0, x0, y0])
    scale = FACE_SIZE / np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    return _clip((regions - origin) * scale, FACE_SIZE, FACE_SIZE)


def face_regions(
    planted: PlantedClip,
    times: Sequence[float] | NDArray[np.floating[Any]],
    boxes: NDArray[np.floating[Any]],
    *,
    misleading: bool = False,
) -> list[Regions]:
    """Per face frame the planted action-unit regions in crop pixels; none → (0, 4).

    Args:
        planted: the clip's ground truth.
        times: (S,) seconds of the dialog.
        boxes: (S, 4) the crops in pixels of the full video.
        misleading: those of the half that the sentence does not name, instead of those that carry
            the emotion.
    """
    if not planted.frames:
        return [no_regions() for _ in times]
    instants = np.array([frame.time for frame in planted.frames])
    regions = []
    for time, box in zip(times, boxes, strict=True):
        nearest = int(np.abs(instants - float(time)).argmin())
        near = abs(instants[nearest] - float(time)) <= TIME_TOLERANCE
        frame = planted.frames[nearest]
        found = frame.misleading if misleading else frame.regions
        regions.append(to_crop(found, box) if near else no_regions())
    return regions


def _mel(hertz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    hertz = np.asarray(hertz, dtype=np.float64)
    above = 15 + np.log(np.maximum(hertz, 1000) / 1000) * 27 / np.log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, above)


def hertz_to_bin(hertz: float, low_hz: float, high_hz: float) -> float:
    """The place of a frequency on the mel axis, where bin m covers [m, m + 1).

    Bin m's triangle peaks at its middle; `low_hz` and `high_hz` are the mel bank's ends.
    """
    low, high = _mel(low_hz), _mel(high_hz)
    return float((_mel(hertz) - low) / ((high - low) / (MEL_BINS + 1)) - 0.5)


def sound_regions(
    planted: PlantedClip, columns: int, low_hz: float = 0.0, high_hz: float = 8000.0
) -> Regions:
    """The clip's sound cues as (R, 4) in columns (x) and mel bins (y) of its spectrogram."""
    # Column t is centred on t hops after the start, and covers half a hop on either side of it.
    regions = [
        (
            (cue.start - planted.start) / SECONDS_PER_COLUMN + 0.5,
            hertz_to_bin(cue.low_hz, low_hz, high_hz),
            (cue.end - planted.start) / SECONDS_PER_COLUMN + 0.5,
            hertz_to_bin(cue.high_hz, low_hz, high_hz),
        )
        for cue in planted.sound
    ]
    return _clip(np.array(regions).reshape(-1, 4), MEL_BINS, columns)


def _clip(regions: Regions, height: int, width: int) -> Regions:
    """Clip to the image and drop what is left with no area."""
    clipped = np.clip(regions, 0, np.array([width, height, width, height]))
    keep = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    return clipped[keep]


def coverage(regions: Regions, height: int, width: int, cell: int) -> NDArray[np.float64]:
    """The share of each cell's area inside the union of the regions, (height/cell, width/cell).

    Measured at 4x4 sample points per pixel.
    """
    fine = np.zeros((height * SAMPLES_PER_PIXEL, width * SAMPLES_PER_PIXEL), dtype=bool)
    # The sample points lie in the middle of their little squares: i is inside if i + 0.5 is.
    for x0, y0, x1, y1 in np.ceil(regions * SAMPLES_PER_PIXEL - 0.5).astype(int):
        fine[y0:y1, x0:x1] = True
    side = cell * SAMPLES_PER_PIXEL
    return fine.reshape(height // cell, side, width // cell, side).mean(axis=(1, 3))
