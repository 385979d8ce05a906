"""The shapes and dtypes of all benchmarks, in one place."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Shape:
    """One block or convolution: channels in and out, on maps of height × width."""

    in_channels: int
    out_channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.in_channels}→{self.out_channels} @ {self.height}x{self.width}"

    def id(self) -> str:
        """The shape in plain letters, for the names of tests."""
        return f"{self.in_channels}-{self.out_channels}-{self.height}x{self.width}"

    @property
    def sites(self) -> int:
        """Sites of one map."""
        return self.height * self.width

    def second(self) -> Shape:
        """The second convolution of a block of this shape."""
        return Shape(self.out_channels, self.out_channels, self.height, self.width)


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

FRAMES = {"cpu": 32, "cuda": 512}  # by device: enough frames to keep the device busy
FRAMES_PER_SAMPLE = 8
QUERY_DIM = 768  # the text encoder's width

# The three sparse blocks of MESM on 48x48 faces, and on 128x32 spectrogram chunks.
FACE_BLOCKS = (Shape(64, 128, 24, 24), Shape(128, 256, 12, 12), Shape(256, 512, 6, 6))
AUDIO_BLOCKS = (Shape(64, 128, 64, 16), Shape(128, 256, 32, 8), Shape(256, 512, 16, 4))
# Small shapes; the second has odd sizes.
SMALL = (Shape(16, 32, 8, 6), Shape(24, 40, 7, 5))

P_VALUES = tuple(tenths / 10 for tenths in range(1, 11))
HEADLINE_P = 0.5
LOW_P = (0.1, 0.05)  # shares that a sharpened attention keeps
OTHER_P = tuple(p for p in P_VALUES if p not in (HEADLINE_P, *LOW_P, 1.0))
HALF = 0.5  # the density at which a convolution alone is measured

FACE, CHUNK = (3, 48, 48), (1, 128, 32)  # MESM's input per frame


@dataclass(frozen=True)
class Clips:
    """A batch of equal clips: a face every 0.5 s, a chunk of sound every 0.4 s."""

    count: int
    faces: int  # per clip
    chunks: int
    tokens: int = 20

    def __str__(self) -> str:
        return f"{self.count} clips of {self.faces} faces and {self.chunks} chunks"

    @property
    def frames(self) -> int:
        """Faces and chunks of all clips."""
        return self.count * (self.faces + self.chunks)


PAPER_BATCH = Clips(8, faces=9, chunks=11)  # clips of 4.5 s
LONG_BATCHES = (Clips(8, faces=12, chunks=15), Clips(64, faces=12, chunks=15))  # clips of 6 s
