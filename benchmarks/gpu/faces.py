"""The row of `mesm prepare --device cuda`: frames per second of the face detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.gate import RedGate
from benchmarks.gpu.row import Facts, Measurement, Setting, Workbench
from benchmarks.measure import Run, in_turns, rounds_within
from mesm.inputs.face_detector import Detections, FaceDetector

WIDTH, HEIGHT = 640, 360
FRAMES = {"cuda": 32, "cpu": 2}
PIXELS = 0.01  # how far a coordinate may lie from the CPU's


@dataclass(frozen=True)
class FaceDetection:
    """Frames of drawn faces through MTCNN on the device and on one thread of the CPU."""

    name = family = f"face detector {WIDTH}x{HEIGHT}"
    rival = None

    def prepare(self, bench: Workbench) -> Measurement:
        """Draw the frames, load the weights, and look for the faces once on each side."""
        device = bench.setting.device
        try:
            frames = portraits(FRAMES[device])
            ours, cpu = FaceDetector(device=device), FaceDetector()
        except (ModuleNotFoundError, FileNotFoundError) as error:
            raise RedGate(f"{error}; `make gpu-wheels` downloads what is missing") from error
        error = largest_difference(ours.detect(frames), cpu.detect(frames))
        if not error <= PIXELS:
            raise RedGate(f"boxes differ from the CPU's by {error:.3g} pixels, at most {PIXELS}")
        sides = {"ours": partial(ours.detect, frames), "cpu": partial(cpu.detect, frames)}
        return partial(self._measure, bench.setting, sides, len(frames), error)

    def _measure(
        self, setting: Setting, sides: dict[str, Run], frames: int, error: float
    ) -> Iterator[Facts]:
        """Time both sides in turns; each ends with its boxes on the CPU."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            seconds = in_turns(sides, "cpu", rounds_within(setting.seconds))
        finally:
            torch.set_num_threads(threads)
        rates = {name: frames / float(np.median(each)) for name, each in seconds.items()}
        yield {
            "group": self.name,
            "what": self.name,
            "shape": f"{frames} frames of {WIDTH}x{HEIGHT}",
            "frames_per_s": rates["ours"],
            "cpu_frames_per_s": rates["cpu"],
            "gate_error": error,
        }


def portraits(count: int) -> Tensor:
    """(count, HEIGHT, WIDTH, 3) uint8 frames, each with one drawn face."""
    # Painting wants pillow, which a machine with a GPU may lack.
    from mesm.corpora.miniature.face_geometry import Pose, face_shape
    from mesm.corpora.miniature.face_painter import Looks, Scene

    rng = np.random.default_rng(0)
    frames = []
    for number in range(count):
        looks = Looks.draw(rng, long_hair=bool(number % 2))
        pose = Pose(rng.uniform(200, 440), rng.uniform(150, 200), rng.uniform(40, 80))
        scene = Scene(looks, WIDTH, HEIGHT, rng)
        frames.append(scene.paint(face_shape(looks.identity, pose, {}), pose))
    return torch.from_numpy(np.stack(frames))


def largest_difference(found: list[Detections], wanted: list[Detections]) -> float:
    """The largest distance between two lists' coordinates in pixels; infinite at other counts.

    Raises:
        RedGate: no face was wanted, which would compare nothing.
    """
    if not any(len(faces.boxes) for faces in wanted):
        raise RedGate("the CPU finds no face in the frames")
    worst = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        if len(ours.boxes) != len(theirs.boxes):
            return float("inf")
        if len(ours.boxes):
            worst = max(worst, float(np.abs(ours.boxes - theirs.boxes).max()))
    return worst
