import numpy as np
import pytest
import torch
from skimage.data import astronaut

from mesm.inputs.face_detector import FaceDetector


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait():
    return torch.from_numpy(astronaut())


def test_the_known_face(detector, portrait):
    # Box and probability as facenet-pytorch 2.5.3 finds them in the same picture.
    (faces,) = detector.detect(portrait[None])
    assert faces.boxes.round().tolist() == [[181, 62, 268, 172]]
    assert faces.scores[0] == pytest.approx(0.9999977, abs=2e-7)
    np.testing.assert_allclose(faces.boxes[0], [181.0514, 62.1561, 267.7473, 172.0500], atol=2e-3)
    # Eyes, nose, corners of the mouth.
    np.testing.assert_allclose(
        faces.landmarks[0],
        [[205.0, 101.7], [246.8, 103.7], [224.7, 129.0], [201.7, 139.2], [245.3, 141.9]],
        atol=0.1,
    )


def test_frames_in_a_batch_do_not_mix(detector, portrait):
    upside_down = portrait.flip(0)
    smaller = torch.zeros_like(portrait)
    smaller[128:384, 128:384] = portrait[::2, ::2]
    frames = torch.stack([upside_down, portrait, torch.zeros_like(portrait), smaller])
    found = detector.detect(frames)
    assert [len(faces.boxes) for faces in found] == [0, 1, 0, 1]
    for frame, faces in zip(frames, found, strict=True):
        (alone,) = detector.detect(frame[None])
        np.testing.assert_allclose(faces.boxes, alone.boxes, atol=1e-2)
        np.testing.assert_allclose(faces.scores, alone.scores, atol=1e-5)
    np.testing.assert_allclose(found[3].boxes, found[1].boxes / 2 + 128, atol=4)


def test_a_large_least_size_passes_small_faces_over(portrait):
    assert len(FaceDetector(60).detect(portrait[None])[0].boxes) == 1
    assert len(FaceDetector(400).detect(portrait[None])[0].boxes) == 0


def test_frames_smaller_than_a_window_have_no_face(detector):
    (faces,) = detector.detect(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert faces.boxes.shape == (0, 4)
    assert faces.landmarks.shape == (0, 5, 2)


def test_refusals(detector):
    with pytest.raises(ValueError, match=r"\(F, H, W, 3\) uint8, got \(4, 4, 3\)"):
        detector.detect(torch.zeros(4, 4, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"uint8, got .* torch\.float32"):
        detector.detect(torch.zeros(1, 40, 40, 3))
    with pytest.raises(ValueError, match="min_face_size must be at least 12, got 4"):
        FaceDetector(4)
    with pytest.raises(ValueError, match=r"factor must lie between 0 and 1, got 1\.5"):
        FaceDetector(factor=1.5)
