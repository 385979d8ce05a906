"""Which rows of an OpenFace file are one person's, and which rows can be trusted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

RULE = "the face followed longest, then of the higher mean confidence, then of the lower face_id"


def choose_face(
    faces: Floats, confidence: Floats | None, candidates: Bools
) -> tuple[float, list[float]]:
    """Choose one person by `RULE`.

    Args:
        faces: face_id of each row.
        confidence: OpenFace's, of each row; None: the file has none.
        candidates: the rows in which a face was followed; at least one.

    Returns:
        The face_id, and the others.
    """
    ids = np.unique(faces[candidates])

    def rank(face: float) -> tuple[int, float, float]:
        rows = candidates & (faces == face)
        sure = 0.0 if confidence is None else float(np.nan_to_num(confidence[rows]).mean())
        return -int(rows.sum()), -sure, face

    best = min(ids.tolist(), key=rank)
    return best, [face for face in ids.tolist() if face != best]


def plausible(units: Mapping[str, Floats]) -> Bools:
    """Tell which rows hold only values that OpenFace can give: AU_r 0 to 5, AU_c 0 or 1; or none.

    A value that is missing (NaN) is no fault of this kind.
    """
    wrong = None
    for name, values in units.items():
        if name.endswith("_r"):
            here = (values < 0) | (values > 5)
        else:
            here = ~np.isnan(values) & (values != 0) & (values != 1)
        wrong = here if wrong is None else wrong | here
    if wrong is None:
        raise ValueError("no columns to judge")
    return ~wrong
