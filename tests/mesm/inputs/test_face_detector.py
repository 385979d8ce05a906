import numpy as np
import pytest
import torch
from skimage.data import astronaut

from mesm.inputs import area_sums, face_detector
from mesm.inputs.boxes import crop_area_at_once
from mesm.inputs.face_detector import FaceDetector, usable_device


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


def _crowd(portrait):
    """Three frames of 360x640: no face, one, and four of different sizes."""
    frames = torch.zeros(3, 360, 640, 3, dtype=torch.uint8)
    frames[1, :, 100:460] = portrait[60:420, 60:420]
    for left, step in ((0, 2), (260, 3), (440, 4), (570, 6)):
        small = portrait[::step, ::step]
        frames[2, : small.shape[0], left : left + small.shape[1]] = small[:, : 640 - left]
    return frames


def _same_faces(found, wanted):
    assert [len(faces.boxes) for faces in found] == [len(faces.boxes) for faces in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=0, atol=0.01)
        np.testing.assert_allclose(ours.landmarks, theirs.landmarks, rtol=0, atol=0.01)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-4)


def test_the_crops_of_a_gpu_give_the_same_faces(detector, portrait, monkeypatch):
    frames = _crowd(portrait)
    wanted = detector.detect(frames)
    assert [len(faces.boxes) for faces in wanted][:2] == [0, 1]
    assert len(wanted[2].boxes) >= 3
    monkeypatch.setattr(face_detector, "AreaMeans", area_sums.FloatFrames)
    monkeypatch.setattr(area_sums, "crop_area", crop_area_at_once)
    _same_faces(detector.detect(frames), wanted)


@pytest.mark.gpu
def test_a_gpu_finds_the_same_faces(detector, portrait):
    frames = _crowd(portrait)
    _same_faces(FaceDetector(device="cuda").detect(frames), detector.detect(frames))


@pytest.mark.parametrize("name", ["", "CPU", "mps", "cuda:", "cuda:x", "cuda:-1", "cuda: 0", "gpu"])
def test_other_devices_are_refused(name):
    with pytest.raises(ValueError, match="the device must be cpu, cuda or cuda:N, got"):
        usable_device(name)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no device cuda: torch .* finds 0 GPUs here"):
        FaceDetector(device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"no device cuda:2: torch .* finds 2 GPUs here"):
        FaceDetector(device="cuda:2")
    assert usable_device("cuda:1") == torch.device("cuda:1")
