"""The comparison of `make real` can fail; the recordings themselves are not fetched here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mesm.inputs.face_detector import Detections
from tests.mesm.corpora.test_shortfalls import record
from tests.real.acoustics import FASTEST_AT_LEAST, RECORDINGS, REFERENCE, compare
from tests.real.checks import worst
from tests.real.faces import compare_faces
from tests.real.raw_corpus import IN_PLACE, READ, REFUSED, VIDEOS, own_sound

GOLDEN = Path(__file__).parent / "data" / "disvoice" / "golden.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as content:
        found = {key.split("/")[1]: content[key] for key in content.files if "talk/" in key}
    return found


def wrong(reference: dict[str, np.ndarray]) -> set[str]:
    waveform = (reference["samples"] / 2**15).astype(np.float32)
    checks = list(compare("talk", waveform, reference))
    # A time on a busy machine is no matter of this test.
    return {check.stage for check in checks if not check.right} - {"share of real time"}


def test_what_is_the_same_is_right(reference: dict[str, np.ndarray]) -> None:
    assert wrong(reference) == set()


@pytest.mark.parametrize(
    ("array", "stages"),
    [
        ("f0", {"F0, Hz", "voicing"}),
        ("borders", {"onsets"}),
        ("bbe", {"Bark energies", "rows of onsets"}),
        ("mfcc", {"MFCCs", "rows of onsets"}),
        ("posteriors", {"posteriors"}),
        ("statistics", {"statistics"}),
    ],
)
def test_each_stage_can_be_wrong(
    reference: dict[str, np.ndarray], array: str, stages: set[str]
) -> None:
    spoiled = reference[array] + reference[array].dtype.type(1)
    assert wrong({**reference, array: spoiled}) == stages


def test_other_shapes_and_gaps_are_wrong() -> None:
    assert worst([1.0, np.nan], [1.0, np.nan]) == 0
    assert worst([1.0, np.nan], [1.0, 2.0]) == float("inf")
    assert worst([1.0], [1.0, 2.0]) == float("inf")
    assert worst([300.0, 0.2], [303.0, 0.1]) == pytest.approx(0.1)
    assert worst([300.0, 0.2], [303.0, 0.1], 0) == 3


def test_the_kept_figures_are_of_the_recordings() -> None:
    with np.load(REFERENCE) as content:
        names = {key.split("/")[0] for key in content.files} - {"classes"}
    assert names == set(RECORDINGS)
    assert FASTEST_AT_LEAST == 50


def found(boxes: list[list[float]], scores: list[float]) -> Detections:
    marks = np.zeros((len(boxes), 5, 2), np.float32)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(corners, np.array(scores, np.float32), marks)


def wrong_faces(ours: list[Detections]) -> set[str]:
    boxes = [[10.0, 20.0, 50.0, 70.0], [100.0, 20.0, 150.0, 80.0]]
    theirs = [{"boxes": boxes, "scores": [0.9, 0.99]}, {"boxes": [], "scores": []}]
    return {check.stage for check in compare_faces("a", ours, theirs) if not check.right}


def test_faces_are_right_in_any_order_and_wrong_by_a_hundredth_of_a_pixel() -> None:
    one, other = [100.004, 20, 150, 80], [10.0, 20, 50, 70]
    none = found([], [])
    assert wrong_faces([found([one, other], [0.99, 0.9]), none]) == set()
    one[2] += 0.02
    assert wrong_faces([found([one, other], [0.99, 0.9]), none]) == {"boxes, pixels"}
    one[2] -= 0.02
    assert wrong_faces([found([one, other], [0.99, 0.8]), none]) == {"scores"}
    fewer = [found([one], [0.99]), none]
    assert wrong_faces(fewer) >= {"faces: 2 in 2", "boxes, pixels"}
    more = [found([one, other], [0.99, 0.9]), found([other], [0.9])]
    assert wrong_faces(more) >= {"faces: 2 in 2", "boxes, pixels"}
    assert wrong_faces([none]) == {"pictures"}


def test_the_made_up_corpus_has_every_emotion_in_every_split() -> None:
    clips = sum(len(video.times) for video in VIDEOS) + len(READ)
    emotions = [place // 4 % 6 for place in range(clips)]
    for shown in ((0, 1), (2,), (3,)):
        there = {emotion for place, emotion in enumerate(emotions) if place % 4 in shown}
        assert there == set(range(6))
    names = {clip for video in VIDEOS for clip in video.clip_ids()}
    assert set(REFUSED) <= names


def test_a_sound_that_begins_late_keeps_its_place_or_is_moved(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", (0, 4), (2.5, 4))
    kept = own_sound(tmp_path / "v.mp4", IN_PLACE)
    moved = own_sound(tmp_path / "v.mp4", "async=0")
    assert len(kept) / 16_000 == pytest.approx(4, abs=0.1)
    assert not kept[: 2 * 16_000].any()
    assert len(moved) / 16_000 == pytest.approx(1.5, abs=0.2)
    assert moved[:8_000].any()
