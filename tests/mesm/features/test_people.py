import numpy as np
import pytest

from mesm.features.people import RULE, choose_face, plausible


def choose(faces, confidence=None, candidates=None):
    rows = np.ones(len(faces), bool) if candidates is None else np.array(candidates)
    sure = None if confidence is None else np.array(confidence)
    return choose_face(np.array(faces, float), sure, rows)


def test_the_rule_names_what_is_tried_in_this_order():
    assert RULE.split(", then of the ") == [
        "the face followed longest",
        "higher mean confidence",
        "lower face_id",
    ]


@pytest.mark.parametrize(
    ("faces", "confidence", "candidates", "chosen"),
    [
        ([0, 1, 1], None, None, (1, [0])),
        ([0, 1, 1], [1.0, 0.1, 0.1], None, (1, [0])),
        ([0, 0, 1, 1], [0.5, 0.6, 0.9, 0.3], None, (1, [0])),
        ([3, 2, 3, 2], [0.5, 0.5, 0.5, 0.5], None, (2, [3])),
        # A confidence that is missing counts as none.
        ([0, 1], [np.nan, 0.1], None, (1, [0])),
        # Rows in which no face was followed are no reason to take one, nor a person of their own.
        ([0, 0, 0, 1, 7], None, [True, False, False, True, False], (0, [1])),
    ],
)
def test_one_person_is_chosen(faces, confidence, candidates, chosen):
    assert choose(faces, confidence, candidates) == chosen


def test_values_that_openface_never_gives_are_told():
    units = {
        "AU01_r": np.array([0.0, 5.0, 5.1, 1.0, np.nan, 1.0]),
        "AU01_c": np.array([0.0, 1.0, 0.0, 0.5, np.nan, 1.0]),
        "AU02_r": np.array([0.0, 1.0, 1.0, 1.0, 1.0, -0.1]),
    }
    assert plausible(units).tolist() == [True, True, False, False, True, False]
    with pytest.raises(ValueError, match="no columns to judge"):
        plausible({})
