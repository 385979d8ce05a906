"""MTCNN's cascade (Zhang et al., 2016), run over several frames at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mesm.inputs.area_sums import AreaMeans, AreaSums, FloatFrames, in_threads
from mesm.inputs.boxes import Floats, Ints, square, suppress
from mesm.inputs.compiled import compiled
from mesm.inputs.mtcnn import load_networks

# Rises when the same frames may get other faces, so that no corpus is continued with a mixture. 2:
# P-Net is compiled, whose sums have another order; of near-equal windows another one may be kept.
VERSION = 2
# P-Net's input: 12x12 windows, two pixels apart.
WINDOW, STRIDE = 12, 2
# Bounds the memory of a batch; about 24 frames of 360x480.
PIXELS_PER_BATCH = 4_194_304
CANDIDATES_PER_BATCH = 512
# Where P-Net is not compiled: its layers on so few frames stay in a core's cache. A frame alone
# would be convolved by another algorithm, whose last bits differ.
FRAMES_PER_PASS = 4


@dataclass(frozen=True)
class Detections:
    """The K faces found in one frame, best first.

    Attributes:
        boxes: (K, 4) float32, x0, y0, x1, y1 in pixels; may reach over the frame's edge.
        scores: (K,) float32, probability of a face.
        landmarks: (K, 5, 2) float32, x and y of the eyes, the nose and the mouth's corners.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats


@dataclass
class _Candidates:
    boxes: Floats
    scores: Floats
    images: Ints

    def take(self, rows: Ints) -> _Candidates:
        return _Candidates(self.boxes[rows], self.scores[rows], self.images[rows])


class FaceDetector:
    """Finds faces with MTCNN's three networks."""

    def __init__(
        self,
        min_face_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        weights: Path | None = None,
        device: str = "cpu",
    ) -> None:
        """Load the networks.

        Args:
            min_face_size: side in pixels of the smallest face looked for; larger is faster.
            thresholds: least probability after P-Net, R-Net and O-Net.
            factor: ratio between neighbouring scales of the pyramid.
            weights: folder of the weight files; None: those of the installed facenet-pytorch.
            device: where the networks run: "cpu", "cuda" or "cuda:N".

        Raises:
            ValueError: an argument is out of its range, or there is no such device.
            FileNotFoundError: the weights are missing; says how to install them.
        """
        if min_face_size < WINDOW:
            raise ValueError(f"min_face_size must be at least {WINDOW}, got {min_face_size}")
        if not 0 < factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, got {factor}")
        self.min_face_size = min_face_size
        self.thresholds = thresholds
        self.factor = factor
        self.device = usable_device(device)
        pnet, rnet, onet = load_networks(weights)
        self._pnet, self._rnet = pnet.to(self.device), rnet.to(self.device)
        self._onet = onet.to(self.device)

    @torch.inference_mode()
    def detect(self, frames: Tensor) -> list[Detections]:
        """Find the faces of each frame.

        Args:
            frames: (F, H, W, 3) uint8, RGB, on any device.

        Returns:
            One Detections per frame.

        Raises:
            ValueError: frames are not (F, H, W, 3) uint8.
        """
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != torch.uint8:
            raise ValueError(
                f"frames must be (F, H, W, 3) uint8, got {tuple(frames.shape)} {frames.dtype}"
            )
        height, width = frames.shape[1:3]
        step = max(1, PIXELS_PER_BATCH // max(1, height * width))
        # TF32 would keep three digits of a box.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return [found for part in frames.split(step) for found in self._detect(part)]

    def _detect(self, frames: Tensor) -> list[Detections]:
        kind = FloatFrames
        if self.device.type == "cpu":
            kind = AreaMeans if compiled() else AreaSums
        images = kind(frames.to(self.device))
        proposals = self._propose(images)
        candidates = self._refine(images, proposals)
        return self._output(images, candidates)

    def _scales(self, height: int, width: int) -> list[float]:
        scale = WINDOW / self.min_face_size
        scales = []
        while min(height, width) * scale >= WINDOW:
            scales.append(scale)
            scale *= self.factor
        return scales

    def _propose(self, images: FloatFrames) -> _Candidates:
        count, height, width = images.frames.shape[:3]
        # As even as can be: none of several frames is left alone.
        by_layers = self.device.type == "cpu" and not compiled()
        passes = -(-count // FRAMES_PER_PASS) if by_layers else 1
        ends = [count * (number + 1) // passes for number in range(passes)]
        parts = [slice(*pair) for pair in pairwise([0, *ends])]
        found = [_Candidates(np.empty((0, 4), np.float32), *_nothing())]
        offsets = [np.empty((0, 4), np.float32)]
        scales = self._scales(height, width)
        sizes = [(int(height * scale + 1), int(width * scale + 1)) for scale in scales]
        wanted = [(part, size) for size in sizes for part in parts]
        resized = (in_threads if by_layers else map)(
            lambda one: images.resize(one[0], *one[1]), wanted
        )
        for scale in scales:
            scored = [self._pnet(one) for one in islice(resized, passes)]
            probability, regression = (torch.cat(maps) for maps in zip(*scored, strict=True))
            image, y, x = (probability >= self.thresholds[0]).nonzero(as_tuple=True)
            scores = _array(probability[image, y, x])
            shares = _array(regression[image, :, y, x])
            # On the CPU everywhere: another device may round the quotient to another whole pixel.
            corner = torch.stack([x, y], 1).cpu().float() * STRIDE
            first = ((corner + 1) / scale).floor()
            last = ((corner + WINDOW) / scale).floor()
            here = _Candidates(torch.cat([first, last], 1).numpy(), scores, _array(image))
            kept = suppress(here.boxes, here.scores, here.images, 0.5)
            found.append(here.take(kept))
            offsets.append(shares[kept])
        proposals = _Candidates(
            np.concatenate([f.boxes for f in found]),
            np.concatenate([f.scores for f in found]),
            np.concatenate([f.images for f in found]),
        )
        kept = suppress(proposals.boxes, proposals.scores, proposals.images, 0.7)
        proposals = proposals.take(kept)
        # P-Net's offsets are shares of x1 - x0; those of the later networks of the pixels covered.
        proposals.boxes = _shift(proposals.boxes, np.concatenate(offsets)[kept], extra=0)
        proposals.boxes = square(proposals.boxes)
        return proposals

    def _refine(self, images: FloatFrames, candidates: _Candidates) -> _Candidates:
        candidates, crops = _crops(images, candidates, 24)
        if not len(crops):
            return candidates
        outputs = [self._rnet(part) for part in crops.split(CANDIDATES_PER_BATCH)]
        candidates.scores = _array(torch.cat([o[0] for o in outputs]))
        offsets = _array(torch.cat([o[1] for o in outputs]))
        passed = np.flatnonzero(candidates.scores > self.thresholds[1])
        candidates, offsets = candidates.take(passed), offsets[passed]
        kept = suppress(candidates.boxes, candidates.scores, candidates.images, 0.7)
        candidates, offsets = candidates.take(kept), offsets[kept]
        candidates.boxes = square(_shift(candidates.boxes, offsets, extra=1))
        return candidates

    def _output(self, images: FloatFrames, candidates: _Candidates) -> list[Detections]:
        candidates, crops = _crops(images, candidates, 48)
        landmarks = np.empty((0, 5, 2), np.float32)
        if len(crops):
            outputs = [self._onet(part) for part in crops.split(CANDIDATES_PER_BATCH)]
            candidates.scores = _array(torch.cat([o[0] for o in outputs]))
            passed = np.flatnonzero(candidates.scores > self.thresholds[2])
            candidates = candidates.take(passed)
            offsets = _array(torch.cat([o[1] for o in outputs]))[passed]
            points = _array(torch.cat([o[2] for o in outputs]))[passed].reshape(-1, 2, 5)
            corner, side = candidates.boxes[:, :2], _sides(candidates.boxes, extra=1)
            landmarks = (points.transpose(0, 2, 1) * side[:, None] + corner[:, None] - 1).astype(
                np.float32
            )
            candidates.boxes = _shift(candidates.boxes, offsets, extra=1)
            kept = suppress(candidates.boxes, candidates.scores, candidates.images, 0.7, "smaller")
            candidates, landmarks = candidates.take(kept), landmarks[kept]
        found = []
        for image in range(len(images.frames)):
            rows = np.flatnonzero(candidates.images == image)
            found.append(
                Detections(candidates.boxes[rows], candidates.scores[rows], landmarks[rows])
            )
        return found


def usable_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: the name is none of "cpu", "cuda" and "cuda:N", or torch finds no such GPU.
    """
    number = name.removeprefix("cuda:")
    if name == "cpu":
        return torch.device(name)
    if name != "cuda" and not (number != name and number.isascii() and number.isdigit()):
        raise ValueError(f"the device must be cpu, cuda or cuda:N, got {name!r}")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found <= (0 if name == "cuda" else int(number)):
        raise ValueError(
            f"no device {name}: torch {torch.__version__} finds {found} GPUs here; take the CPU, "
            "or a torch built for this machine's GPU"
        )
    return torch.device(name)


def _array(values: Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = values.cpu().numpy()
    return array


def _nothing() -> tuple[Floats, Ints]:
    return np.empty(0, np.float32), np.empty(0, np.int64)


def _sides(boxes: Floats, extra: int) -> Floats:
    return boxes[:, 2:] - boxes[:, :2] + extra


def _shift(boxes: Floats, offsets: Floats, extra: int) -> Floats:
    """Move the corners of boxes (N, 4) by offsets (N, 4), given as shares of their sides."""
    sides = _sides(boxes, extra)
    return boxes + offsets * np.concatenate([sides, sides], axis=1)


def _crops(images: FloatFrames, candidates: _Candidates, size: int) -> tuple[_Candidates, Tensor]:
    """Cut the part of each candidate that lies in its image; drop candidates that lie outside."""
    height, width = images.frames.shape[1:3]
    # The boxes count pixels from one, as the original's do.
    x0, y0, x1, y1 = candidates.boxes.astype(np.int64).T
    inside = np.stack(
        [
            np.maximum(x0, 1) - 1,
            np.maximum(y0, 1) - 1,
            np.minimum(x1, width),
            np.minimum(y1, height),
        ],
        axis=1,
    )
    kept = np.flatnonzero((inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1]))
    candidates = candidates.take(kept)
    return candidates, images.crop(candidates.images, inside[kept], size)
