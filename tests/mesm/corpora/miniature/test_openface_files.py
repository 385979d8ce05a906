from __future__ import annotations

import csv
from fractions import Fraction
from math import ceil

import numpy as np
import pytest

RATES = {"iemocap": Fraction(6000, 1001), "mosei": Fraction(6)}


def read(path):
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    names = [name.strip() for name in header]
    return header, {name: np.array([float(row[i]) for row in rows]) for i, name in enumerate(names)}


@pytest.fixture(params=["iemocap", "mosei"])
def corpus(request):
    return request.param, request.getfixturevalue(request.param)


def test_one_file_per_clip_that_openface_could_see(corpus):
    _, made = corpus
    unseen = {"truncated_video", "zero_length"}
    wanted = {t["clip_id"] for t in made.truths if t["fault"] not in unseen}
    assert {path.stem for path in (made.root / "OpenFace").iterdir()} == wanted


def test_columns_ranges_and_frames_are_openfaces(corpus):
    layout, made = corpus
    lost = frames = 0
    for truth in made.good:
        header, columns = read(made.root / "OpenFace" / f"{truth['clip_id']}.csv")
        assert header[:3] == ["frame", " face_id", " timestamp"]
        assert all(name.startswith(" ") for name in header[1:])
        assert len(header) == 40
        length = truth["end"] - truth["start"]
        n = len(columns["frame"])
        # Every frame that begins within the clip.
        assert n == ceil(length * RATES[layout])
        np.testing.assert_allclose(
            columns["timestamp"], np.arange(n) / float(RATES[layout]), atol=0.0006
        )
        for name, values in columns.items():
            if name.endswith("_r"):
                assert values.min() >= 0
                assert values.max() <= 5
            elif name.endswith("_c") or name == "success":
                assert set(values) <= {0.0, 1.0}
        failed = columns["success"] == 0
        for name, values in columns.items():
            if name.startswith("AU"):
                assert not values[failed].any()
        lost, frames = lost + failed.sum(), frames + n
    # 2 %, of some hundreds of frames.
    assert 0 < lost < 0.05 * frames


def test_the_planted_units_are_what_is_measured(corpus):
    _, made = corpus
    seen = 0
    for truth in made.good:
        _, columns = read(made.root / "OpenFace" / f"{truth['clip_id']}.csv")
        good = columns["success"] == 1
        for frame in truth["frames"]:
            nearest = np.argmin(np.abs(columns["timestamp"] - (frame["time"] - truth["start"])))
            if not good[nearest]:
                continue
            planted = {unit["au"]: unit["intensity"] for unit in frame["action_units"]}
            for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20):
                got = columns[f"AU{unit:02d}_r"][nearest]
                # Noise has a deviation of 0.35; below 0.3 a unit is not in the ground truth.
                if unit in planted:
                    assert abs(got - 5 * planted[unit]) < 5 * 0.35 + 0.05
                    seen += 1
                else:
                    assert got < 5 * 0.3 + 5 * 0.35
    assert seen > 10


def test_the_face_that_left_is_lost(corpus):
    _, made = corpus
    truth = made.fault("no_face")
    _, columns = read(made.root / "OpenFace" / f"{truth['clip_id']}.csv")
    gone = columns["timestamp"] > 0.5
    assert not columns["success"][gone].any()
    assert columns["success"][columns["timestamp"] < 0.3].any()
