"""Drawn faces as what reads them does: a face detector, and crops of 48 pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mesm.corpora.miniature.action_units import EXPRESSIONS
from mesm.corpora.miniature.emotions import EMOTIONS, LAYOUTS, mood
from mesm.corpora.miniature.face_geometry import Pose, face_shape
from mesm.corpora.miniature.face_painter import Looks, Scene
from mesm.corpora.miniature.media import CREMA_D_VIDEO, IEMOCAP_VIDEO, MOSEI_VIDEO
from mesm.corpora.miniature.performance import seat
from mesm.inputs.face_detector import FaceDetector

WIDTH, HEIGHT = IEMOCAP_VIDEO.panel_width, IEMOCAP_VIDEO.height
POSE = Pose(WIDTH / 2, 0.46 * HEIGHT, 0.163 * HEIGHT)


def crop(picture, box):
    image = Image.fromarray(picture).crop([round(v) for v in box])
    return np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR), float)


def portrait(rng, units, pose=None, size=(WIDTH, HEIGHT), **face):
    looks = Looks.draw(rng, long_hair=bool(rng.integers(2)))
    scene = Scene(looks, *size, rng)
    pose = pose or seat(*size, rng)
    shape = face_shape(looks.identity, pose, units, **face)
    return scene.paint(shape, pose), shape


@pytest.mark.parametrize("video", [IEMOCAP_VIDEO, MOSEI_VIDEO, CREMA_D_VIDEO])
def test_mtcnn_finds_nearly_all_of_them(video):
    rng = np.random.default_rng(3)
    size, shown = (video.panel_width, video.height), list(EXPRESSIONS.values())
    drawn = [portrait(rng, shown[i % len(shown)], size=size, talk=rng.random()) for i in range(54)]
    frames = torch.from_numpy(np.stack([picture for picture, _ in drawn]))
    found = FaceDetector(min_face_size=60).detect(frames)
    hits = []
    for faces, (_, shape) in zip(found, drawn, strict=True):
        x0, y0, x1, y1 = shape.face_box
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        hits.append(any(x0 < x < x1 and y0 < y < y1 for x, y in centres))
    assert np.mean(hits) >= 0.95


@pytest.mark.parametrize("emotion", [e for e in EXPRESSIONS if e != "neutral"])
def test_an_expression_changes_its_regions_and_little_else(emotion):
    neutral, _ = portrait(np.random.default_rng(0), {}, POSE)
    moved, shape = portrait(np.random.default_rng(0), EXPRESSIONS[emotion], POSE)
    change = np.abs(crop(moved, shape.face_box) - crop(neutral, shape.face_box)).max(2)
    x0, y0, x1, y1 = shape.face_box
    inside = np.zeros((48, 48), bool)
    for boxes in shape.regions.values():
        for box in boxes:
            a, c = (int((x - x0) / (x1 - x0) * 48) for x in box[::2])
            b, d = (int((y - y0) / (y1 - y0) * 48) for y in box[1::2])
            inside[b : d + 2, a : c + 2] = True
    assert (change[inside] > 25).sum() > 25
    assert change[inside].mean() > 3 * change[~inside].mean()


def nearest_template(pictures, templates):
    """Which template is nearest, by correlation of pixels."""
    names = list(templates)
    bank = np.stack([templates[name].ravel() for name in names])
    bank = bank - bank.mean(0)
    return [names[int(np.argmax(bank @ (p.ravel() - np.mean(p))))] for p in pictures]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_emotions_can_be_told_apart_at_48_pixels(layout):
    rng = np.random.default_rng(1)
    emotions = EMOTIONS[layout]

    def differences(emotion, count):
        """Crops less the same person's neutral one."""
        out = []
        for _ in range(count):
            seed = int(rng.integers(1 << 30))
            pose = replace(POSE, yaw=rng.uniform(-0.1, 0.1))
            neutral, box = portrait(np.random.default_rng(seed), {}, pose)
            units = EXPRESSIONS[mood(emotion)]
            moved, _ = portrait(np.random.default_rng(seed), units, pose, talk=rng.random())
            out.append(crop(moved, box.face_box).mean(2) - crop(neutral, box.face_box).mean(2))
        return out

    shown = [e for e in emotions if e != "neutral"]
    templates = {e: np.mean(differences(e, 4), 0) for e in shown}
    templates = {e: t / np.linalg.norm(t) for e, t in templates.items()}
    guesses = [(e, g) for e in shown for g in nearest_template(differences(e, 4), templates)]
    assert np.mean([e == g for e, g in guesses]) >= 0.9
