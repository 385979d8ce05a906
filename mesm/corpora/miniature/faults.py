"""The defects of real corpora, planted in recordings of their own beside the good ones."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Final

from mesm.corpora.miniature.ground_truth import SAMPLING
from mesm.corpora.miniature.plan import DialogPlan, Planner

TRUNCATED_VIDEO: Final = "truncated_video"
MISSING_WAV: Final = "missing_wav"
ZERO_LENGTH: Final = "zero_length"
NO_LABELS: Final = "no_labels"
NO_FACE: Final = "no_face"
# No defect, but what naive readers trip over.
NON_ASCII: Final = "non_ascii"

FAULTS: Final = (TRUNCATED_VIDEO, MISSING_WAV, ZERO_LENGTH, NO_LABELS, NO_FACE, NON_ASCII)

_FOREIGN: Final = "Señor Müller said “naïve café” – 你好, déjà vu… 🙂"
_KEPT_SHARE: Final = 0.4


def plan_faults(planner: Planner) -> list[DialogPlan]:
    """Plan one clip per fault: two broken recordings, and one with four odd clips.

    Args:
        planner: goes on where the good recordings ended.
    """
    truncated = planner.dialog(1)
    truncated.truncated = True
    truncated.clips[0].fault = TRUNCATED_VIDEO
    silent = planner.dialog(1)
    silent.silent = True
    silent.clips[0].fault = MISSING_WAV
    odd = planner.dialog(4)
    empty, unlabelled, hidden, foreign = odd.clips
    empty.fault, empty.end = ZERO_LENGTH, empty.start
    unlabelled.fault, unlabelled.labelled = NO_LABELS, False
    hidden.fault = NO_FACE
    # The first sampled frame still has a face, and no other. The last one may be drawn a little
    # later than it is shown, even after the clip.
    last = hidden.start + SAMPLING * (ceil((hidden.end - hidden.start) / SAMPLING) - 1)
    odd.absences[hidden.speaker] = [(hidden.start + 0.3, max(hidden.end, last + 0.1))]
    foreign.fault, foreign.text = NON_ASCII, f"{_FOREIGN} {foreign.text}"
    return [truncated, silent, odd]


def truncate(path: Path) -> None:
    """Cut a file short, as an interrupted download does."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * _KEPT_SHARE))
