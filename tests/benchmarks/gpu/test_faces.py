from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gate import RedGate
from benchmarks.gpu import faces, report
from benchmarks.gpu.faces import FaceDetection, largest_difference, portraits
from mesm.inputs.face_detector import Detections, FaceDetector
from tests.benchmarks.gpu.settings import facts_of, tiny


def test_the_row(tmp_path: Path) -> None:
    (facts,) = facts_of(FaceDetection(), tiny(tmp_path))
    assert facts["frames_per_s"] > 0
    assert facts["cpu_frames_per_s"] > 0
    assert facts["gate_error"] == 0  # the CPU beside itself
    said = report.line({"row": FaceDetection.name} | facts)
    assert said.startswith("face detector 640x360: ")
    assert said.endswith("boxes to 0 pixels")


def test_every_frame_has_a_face_to_find() -> None:
    frames = portraits(4)
    assert frames.shape == (4, 360, 640, 3)
    assert all(len(found.boxes) for found in FaceDetector(min_face_size=40).detect(frames))


def _found(*boxes: list[float]) -> Detections:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(array, np.ones(len(array), np.float32), np.zeros((len(array), 5, 2)))


def test_differences_in_pixels() -> None:
    wanted = [_found([1, 2, 30, 40]), _found()]
    assert largest_difference(wanted, wanted) == 0
    moved = [_found([1, 2, 30.5, 40]), _found()]
    assert largest_difference(moved, wanted) == 0.5
    assert largest_difference([_found(), _found()], wanted) == float("inf")
    with pytest.raises(RedGate, match="the CPU finds no face"):
        largest_difference([_found()], [_found()])


class _Shifted(FaceDetector):
    """Finds the CPU's boxes moved to the side on the first detector made."""

    made = 0

    def __init__(self, **given: str) -> None:
        super().__init__(**given)  # type: ignore[arg-type]
        self.by = 0.0 if _Shifted.made else 0.02
        _Shifted.made += 1

    def detect(self, frames: object) -> list[Detections]:
        found = super().detect(frames)  # type: ignore[arg-type]
        return [replace(each, boxes=each.boxes + np.float32(self.by)) for each in found]


def test_other_boxes_turn_the_gate_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "FaceDetector", _Shifted)
    with pytest.raises(RedGate, match=r"boxes differ from the CPU's by 0\.02 pixels"):
        facts_of(FaceDetection(), tiny(tmp_path))


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**given: str) -> FaceDetector:
        raise FileNotFoundError("the MTCNN weights are missing")

    monkeypatch.setattr(faces, "FaceDetector", missing)
    with pytest.raises(RedGate, match="weights are missing; `make gpu-wheels`"):
        facts_of(FaceDetection(), tiny(tmp_path))
