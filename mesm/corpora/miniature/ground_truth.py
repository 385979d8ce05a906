"""The cues that carry the emotion, and where: one JSON line per clip, beside the corpus."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from mesm.corpora.miniature.action_units import NAMES, VISIBLE
from mesm.corpora.miniature.emotions import MODALITIES
from mesm.corpora.miniature.halves import half_of
from mesm.corpora.miniature.head_space import Box
from mesm.corpora.miniature.media import VideoFormat, drawn_time
from mesm.corpora.miniature.performance import Performance
from mesm.corpora.miniature.plan import ClipPlan
from mesm.corpora.miniature.recording import Recording

FILE_NAME: Final = "ground_truth.jsonl"

# The preparation looks at a face this often, from the start of the clip on.
SAMPLING: Final = 0.5


def clip_truth(clip: ClipPlan, recording: Recording, video: VideoFormat) -> dict[str, Any]:
    """Describe a clip.

    Args:
        clip: the plan it was made from.
        recording: the dialog it lies in.
        video: size and rate of the picture.

    Returns:
        clip_id, dialog, start, end (seconds in the dialog), emotions; hints and signalled
        (emotion, two joined by "+", or None when the hint is missing) per modality; frames: every
        half second, the face box and the visible action units of the expression with their
        regions, in pixels of the whole picture (None and [] without a face); sound: the intervals
        and bands in Hz of accents, sighs, gasps and laughs; fault: a planted defect or None. Where
        the face shows two emotions, also where: the emotion of its "upper" and "lower" half, and
        which one the sentence "named"; and half: that of each action unit.
    """
    performance = recording.performances[clip.speaker]
    frames = []
    count = 0
    while (time := clip.start + count * SAMPLING) < clip.end:
        frames.append(_frame(time, clip, performance, video))
        count += 1
    halves = {} if clip.halves is None else {"where": asdict(clip.halves)}
    return {
        "clip_id": clip.clip_id,
        "dialog": clip.dialog,
        "start": clip.start,
        "end": clip.end,
        "emotions": list(clip.emotions),
        "hints": dict(clip.hints),
        "signalled": {modality: clip.signalled(modality) for modality in MODALITIES},
        **halves,
        "frames": frames,
        "sound": [
            {
                "start": round(cue.start, 4),
                "end": round(cue.end, 4),
                "low_hz": round(cue.low_hz, 1),
                "high_hz": round(cue.high_hz, 1),
                "cue": cue.cue,
            }
            for cue in recording.cues[clip.clip_id]
        ],
        "fault": clip.fault,
    }


def _frame(
    time: float, clip: ClipPlan, performance: Performance, video: VideoFormat
) -> dict[str, Any]:
    state = performance.at(drawn_time(time, video))
    if state is None:
        return {"time": round(time, 4), "face_box": None, "action_units": []}
    _, shape, expression = state
    left = clip.speaker * video.panel_width

    def place(box: Box) -> list[float]:
        x0, y0, x1, y1 = box
        width, height = video.panel_width, video.height
        return [
            round(min(max(x0, 0), width) + left, 1),
            round(min(max(y0, 0), height), 1),
            round(min(max(x1, 0), width) + left, 1),
            round(min(max(y1, 0), height), 1),
        ]

    return {
        "time": round(time, 4),
        "face_box": place(shape.face_box),
        "action_units": [
            {
                "au": unit,
                "name": NAMES[unit],
                **({} if clip.halves is None else {"half": half_of(unit)}),
                "intensity": round(intensity, 3),
                "regions": [place(box) for box in shape.regions[unit]],
            }
            for unit, intensity in sorted(expression.items())
            if intensity >= VISIBLE
        ],
    }
