import numpy as np
import pytest
import torch
from skimage.data import astronaut

from mesm.inputs.face_detector import Detections, FaceDetector
from mesm.inputs.faces import crop_faces, sampling_instants


class _Found:
    """A detector that finds given boxes."""

    def __init__(self, *boxes):
        self._boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, frames):
        n = len(self._boxes)
        found = Detections(self._boxes, np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))
        return [found] * len(frames)


def _ramp(height=120, width=160):
    y, x = np.mgrid[:height, :width]
    return torch.from_numpy(np.stack([x, y, x * 0], -1).astype(np.uint8))[None]


def test_the_crop_is_the_part_of_the_frame_its_box_says():
    (face,) = crop_faces(torch.from_numpy(astronaut())[None], FaceDetector())
    assert face.found
    assert face.image.shape == (48, 48, 3)
    assert face.image.dtype == np.uint8
    # 181.05-267.75 x 62.16-172.05 and two 48ths around it, rounded down.
    assert face.box.tolist() == [179, 59, 269, 174]
    x0, y0, x1, y1 = face.box.astype(int)
    mean = astronaut()[y0:y1, x0:x1].mean((0, 1))
    np.testing.assert_allclose(face.image.mean((0, 1)), mean, atol=1.5)


def test_the_largest_face_is_taken_and_positions_follow_the_box():
    detector = _Found([5, 5, 20, 20], [40, 10, 132, 102], [60, 60, 80, 80])
    (face,) = crop_faces(_ramp(), detector)
    assert face.box.tolist() == [38, 8, 134, 104]
    # Pixel u of the image covers x0 + u * 2 and the next one, so the ramp's value is their mean.
    u = np.arange(48)
    np.testing.assert_allclose(face.image[0, :, 0], 38 + 2 * u + 0.5, atol=0.5)
    np.testing.assert_allclose(face.image[:, 0, 1], 8 + 2 * u + 0.5, atol=0.5)


def test_a_box_over_the_edge_is_cut_there():
    (face,) = crop_faces(_ramp(), _Found([-30, -10, 62, 82]))
    assert face.box.tolist() == [0, 0, 64, 84]


@pytest.mark.parametrize("boxes", [[], [[200, 10, 260, 70]]])
def test_without_a_face_in_the_frame_its_central_square_is_taken(boxes):
    (face,) = crop_faces(_ramp(), _Found(*boxes))
    assert not face.found
    assert face.box.tolist() == [20, 0, 140, 120]


def test_sampling_instants():
    assert sampling_instants(1.0, 2.0) == [1.0, 1.5]
    assert sampling_instants(1.0, 2.1) == [1.0, 1.5, 2.0]
    assert sampling_instants(3.0, 3.01) == [3.0]
