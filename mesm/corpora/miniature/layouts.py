"""The layouts there are, one row each: how a corpus is planned, and how its files are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesm.corpora import crema_d, ravdess
from mesm.corpora.miniature import (
    crema_d_layout,
    iemocap_layout,
    meld_layout,
    mosei_layout,
    ravdess_layout,
)
from mesm.corpora.miniature.emotions import Layout
from mesm.corpora.miniature.faults import plan_faults
from mesm.corpora.miniature.media import VideoFormat
from mesm.corpora.miniature.plan import DialogPlan, Planner, fill
from mesm.corpora.miniature.recording import Recording


@dataclass(frozen=True)
class Files:
    """A layout's particulars.

    Attributes:
        plan: so many good recordings, and those with faults if wanted.
        write: one recording's files, given the root, its plan, the recording, the corpus' seed and
            the format of videos; returns the video's path.
        prepare_tree: makes the folders; None: recordings make theirs.
        write_labels: the files about all recordings, given the root, the plans and the seed.
        texts: that all speakers recite; none where each sentence is made up.
        most_clips: there can be; None: any number.
    """

    plan: Callable[[Planner, int, bool], list[DialogPlan]]
    write: Callable[[Path, DialogPlan, Recording, int, VideoFormat], Path]
    prepare_tree: Callable[[Path], None] | None = None
    write_labels: Callable[[Path, Sequence[DialogPlan], int], None] | None = None
    texts: tuple[str, ...] = ()
    most_clips: int | None = None


def _fill(planner: Planner, clips: int, faults: bool) -> list[DialogPlan]:
    return fill(planner, clips) + (plan_faults(planner) if faults else [])


def _unseeded(
    write: Callable[[Path, DialogPlan, Recording, VideoFormat], Path],
) -> Callable[[Path, DialogPlan, Recording, int, VideoFormat], Path]:
    """Nothing in such a recording's files is drawn by lot."""
    return lambda root, plan, recording, _, filmed: write(root, plan, recording, filmed)


FILES: Final[dict[Layout, Files]] = {
    "iemocap": Files(_fill, iemocap_layout.write_dialog, iemocap_layout.prepare_tree),
    "mosei": Files(
        _fill,
        _unseeded(mosei_layout.write_video_files),
        mosei_layout.prepare_tree,
        mosei_layout.write_labels,
    ),
    "meld": Files(
        meld_layout.plan_recordings,
        _unseeded(meld_layout.write_recording),
        meld_layout.prepare_tree,
        meld_layout.write_labels,
    ),
    "ravdess": Files(
        ravdess_layout.plan_recordings,
        _unseeded(ravdess_layout.write_recording),
        texts=ravdess.STATEMENTS,
        most_clips=ravdess_layout.MOST_CLIPS,
    ),
    "crema_d": Files(
        crema_d_layout.plan_recordings,
        _unseeded(crema_d_layout.write_recording),
        crema_d_layout.prepare_tree,
        crema_d_layout.write_labels,
        texts=tuple(crema_d.SENTENCES.values()),
        most_clips=crema_d_layout.MOST_CLIPS,
    ),
}
