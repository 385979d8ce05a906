"""Who is who in the sampled frames of a clip: faces followed by the overlap of their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mesm.inputs.boxes import Floats
from mesm.inputs.faces import FaceCrop, FrameFaces

# Intersection over union from which two boxes are one person's. Frames are half a second apart, in
# which a head moves by up to half its width.
LEAST_OVERLAP = 0.2
# Frames for which a person may be out of sight: then the next face there is another track.
LONGEST_ABSENCE = 2

# The frames in which a person is seen, each with the number of the face there.
Track = dict[int, int]


def follow(boxes: Sequence[Floats]) -> list[Track]:
    """Find the tracks of faces through frames; each face is in exactly one.

    Pairs of a track's last box and a new one are joined by falling overlap, at least 0.2 of
    intersection over union, where the person was out of sight for at most two frames.

    Args:
        boxes: per frame (K, 4) float32, x0, y0, x1, y1.

    Returns:
        The longest track first; of equal ones, the one with the larger faces, then the earlier.
    """
    tracks: list[Track] = []
    for frame, here in enumerate(boxes):
        open_tracks = [
            track for track in tracks if frame - max(track) <= LONGEST_ABSENCE + 1 and len(here)
        ]
        pairs = sorted(
            (
                (-_overlap(boxes[max(track)][track[max(track)]], box), place, face)
                for place, track in enumerate(open_tracks)
                for face, box in enumerate(here)
            ),
        )
        taken: set[int] = set()
        joined: set[int] = set()
        for overlap, place, face in pairs:
            if -overlap >= LEAST_OVERLAP and place not in joined and face not in taken:
                open_tracks[place][frame] = face
                joined.add(place)
                taken.add(face)
        tracks += [{frame: face} for face in range(len(here)) if face not in taken]

    def area(track: Track) -> float:
        sides = [boxes[frame][face][2:] - boxes[frame][face][:2] for frame, face in track.items()]
        return float(np.mean([side.prod() for side in sides]))

    return sorted(tracks, key=lambda track: (-len(track), -area(track), min(track)))


def faces_of(track: Track, frames: Sequence[FrameFaces]) -> list[FaceCrop]:
    """Give a person's face in each frame, the frame's central square where it is out of sight.

    Args:
        track: one that `follow` gave.
        frames: with all faces cut.
    """
    chosen = []
    for number, frame in enumerate(frames):
        assert frame.centre is not None, "the faces were not all asked for"
        chosen.append(frame.crops[track[number]] if number in track else frame.centre)
    return chosen


def longest_track(frames: Sequence[FrameFaces]) -> list[FaceCrop]:
    """Give in each frame the face of the person who is seen longest; see `faces_of`."""
    tracks = follow([frame.boxes for frame in frames])
    return faces_of(tracks[0] if tracks else {}, frames)


def _overlap(one: Floats, other: Floats) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(float(width), 0.0) * max(float(height), 0.0)
    areas = [float((box[2:] - box[:2]).prod()) for box in (one, other)]
    whole = sum(areas) - shared
    return shared / whole if whole > 0 else 0.0
