"""A person before the camera: what is planned, and the life between that is drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from mesm.corpora.miniature.action_units import EXPRESSIONS, LEAD, ExpressionTrack
from mesm.corpora.miniature.face_geometry import Pose
from mesm.corpora.miniature.face_painter import Looks, Scene
from mesm.corpora.miniature.performance import Performance, Turn, seat

SEAT = Pose(50.0, 55.0, 22.0)
DURATION = 9.0
TIMES = np.arange(0, DURATION, 1 / 15)


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    return Scene(Looks.draw(rng, long_hair=False), 100, 112, rng)


@pytest.fixture
def perform(scene):
    def make(turns=(), seed=0, **facts):
        rng = np.random.default_rng(seed)
        return Performance(scene, SEAT, list(turns), DURATION, rng, **facts)

    return make


def turn(start, end, *emotions, syllables=()):
    shown = [EXPRESSIONS[emotion] for emotion in emotions]
    track = ExpressionTrack(shown, start, end, np.random.default_rng(1))
    return Turn(start, end, track, syllables)


def eye_openings(performance):
    return np.array([np.ptp(performance.at(float(t))[1].eyes[0][:, 1]) for t in TIMES])


def mouth_opening(performance, time):
    """In the middle; the outline runs along the upper lip there and along the lower one back."""
    mouth = performance.at(time)[1].mouth
    return float(mouth[25, 1] - mouth[8, 1])


def test_the_expression_is_the_turns(perform):
    sad, happy = turn(1, 3, "sad"), turn(6, 8, "happy")
    performance = perform([sad, happy])
    for time in TIMES:
        wanted = sad.expression.at(float(time)) | happy.expression.at(float(time))
        assert performance.at(float(time))[2] == wanted
    assert set(performance.at(2.0)[2]) == set(EXPRESSIONS["sad"])
    assert performance.at(4.5)[2] == {}


def test_overlapping_turns_show_the_stronger_of_both(perform):
    one, other = turn(1, 3, "happy"), turn(2.6, 5, "excited")
    performance = perform([one, other])
    time = 2.6
    a, b = one.expression.at(time), other.expression.at(time)
    assert a[12] > b[12] > 0
    assert b[1] > a.get(1, 0.0)
    found = performance.at(time)[2]
    assert (found[12], found[1]) == (a[12], b[1])


def test_the_resting_face_is_no_expression(perform):
    """Whoever does nothing still has a face of their own, below what counts as visible."""
    faces = []
    for seed in range(6):
        _, shape, expression = perform(seed=seed).at(0.5)
        assert expression == {}
        assert set(shape.regions) == {4, 12, 15}
        faces.append(shape.lips - shape.lips.mean(0))
    assert all(not np.allclose(faces[0], face, atol=0.05) for face in faces[1:])


def test_a_turn_draws_the_face_it_names(perform):
    """The lips' corners go up against their middle, as in a smile."""
    calm, smiling = perform().at(2.0)[1], perform([turn(1, 3, "happy")]).at(2.0)[1]

    def lift(shape):
        return shape.lip_line[8, 1] - shape.lip_line[[0, -1], 1].mean()

    assert lift(smiling) > lift(calm) + 0.15 * SEAT.scale
    assert set(EXPRESSIONS["happy"]) <= set(smiling.regions)


def test_the_mouth_opens_in_syllables_and_as_far_as_they_are_loud(perform):
    syllables = [(1.2, 1.4, 1.0), (1.5, 1.7, 0.5)]
    talking, still = perform([turn(1, 2, syllables=syllables)]), perform([turn(1, 2)])

    def extra(time):
        return mouth_opening(talking, time) - mouth_opening(still, time)

    assert extra(1.45) == extra(1.9) == 0
    loud, soft = extra(1.3), extra(1.6)
    assert loud > 1.0
    # In proportion to the loudness; the head nods with it, which foreshortens by a few percent.
    assert soft == pytest.approx(loud / 2, rel=0.05)
    assert extra(1.25) == pytest.approx(loud * np.sin(np.pi / 4), rel=0.05)


def test_blinks_are_short_and_some_seconds_apart(perform):
    for seed in range(2):
        openings = eye_openings(perform(seed=seed))
        shut = openings < 0.6 * np.median(openings)
        starts = TIMES[1:][np.diff(shut.astype(int)) == 1]
        assert len(starts) >= 2
        assert (np.diff(starts) > 1.7).all()
        assert (np.diff(starts) < 5.1).all()
        assert starts[-1] > DURATION - 5.1
        assert shut.mean() < 0.1


def test_blinks_go_on_to_the_end_of_a_long_dialog(scene):
    performance = Performance(scene, SEAT, [], 60.0, np.random.default_rng(0))
    last = [np.ptp(performance.at(float(t))[1].eyes[0][:, 1]) for t in np.arange(54.9, 60, 1 / 15)]
    assert min(last) < 0.6 * np.median(last)


def test_the_head_sways_a_little_and_never_jumps(perform):
    poses = [perform([turn(1, 3, "angry", syllables=[(1, 2, 1.0)])]).at(float(t))[0] for t in TIMES]
    places = np.array([[p.x, p.y] for p in poses])
    angles = np.array([[p.yaw, p.pitch, p.roll] for p in poses])
    assert (np.abs(places - [SEAT.x, SEAT.y]) <= np.array([0.09, 0.05]) * SEAT.scale).all()
    assert (np.abs(angles) <= [0.08, 0.07, 0.05]).all()
    assert (np.ptp(places, axis=0) > 0.01 * SEAT.scale).all()
    assert (np.ptp(angles, axis=0) > 0.01).all()
    assert np.abs(np.diff(places, axis=0)).max() < 0.02 * SEAT.scale
    assert {p.scale for p in poses} == {SEAT.scale}


def test_a_moment_does_not_depend_on_what_was_asked_before(perform):
    one, other = perform([turn(1, 3, "fear")]), perform([turn(1, 3, "fear")])
    forwards = [one.at(float(t))[1].lips for t in TIMES[:60:3]]
    backwards = [other.at(float(t))[1].lips for t in TIMES[:60:3][::-1]][::-1]
    np.testing.assert_array_equal(forwards, backwards)


def test_seeds_give_different_lives(perform):
    one, other = (
        np.array([performance.at(float(t))[0].x for t in TIMES[::5]])
        for performance in (perform(seed=0), perform(seed=1))
    )
    assert np.abs(one - other).max() > 0.02 * SEAT.scale


def test_absent_from_the_start_and_back_at_the_end(perform, scene):
    performance = perform(absences=[(2.0, 3.0), (5.0, 5.5)])
    gone = [t for t in (1.99, 2.0, 2.99, 3.0, 5.25, 5.5) if performance.at(t) is None]
    assert gone == [2.0, 2.99, 5.25]
    np.testing.assert_array_equal(performance.picture(2.5), scene.empty())


def test_the_picture_is_of_the_face_at_that_time(perform, scene):
    performance = perform([turn(1, 3, "surprised")])
    pose, shape, _ = performance.at(2.0)
    np.testing.assert_array_equal(performance.picture(2.0), scene.paint(shape, pose))
    assert (performance.picture(2.0) != scene.empty()).any()


def test_speaking_is_a_turn_and_its_surroundings(perform):
    performance = perform([turn(2, 3), turn(5, 6)])
    for time, speaking in (
        (2 - LEAD - 0.01, False),
        (2 - LEAD + 0.01, True),
        (2.5, True),
        (3 + LEAD - 0.01, True),
        (3 + LEAD + 0.01, False),
        (5.5, True),
    ):
        assert performance.is_speaking(time) == speaking
    assert not perform().is_speaking(2.5)


def test_faces_move_only_while_they_count_as_speaking(perform):
    """The frames that are drawn more often have to hold the whole expression."""
    performance = perform([turn(2, 3, "angry"), turn(5, 6, "sad")])
    for time in TIMES:
        if performance.at(float(time))[2]:
            assert performance.is_speaking(float(time))


def test_seats_leave_room_for_the_head():
    rng = np.random.default_rng(0)
    seats = [seat(360, 480, rng) for _ in range(200)]
    for pose in seats:
        # Hair, ears and chin, at the largest sway.
        assert 1.5 * pose.scale < pose.x < 360 - 1.5 * pose.scale
        assert 1.5 * pose.scale < pose.y < 480 - 1.8 * pose.scale
        # From the forehead to the chin, 2.5 half widths are about half of the picture.
        assert 0.4 < 2.5 * pose.scale / 480 < 0.5
        assert max(abs(angle) for angle in (pose.yaw, pose.pitch, pose.roll)) <= 0.12
    assert np.std([pose.x for pose in seats]) > 4
    assert seat(360, 480, np.random.default_rng(3)) == seat(360, 480, np.random.default_rng(3))


def test_the_parts_of_what_is_seen(perform):
    syllables = ((1.5, 1.8, 0.8),)
    performance = perform([turn(1, 3, "sad", syllables=syllables)], absences=[(4.0, 5.0)])
    assert performance.expression_at(4.5) is None
    assert performance.at(4.5) is None
    for time in (0.0, 1.65, 2.5, 6.0):
        assert performance.expression_at(time) == performance.at(time)[2]
    # Half a sine over the syllable.
    assert performance.talk_at(1.65) == pytest.approx(0.8)
    assert performance.talk_at(1.575) == pytest.approx(0.8 * 0.5**0.5)
    assert performance.talk_at(2.5) == 0
    blinks = np.array([performance.blink_at(float(time)) for time in np.arange(0, 9, 0.005)])
    assert blinks.min() == 0
    assert blinks.max() > 0.9
    assert 0.01 < np.mean(blinks > 0) < 0.2
