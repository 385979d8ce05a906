"""Faces followed through frames by the overlap of their boxes."""

import numpy as np

from mesm.inputs.face_tracks import faces_of, follow, longest_track
from mesm.inputs.faces import FaceCrop, FrameFaces


def boxes(*corners):
    """Boxes of 40 pixels at these left edges."""
    return np.array([[x, 10, x + 40, 50] for x in corners], np.float32).reshape(-1, 4)


def test_two_people_that_move_are_two_tracks():
    frames = [boxes(0, 100), boxes(110, 10), boxes(20, 120)]
    assert follow(frames) == [{0: 0, 1: 1, 2: 0}, {0: 1, 1: 0, 2: 1}]


def test_the_longest_is_first_then_the_largest():
    large = np.array([[100, 0, 180, 80]], np.float32)
    assert follow([boxes(0), np.concatenate([boxes(0), large])]) == [{0: 0, 1: 0}, {1: 1}]
    assert follow([np.concatenate([boxes(0), large])]) == [{0: 1}, {0: 0}]
    assert follow([]) == []
    assert follow([boxes(), boxes()]) == []


def test_who_is_out_of_sight_too_long_is_somebody_else():
    assert follow([boxes(0), boxes(), boxes(), boxes(5)]) == [{0: 0, 3: 0}]
    assert follow([boxes(0), boxes(), boxes(), boxes(), boxes(5)]) == [{0: 0}, {4: 0}]


def test_the_nearest_of_two_goes_on_with_a_track():
    assert follow([boxes(0), boxes(15, 2)])[0] == {0: 0, 1: 1}


def test_boxes_without_area_overlap_nothing():
    flat = np.array([[5, 5, 5, 5]], np.float32)
    assert follow([flat, flat]) == [{0: 0}, {1: 0}]


def frame(*corners):
    def crop(x, found=True):
        return FaceCrop(np.full((48, 48, 3), x, np.uint8), np.zeros(4, np.float32), found)

    return FrameFaces(crop(0), boxes(*corners), tuple(map(crop, corners)), crop(255, found=False))


def test_the_faces_of_a_track_with_the_centre_where_it_is_out_of_sight():
    frames = [frame(0, 100), frame(110), frame(120)]
    chosen = longest_track(frames)
    assert [face.image[0, 0, 0] for face in chosen] == [100, 110, 120]
    other = faces_of(follow([f.boxes for f in frames])[1], frames)
    assert [(face.image[0, 0, 0], face.found) for face in other] == [
        *((0, True), (255, False), (255, False))
    ]
    assert [face.found for face in longest_track([frame(), frame()])] == [False, False]
