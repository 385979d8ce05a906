"""Faces of real photographs and videos against those that facenet-pytorch's own MTCNN finds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mesm.inputs.display import to_rgb
from mesm.inputs.face_detector import Detections, FaceDetector
from tests.real.checks import Check

REFERENCE = Path(__file__).with_name("faces.json")
# The reference has one decoded frame in so many.
EVERY = 24
PIXELS = 0.01
SCORE = 1e-4

Picture = NDArray[np.uint8]
Wanted = dict[str, Any]


def check_faces(folder: Path) -> Iterator[Check]:
    """Compare every photograph and every 24th frame of every video of a folder."""
    detector = FaceDetector()
    for name, reference in json.loads(REFERENCE.read_text(encoding="utf-8")).items():
        wanted = [reference] if isinstance(reference, dict) else reference
        pictures = (
            photograph(folder / name) if isinstance(reference, dict) else frames(folder / name)
        )
        found = [detector.detect(torch.from_numpy(picture)[None])[0] for picture in pictures]
        yield from compare_faces(name, found, wanted)


def photograph(file: Path) -> list[Picture]:
    """A photograph as the one picture that it is."""
    return [np.array(Image.open(file).convert("RGB"))]


def frames(file: Path) -> list[Picture]:
    """Every 24th decoded frame of a video, as a viewer sees it."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        decoded = enumerate(container.decode(stream))
        return [to_rgb(frame, stream.sample_aspect_ratio) for i, frame in decoded if i % EVERY == 0]


def compare_faces(
    name: str, found: Sequence[Detections], wanted: Sequence[Wanted]
) -> Iterator[Check]:
    """Compare the faces of one file's pictures: how many, where, and how sure, in any order."""
    counts = [len(faces.boxes) for faces in found]
    right = [len(faces["boxes"]) for faces in wanted]
    if len(counts) != len(right):
        yield Check(name, "pictures", abs(len(counts) - len(right)), 0)
        return
    off = sum(abs(ours - theirs) for ours, theirs in zip(counts, right, strict=True))
    yield Check(name, f"faces: {sum(right)} in {len(right)}", off, 0)
    boxes, scores = 0.0, 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        if len(ours.boxes) != len(theirs["boxes"]):
            boxes = float("inf")
        for place, box in enumerate(theirs["boxes"] if len(ours.boxes) else []):
            away = np.abs(ours.boxes - np.array(box)).max(axis=1)
            boxes = max(boxes, float(away.min()))
            if "scores" in theirs:
                score = float(ours.scores[away.argmin()])
                scores = max(scores, abs(score - theirs["scores"][place]))
    if any(right):
        yield Check(name, "boxes, pixels", boxes, PIXELS)
    if any(faces.get("scores") for faces in wanted):
        yield Check(name, "scores", scores, SCORE)
