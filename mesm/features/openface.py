"""Facial action units from the CSV files of OpenFace (Baltrušaitis et al., 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mesm.features.csv_files import read_columns, read_header, require_columns
from mesm.features.manifest import Column
from mesm.features.people import RULE, choose_face, plausible

_INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_PRESENCES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
# OpenFace's last 35 columns, in its order.
ACTION_UNITS = [
    *(f"AU{unit:02d}_r" for unit in _INTENSITIES),
    *(f"AU{unit:02d}_c" for unit in _PRESENCES),
]
TIME, SUCCESS = "timestamp", "success"
FACE, SIDE = "face_id", "pose_Tx"
CONFIDENCE, FRAME = "confidence", "frame"
# Seconds by which a clip's own file may be longer or shorter than the clip.
LONGEST_MISFIT = 1.0
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
    *,
    own: bool = False,
    remarks: list[str] | None = None,
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
        own: whether the file is the clip's own, so that all its rows should lie in the clip.
        remarks: is given a sentence for each thing in the file that does not fit.

    One face is read of several in the clip's time: `people.RULE`. A row counts as a gap where
    OpenFace lost the face, its confidence is no number from 0 to 1, or a value is missing or out
    of OpenFace's range.

    Returns:
        (rows, 35) float32; NaN where no face was followed. No rows if the file has none in the
        clip's time.

    Raises:
        ValueError: the file cannot be read, or the two people cannot be told apart.
    """
    said = [] if remarks is None else remarks
    header = read_header(file)
    extra = [name for name in (FACE, CONFIDENCE, FRAME) if header.count(name) == 1]
    names = [TIME, SUCCESS, *ACTION_UNITS, *extra, *((SIDE,) if half is not None else ())]
    if half is not None and FACE not in extra:
        raise ValueError(f"{file} has no column {FACE!r}: {PER_CLIP}")
    columns = read_columns(file, names)
    time = columns[TIME]
    keep = (time >= start - 1e-6) & (time < end - 1e-6)
    _remark_times(time, start, end, own, said)
    followed = columns[SUCCESS] == 1
    if CONFIDENCE in extra:
        sure = (columns[CONFIDENCE] >= 0) & (columns[CONFIDENCE] <= 1)
        _remark(said, keep & followed & ~sure, "a confidence that is not from 0 to 1")
        followed &= sure
    units = {name: columns[name] for name in ACTION_UNITS}
    possible = plausible(units)
    _remark(
        said, keep & followed & ~possible, "an action unit out of range (AU_r 0 to 5, AU_c 0 or 1)"
    )
    # A row with a gap is as good as none.
    followed &= possible & np.isfinite(np.stack(list(units.values()), 1)).all(1)
    if half is not None:
        keep &= _of_half(file, columns, keep, half)
    elif FACE in extra:
        keep &= _of_one(columns, keep, followed, said)
    elif len(np.unique(time[keep])) != keep.sum():
        raise ValueError(
            f"{file} has two rows at one time and no column {FACE!r} to tell people apart: "
            f"{PER_CLIP}"
        )
    keep = _first_of_each_time(time, followed, keep, said)
    if FRAME in extra:
        order = np.argsort(time[keep], kind="stable")
        if (np.diff(columns[FRAME][keep][order]) < 0).any():
            said.append("frame numbers disagree with timestamps; the timestamps count")
    times = time[keep]
    followed = followed[keep]
    matrix = np.stack([values[keep] for values in units.values()], 1)
    matrix[~followed] = np.nan
    if step == 0 or len(times) == 0:
        return matrix[np.argsort(times, kind="stable")].astype(np.float32)
    return _thin(times, matrix, followed, start, end, step).astype(np.float32)


def _remark(said: list[str], rows: npt.NDArray[np.bool_], what: str) -> None:
    if rows.any():
        said.append(f"{int(rows.sum())} rows have {what} and count as gaps")


def _remark_times(
    time: npt.NDArray[np.float64], start: float, end: float, own: bool, said: list[str]
) -> None:
    lost = int((~np.isfinite(time)).sum())
    if lost:
        said.append(f"{lost} rows have no timestamp and are left out")
    known = time[np.isfinite(time)]
    if not own or not len(known):
        return
    if (known < -1e-6).any():
        said.append(f"{int((known < -1e-6).sum())} rows lie before 0 s and are left out")
    last, length = float(known.max()), end - start
    if abs(last - length) > LONGEST_MISFIT:
        said.append(f"its last row is at {last:.2f} s, and the clip is {length:.2f} s long")


def _of_one(
    columns: dict[str, npt.NDArray[np.float64]],
    inside: npt.NDArray[np.bool_],
    followed: npt.NDArray[np.bool_],
    said: list[str],
) -> npt.NDArray[np.bool_]:
    """The rows of the one person that is read; all rows where nobody was followed."""
    faces = columns[FACE]
    candidates = inside & followed & np.isfinite(faces)
    if not candidates.any():
        return np.ones(len(faces), bool)
    best, others = choose_face(faces, columns.get(CONFIDENCE), candidates)
    if others:
        rest = ", ".join(f"{face:g}" for face in others[:5])
        said.append(f"face_id {best:g} is read and not {rest}: {RULE}")
    return faces == best


def _first_of_each_time(
    time: npt.NDArray[np.float64],
    followed: npt.NDArray[np.bool_],
    keep: npt.NDArray[np.bool_],
    said: list[str],
) -> npt.NDArray[np.bool_]:
    """Keep one row of each time: the first in which the face was followed, else the first."""
    rows = np.flatnonzero(keep)
    ordered = rows[np.lexsort((rows, ~followed[rows], time[rows]))]
    first = np.ones(len(ordered), bool)
    first[1:] = time[ordered][1:] != time[ordered][:-1]
    if not first.all():
        said.append(f"{int((~first).sum())} rows repeat a timestamp and are left out")
    out = np.zeros(len(keep), bool)
    out[ordered[first]] = True
    return out


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
