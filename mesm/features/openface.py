"""Facial action units from the CSV files of OpenFace (Baltrušaitis et al., 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mesm.features.csv_files import read_columns, read_header, require_columns
from mesm.features.manifest import Column

_INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_PRESENCES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
# OpenFace's last 35 columns, in its order.
ACTION_UNITS = [
    *(f"AU{unit:02d}_r" for unit in _INTENSITIES),
    *(f"AU{unit:02d}_c" for unit in _PRESENCES),
]
TIME, SUCCESS = "timestamp", "success"
FACE, SIDE = "face_id", "pose_Tx"
# Seconds between rows; a frame of 30 per second is one in three.
DEFAULT_STEP = 0.1
PER_CLIP = "run OpenFace on one video per clip, cropped to the speaker"

VIDEO_COLUMNS = [
    Column(
        name=name,
        formula=f"column {name} of OpenFace's CSV: "
        + ("intensity, 0 to 5" if name.endswith("_r") else "presence, 0 or 1"),
    )
    for name in ACTION_UNITS
]


def check_openface(file: Path, *, two_people: bool) -> None:
    """Check the header of a file.

    Args:
        file: OpenFace's CSV.
        two_people: whether the picture shows two, of whom one is wanted.

    Raises:
        ValueError: a column is missing, or nothing tells the two people apart; names the file.
    """
    require_columns(file, (TIME, SUCCESS, *ACTION_UNITS), "OpenFace's FeatureExtraction")
    if two_people:
        header = read_header(file)
        for name in (FACE, SIDE):
            if name not in header:
                raise ValueError(
                    f"{file} covers a dialog of two people and has no column {name!r} to tell them "
                    f"apart: {PER_CLIP}"
                )


def read_openface(
    file: Path,
    start: float,
    end: float,
    step: float,
    half: Literal["left", "right"] | None = None,
) -> npt.NDArray[np.float32]:
    """Read the action units of a clip.

    Every `step` seconds from the clip's start on, the nearest frame in which OpenFace followed the
    face (success 1), if there is one within half a step (or half a frame, if that is longer).

    Args:
        file: OpenFace's CSV.
        start: of the clip, in the file's time, in seconds.
        end: likewise.
        step: seconds from row to row; 0: every frame of the file.
        half: where two people are in the picture, the half in which the wanted one sits; told by
            the sign of pose_Tx, which OpenFace counts from the picture's middle.

    Returns:
        (rows, 35) float32; NaN where no face was followed. No rows if the file has none in the
        clip's time.

    Raises:
        ValueError: the file cannot be read, or the two people cannot be told apart.
    """
    names = [TIME, SUCCESS, *ACTION_UNITS, *((FACE, SIDE) if half is not None else ())]
    columns = read_columns(file, names)
    keep = columns[TIME] >= start - 1e-6
    keep &= columns[TIME] < end - 1e-6
    if half is not None:
        keep &= _of_half(file, columns, keep, half)
    times = columns[TIME][keep]
    followed = columns[SUCCESS][keep] == 1
    units = np.stack([columns[name][keep] for name in ACTION_UNITS], 1)
    # A row with a gap is as good as none.
    followed &= np.isfinite(units).all(1)
    units[~followed] = np.nan
    if step == 0 or len(times) == 0:
        return units[np.argsort(times, kind="stable")].astype(np.float32)
    return _thin(times, units, followed, start, end, step).astype(np.float32)


def _of_half(
    file: Path,
    columns: dict[str, npt.NDArray[np.float64]],
    inside: npt.NDArray[np.bool_],
    half: Literal["left", "right"],
) -> npt.NDArray[np.bool_]:
    """The rows of the person in one half, by where each face_id mostly is."""
    seen = inside & (columns[SUCCESS] == 1)
    mine = np.zeros(len(seen), bool)
    for face in np.unique(columns[FACE][seen]):
        rows = seen & (columns[FACE] == face)
        sides = np.sign(columns[SIDE][rows])
        if len(set(sides.tolist())) > 1 or sides[0] == 0:
            raise ValueError(
                f"{file}: face_id {face:g} is on both sides of the picture, so the two people "
                f"cannot be told apart: {PER_CLIP}"
            )
        if (sides[0] < 0) == (half == "left"):
            mine |= rows
    if len(np.unique(columns[TIME][mine])) != mine.sum():
        raise ValueError(f"{file}: two faces in the {half} half at once: {PER_CLIP}")
    return mine


def _thin(
    times: npt.NDArray[np.float64],
    units: npt.NDArray[np.float64],
    followed: npt.NDArray[np.bool_],
    start: float,
    end: float,
    step: float,
) -> npt.NDArray[np.float64]:
    instants = start + step * np.arange(max(1, int(np.ceil((end - start) / step - 1e-6))))
    out = np.full((len(instants), units.shape[1]), np.nan)
    if not followed.any():
        return out
    frames = np.unique(times)
    interval = float(np.median(np.diff(frames))) if len(frames) > 1 else step
    order = np.argsort(times[followed], kind="stable")
    good, values = times[followed][order], units[followed][order]
    after = np.searchsorted(good, instants).clip(0, len(good) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(
        np.abs(good[before] - instants) <= np.abs(good[after] - instants), before, after
    )
    near = np.abs(good[nearest] - instants) <= max(step, interval) / 2 + 1e-6
    out[near] = values[nearest[near]]
    return out
