"""The shapes every benchmark speaks of, in one place."""

from __future__ import annotations

from dataclasses import dataclass


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
        """In plain letters, for the names of tests."""
        return f"{self.in_channels}-{self.out_channels}-{self.height}x{self.width}"

    @property
    def sites(self) -> int:
        """Sites of one map."""
        return self.height * self.width


FRAMES = 32
FRAMES_PER_SAMPLE = 8
QUERY_DIM = 768  # the text encoder's width

# The three sparse blocks of MESM on 48x48 faces, and on 128x32 spectrogram chunks.
FACE_BLOCKS = (Shape(64, 128, 24, 24), Shape(128, 256, 12, 12), Shape(256, 512, 6, 6))
AUDIO_BLOCKS = (Shape(64, 128, 64, 16), Shape(128, 256, 32, 8), Shape(256, 512, 16, 4))
SECOND_CONVOLUTIONS = (Shape(128, 128, 24, 24), Shape(256, 256, 12, 12), Shape(512, 512, 6, 6))

P_VALUES = tuple(tenths / 10 for tenths in range(1, 11))
HEADLINE_P = 0.5
HALF = 0.5  # the density at which a convolution alone is measured

# One training batch as the paper has it.
CLIPS = 8
FACES_PER_CLIP = 9
CHUNKS_PER_CLIP = 11
TOKENS_PER_CLIP = 20
