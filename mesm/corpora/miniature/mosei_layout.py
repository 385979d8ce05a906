"""Writes recordings as CMU-MOSEI has them on disk."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mesm.corpora.miniature.emotions import MOSEI_COLUMNS
from mesm.corpora.miniature.media import VideoFormat, write_video, write_wav
from mesm.corpora.miniature.plan import ClipPlan, DialogPlan
from mesm.corpora.miniature.recording import Recording

_VIDEOS: Final = Path("Videos/Full/Combined")
_SOUNDS: Final = Path("Audio/WAV_16000")
_TRANSCRIPTS: Final = Path("Transcript/Combined")
_LABELS: Final = Path("Labels")
_ANNOTATORS: Final = 3
_SENTIMENT: Final = {"happy": 2, "surprised": 1}


def prepare_tree(root: Path) -> None:
    """Make the folders."""
    for folder in (_VIDEOS, _SOUNDS, _TRANSCRIPTS, _LABELS):
        (root / folder).mkdir(parents=True)


def write_video_files(
    root: Path, plan: DialogPlan, recording: Recording, filmed: VideoFormat
) -> Path:
    """Write a video, its sound and its transcript; returns the video's path."""
    video = root / _VIDEOS / f"{plan.name}.mp4"
    write_video(video, recording.performances, plan.duration, filmed)
    if not plan.silent:
        write_wav(root / _SOUNDS / f"{plan.name}.wav", recording.sound[:, 0])
    lines = [
        "___".join((plan.name, _number(clip), f"{clip.start}", f"{clip.end}", clip.text)) + "\n"
        for clip in plan.clips
    ]
    transcript = root / _TRANSCRIPTS / f"{plan.name}.txt"
    transcript.write_text("".join(lines), encoding="utf-8")
    return video


def write_labels(root: Path, plans: Sequence[DialogPlan], seed: int) -> None:
    """Write the annotators' answers, three rows a clip, as two batches of videos if there are."""
    rng = np.random.default_rng([seed, 3])
    columns = ["HITId", "WorkerId", "Input.VIDEO_ID", "Input.CLIP", *sorted(MOSEI_COLUMNS.values())]
    half = (len(plans) + 1) // 2
    for batch, videos in enumerate((plans[:half], plans[half:])):
        if not videos:
            break
        path = root / _LABELS / f"Batch_{2980374 + batch}_batch_results.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*columns, "Answer.sentiment"])
            writer.writeheader()
            for plan in videos:
                for clip in plan.clips:
                    if clip.labelled:
                        writer.writerows(_answers(clip, rng))


def _number(clip: ClipPlan) -> str:
    return clip.clip_id.rsplit("_", 1)[1]


def _answers(clip: ClipPlan, rng: np.random.Generator) -> list[dict[str, str | int]]:
    """Three annotators' rows; each emotion of the clip is seen by one of them at least."""
    hit = f"{int(rng.integers(16**12)):012X}"
    intensities = {emotion: rng.integers(0, 4, _ANNOTATORS) for emotion in clip.emotions}
    for seen in intensities.values():
        seen[rng.integers(_ANNOTATORS)] = rng.integers(1, 4)
    rows: list[dict[str, str | int]] = []
    for annotator in range(_ANNOTATORS):
        row: dict[str, str | int] = {
            "HITId": hit,
            "WorkerId": f"A{annotator + 1}",
            "Input.VIDEO_ID": clip.dialog,
            "Input.CLIP": int(_number(clip)),
        }
        for emotion, column in MOSEI_COLUMNS.items():
            row[column] = int(intensities[emotion][annotator]) if emotion in intensities else 0
        row["Answer.sentiment"] = sum(_SENTIMENT.get(emotion, -1) for emotion in clip.emotions)
        rows.append(row)
    return rows
