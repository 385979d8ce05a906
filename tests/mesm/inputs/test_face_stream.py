"""Faces of a video while it is decoded, against those of its frames decoded one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mesm.inputs.face_detector import Detections
from mesm.inputs.face_stream import Look, faces_at
from mesm.inputs.faces import crop_faces
from mesm.inputs.video import VideoError, frames_at
from tests.mesm.corpora.tiny_media import write_video


class Detector:
    """Finds two boxes in every frame, and keeps how many frames came at a time."""

    def __init__(self):
        self.batches = []

    def detect(self, frames):
        self.batches.append(len(frames))
        box = np.array([[2, 2, 22, 22], [30, 5, 60, 45]], np.float32)
        found = Detections(box, np.ones(2, np.float32), np.zeros((2, 5, 2), np.float32))
        return [found] * len(frames)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", seconds=4.0)


@pytest.mark.parametrize("threads", [1, 0])
def test_each_instant_has_the_faces_of_its_frame(video: Path, threads: int) -> None:
    instants = [0.1 * i for i in range(35)]
    detector = Detector()
    found = list(faces_at(video, [Look(i) for i in instants], detector, threads=threads))
    assert [number for number, _ in found] == list(range(35))
    assert detector.batches == [16, 16, 3]
    for (_, faces), (_, frame) in zip(found, frames_at(video, instants), strict=True):
        (wanted,) = crop_faces(torch.from_numpy(frame)[None], Detector())
        np.testing.assert_array_equal(faces.largest.image, wanted.image)
        assert faces.crops == ()
        assert faces.centre is None


def test_halves_every_face_and_looks_that_no_longer_count(video: Path) -> None:
    looks = [Look(0.0, "right"), Look(0.5), Look(1.0, "left"), Look(9.0)]
    found = dict(faces_at(video, looks, Detector(), wanted=lambda number: number != 1, every=True))
    assert sorted(found) == [0, 2, 3]
    assert found[3] is None
    # Counted in the full frame, which is 64 pixels wide.
    assert found[0].boxes[0].tolist() == [34, 2, 54, 22]
    assert found[2].boxes[0].tolist() == [2, 2, 22, 22]
    assert len(found[0].crops) == 2
    assert found[0].centre.box.tolist() == [32, 8, 64, 40]
    assert not found[0].centre.found


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"a.mp4"):
        next(faces_at(tmp_path / "a.mp4", [Look(0.0)], Detector()))


@pytest.mark.parametrize("threads", [1, 0])
def test_of_large_frames_fewer_are_in_memory(
    video: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, small = [Look(0.1 * i) for i in range(10)], Detector()
    wanted = list(faces_at(video, looks, small, threads=threads))
    assert small.batches == [10]
    monkeypatch.setattr("mesm.inputs.face_stream.PIXELS", 64 * 48 / 4)
    large = Detector()
    found = list(faces_at(video, looks, large, threads=threads))
    assert large.batches == [4, 4, 2]
    for (number, faces), (other, same) in zip(found, wanted, strict=True):
        assert number == other
        np.testing.assert_array_equal(faces.largest.image, same.largest.image)
