import numpy as np
import pytest

from mesm.features import openface
from mesm.features.openface import ACTION_UNITS, VIDEO_COLUMNS, check_openface
from mesm.features.people import RULE

UNITS = np.array([*range(17), *[0] * 18])


def read_openface(*arguments, **more):
    """Rows in the hundredths that `write_openface` counts in."""
    rows = openface.read_openface(*arguments, **more)
    assert rows.dtype == np.float32
    return np.round(rows * 100, 2)


def frames(n, rate=30, value=lambda i: float(i), **changes):
    """Rows of one face, followed in every frame but those in `lost`."""
    lost = changes.get("lost", ())
    return [(i / rate, int(i not in lost), 0, 0.0, value(i)) for i in range(n)]


def test_columns_are_found_by_name_and_the_blanks_do_not_matter(write_openface, openface_header):
    header = openface_header
    file = write_openface(frames(3), header=header)
    check_openface(file, two_people=False)
    rows = read_openface(file, 0, 0.1, 0)
    np.testing.assert_allclose(rows[:, :17], np.arange(3)[:, None] + UNITS[:17], atol=1e-4)
    swapped = header[:6] + header[7:8] + header[6:7] + header[8:]
    rows = read_openface(write_openface(frames(1), header=swapped), 0, 0.1, 0)
    np.testing.assert_allclose(rows[0, :3], [1, 0, 2], atol=1e-4)


def test_the_columns_are_openfaces_last_35():
    assert len(ACTION_UNITS) == len(VIDEO_COLUMNS) == 35
    assert sum(name.endswith("_r") for name in ACTION_UNITS) == 17
    assert ACTION_UNITS[16:19] == ["AU45_r", "AU01_c", "AU02_c"]
    assert ACTION_UNITS[-2:] == ["AU28_c", "AU45_c"]


def test_a_row_per_step_is_the_nearest_frame(write_openface):
    file = write_openface(frames(31))
    rows = read_openface(file, 0.0, 1.0, 0.1)
    assert rows.shape == (10, 35)
    np.testing.assert_allclose(rows[:, 0], [0, 3, 6, 9, 12, 15, 18, 21, 24, 27])
    # The nearest to 0.25 s steps at 30 frames a second: 0, 7.5, 15, 22.5; the earlier of two.
    np.testing.assert_allclose(read_openface(file, 0, 1, 0.25)[:, 0], [0, 8, 15, 22], atol=1)
    # In a dialog's file the clip's own time counts.
    np.testing.assert_allclose(read_openface(file, 0.5, 0.8, 0.1)[:, 0], [15, 18, 21])
    # Fewer frames than steps: each frame serves the instants nearest to it.
    slow = write_openface(frames(5, rate=5))
    np.testing.assert_allclose(read_openface(slow, 0, 1, 0.1)[::2, 0], [0, 1, 2, 3, 4])
    assert np.isfinite(read_openface(slow, 0, 1, 0.1)).all()


def test_lost_frames_give_way_to_neighbours_or_are_gaps(write_openface):
    file = write_openface(frames(30, lost=(3, *range(8, 20))))
    rows = read_openface(file, 0.0, 1.0, 0.1)
    assert rows[1, 0] in (2, 4)
    # Instants 0.3 to 0.6: the nearest followed frames are 7 and 20, half a step is 1.5 frames.
    assert np.isnan(rows[3:7]).all()
    assert np.isfinite(rows[[0, 1, 2, 7, 8, 9]]).all()
    every = read_openface(file, 0.0, 1.0, 0)
    assert len(every) == 30
    assert np.flatnonzero(np.isnan(every[:, 0])).tolist() == [3, *range(8, 20)]
    nothing = read_openface(write_openface(frames(30, lost=range(30))), 0, 1, 0.1)
    assert nothing.shape == (10, 35)
    assert np.isnan(nothing).all()


def test_no_rows_in_the_clips_time(write_openface):
    file = write_openface(frames(30))
    assert read_openface(file, 5, 6, 0.1).shape == (0, 35)
    assert read_openface(write_openface([]), 0, 1, 0.1).shape == (0, 35)


def test_not_a_number_is_a_gap(write_openface):
    file = write_openface(frames(2))
    file.write_text(file.read_text().replace("0.17", "-nan(ind)"))
    rows = read_openface(file, 0, 1, 0)
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[0]).all()


def test_two_people_are_told_apart_by_their_side(write_openface):
    rows = []
    for i in range(30):
        rows += [(i / 30, 1, 0, -80.0, 1.0), (i / 30, 1, 1, 75.0, 2.0)]
    file = write_openface(rows)
    check_openface(file, two_people=True)
    assert (read_openface(file, 0, 1, 0.1, "left")[:, 0] == 1).all()
    assert (read_openface(file, 0, 1, 0.1, "right")[:, 0] == 2).all()
    wandering = [(0.0, 1, 0, -5.0, 1.0), (0.1, 1, 0, 5.0, 1.0)]
    with pytest.raises(ValueError, match=r"clip\.csv: face_id 0 is on both sides.*one video per"):
        read_openface(write_openface(wandering), 0, 1, 0.1, "left")
    crowded = [(0.0, 1, 0, -5.0, 1.0), (0.0, 1, 1, -9.0, 1.0)]
    with pytest.raises(ValueError, match=r"clip\.csv: two faces in the left half at once"):
        read_openface(write_openface(crowded), 0, 1, 0.1, "left")


def test_a_missing_column_is_named(write_openface, openface_header):
    header = openface_header
    for name in ("timestamp", "success", "AU12_r", "AU28_c"):
        renamed = [other if other != name else "other" for other in header]
        with pytest.raises(
            ValueError, match=rf"clip\.csv has no column '{name}'; wanted .*OpenFace"
        ):
            check_openface(write_openface([], header=renamed), two_people=False)
    twice = [name if name != "AU12_r" else "AU01_r" for name in header]
    with pytest.raises(ValueError, match="has two columns 'AU01_r'"):
        check_openface(write_openface([], header=twice), two_people=False)
    for name in ("face_id", "pose_Tx"):
        renamed = [other if other != name else "other" for other in header]
        file = write_openface([], header=renamed)
        check_openface(file, two_people=False)
        with pytest.raises(
            ValueError, match=rf"two people and has no column '{name}'.*run OpenFace"
        ):
            check_openface(file, two_people=True)


def test_of_several_faces_the_one_followed_longest_is_read(write_openface):
    both = [(i / 30, 1, face, 0.0, 10.0 * face) for i in range(30) for face in (1, 2)]
    for step in (0, 0.1):
        remarks = []
        rows = read_openface(write_openface(both[:-1]), 0, 1, step, own=True, remarks=remarks)
        assert set(rows[:, 0]) == {10}
        assert remarks == [f"face_id 1 is read and not 2: {RULE}"]
    # As long and as sure: the lower face_id.
    assert set(read_openface(write_openface(both), 0, 1, 0)[:, 0]) == {10}
    surer = write_openface(both)
    lines = surer.read_text().splitlines()
    surer.write_text(
        "\n".join(s.replace(", 0.9,", ", 0.95,") if ", 2, " in s else s for s in lines)
    )
    assert set(read_openface(surer, 0, 1, 0)[:, 0]) == {20}


@pytest.mark.parametrize("value", ["1e300", "inf", "-inf", "-0.5", "5.01"])
def test_values_that_openface_cannot_give_are_gaps_and_told(write_openface, value):
    file = write_openface(frames(2))
    file.write_text(file.read_text().replace("0.17", value))
    remarks = []
    rows = read_openface(file, 0, 1 / 15, 0, remarks=remarks)
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[0]).all()
    assert [r.split(" have ")[0] for r in remarks] == ["1 rows"]


def test_rows_that_do_not_fit_the_clip_are_told(write_openface):
    remarks = []
    rows = [*frames(30), (0.5, 1, 0, 0.0, 99.0), (-1.0, 1, 0, 0.0, 1.0), (9.0, 1, 0, 0.0, 1.0)]
    assert len(read_openface(write_openface(rows), 0, 1, 0, own=True, remarks=remarks)) == 30
    assert remarks == [
        "1 rows lie before 0 s and are left out",
        "its last row is at 9.00 s, and the clip is 1.00 s long",
        "1 rows repeat a timestamp and are left out",
    ]
