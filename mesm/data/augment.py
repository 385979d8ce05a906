"""Small random changes of the training clips, the same for all frames of a clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# How far faces are moved, in pixels of 48, and how much light and sound may change.
SHIFT = 2
BRIGHTNESS = 20.0
LOUDNESS = 0.5  # natural log of power


def augment_faces(faces: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror, shift by up to 2 pixels and brighten faces (S, 48, 48, 3) uint8."""
    if random.random() < 0.5:
        faces = faces[:, :, ::-1]
    down, right = random.integers(-SHIFT, SHIFT + 1, size=2)
    padded = np.pad(faces, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    top, left = SHIFT + down, SHIFT + right
    height, width = faces.shape[1:3]
    moved = padded[:, top : top + height, left : left + width].astype(np.float32)
    return np.clip(moved + random.uniform(-BRIGHTNESS, BRIGHTNESS), 0, 255).astype(np.uint8)


def augment_spectrogram(
    spectrogram: NDArray[np.float32], columns: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Change the loudness of a log-mel spectrogram (128, T) and where its chunks begin.

    Args:
        spectrogram: float32, natural log of power.
        columns: columns per chunk; less than half a chunk is cut from the start.
        random: where the choices come from.
    """
    start = int(random.integers(0, columns // 2))
    if spectrogram.shape[1] >= 2 * columns:
        spectrogram = spectrogram[:, start:]
    return spectrogram + np.float32(random.uniform(-LOUDNESS, LOUDNESS))
