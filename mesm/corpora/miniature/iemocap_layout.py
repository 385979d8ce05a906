"""Writes recordings as IEMOCAP has them on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from mesm.corpora.miniature.emotions import IEMOCAP_CODES
from mesm.corpora.miniature.media import VideoFormat, write_video, write_wav
from mesm.corpora.miniature.plan import ClipPlan, DialogPlan
from mesm.corpora.miniature.recording import Recording

_SESSIONS: Final = 5
_HEADER: Final = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
_ANNOTATORS: Final = ("E1", "E2", "E4")
_CATEGORIES: Final = {
    "angry": "Anger",
    "excited": "Excited",
    "frustrated": "Frustration",
    "happy": "Happiness",
    "neutral": "Neutral state",
    "sad": "Sadness",
}
# Valence, activation and dominance, 1 to 5.
_DIMENSIONS: Final = {
    "angry": (1.8, 4.0, 4.0),
    "excited": (4.0, 4.2, 3.5),
    "frustrated": (2.2, 3.1, 3.2),
    "happy": (4.0, 3.1, 3.1),
    "neutral": (3.0, 2.5, 2.8),
    "sad": (2.0, 2.0, 2.4),
}


def prepare_tree(root: Path) -> None:
    """Make the folders of all five sessions."""
    for session in range(1, _SESSIONS + 1):
        for folder in ("avi/DivX", "wav", "transcriptions", "EmoEvaluation"):
            (_dialog_folder(root, session) / folder).mkdir(parents=True)


def write_dialog(
    root: Path, plan: DialogPlan, recording: Recording, seed: int, filmed: VideoFormat
) -> Path:
    """Write a dialog's video, sound, transcription and labels; returns the video's path."""
    folder = _dialog_folder(root, int(plan.name[3:5]))
    video = folder / "avi" / "DivX" / f"{plan.name}.avi"
    write_video(video, recording.performances, plan.duration, filmed)
    if not plan.silent:
        write_wav(folder / "wav" / f"{plan.name}.wav", recording.sound)
    lines = [
        f"{clip.clip_id} [{clip.start:08.4f}-{clip.end:08.4f}]: {clip.text}\n"
        for clip in plan.clips
    ]
    transcription = folder / "transcriptions" / f"{plan.name}.txt"
    transcription.write_text("".join(lines), encoding="utf-8")
    rng = np.random.default_rng([seed, 3, plan.index])
    blocks = [_evaluation(clip, rng) for clip in plan.clips if clip.labelled]
    evaluation = folder / "EmoEvaluation" / f"{plan.name}.txt"
    evaluation.write_text(f"{_HEADER}\n\n" + "".join(blocks), encoding="utf-8")
    return video


def _dialog_folder(root: Path, session: int) -> Path:
    return root / "IEMOCAP_full_release" / f"Session{session}" / "dialog"


def _evaluation(clip: ClipPlan, rng: np.random.Generator) -> str:
    """The block of one utterance: the summary line, then every annotator's opinion."""
    (emotion,) = clip.emotions
    ratings = np.clip(
        np.rint(np.array(_DIMENSIONS[emotion]) + rng.normal(0, 0.5, (2, 3))), 1, 5
    ).astype(int)
    v, a, d = ratings.mean(0)
    times = f"[{clip.start:.4f} - {clip.end:.4f}]"
    lines = [f"{times}\t{clip.clip_id}\t{IEMOCAP_CODES[emotion]}\t[{v:.4f}, {a:.4f}, {d:.4f}]"]
    # Two of three annotators agree with the summary.
    dissent = str(rng.choice(list(_CATEGORIES.values())))
    for number, annotator in enumerate(_ANNOTATORS):
        category = _CATEGORIES[emotion] if number < 2 else dissent
        lines.append(f"C-{annotator}:\t{category};\t()")
    lines.append(f"C-F1:\t{_CATEGORIES[emotion]};\t()")
    for annotator, (val, act, dom) in zip(_ANNOTATORS[:2], ratings, strict=True):
        lines.append(f"A-{annotator}:\tval {val}; act {act}; dom  {dom};\t()")
    return "\n".join(lines) + "\n\n"
