"""Pictures of what the attention keeps: Figure 3 for faces, Figures 4 and 6 for spectrograms.

Where a picture holds one clip per emotion it is the first one of the split: none is picked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mesm.analysis.attention_rows import face_row, shorten, shown_faces, spectrogram_row
from mesm.analysis.attention_score import score_attention
from mesm.analysis.attention_trace import BlockAttention, trace_attention
from mesm.analysis.explain_grids import Grids
from mesm.analysis.planted import (
    FACE_SIZE,
    SECONDS_PER_COLUMN,
    PlantedClip,
    face_regions,
    no_regions,
    read_ground_truth,
    sound_regions,
)
from mesm.config.p import BlockP, p_text
from mesm.corpora.prepared import Clip
from mesm.evaluation.run import Run
from mesm.inputs.spectrograms import CHUNK_COLUMNS, MEL_BINS
from mesm.plots.attention import draw_faces, draw_spectrogram
from mesm.plots.style import save_png
from mesm.runs.files import file_name, one_at_a_time

MOST_FACES = 8

__all__ = ["explain", "score_attention"]


@one_at_a_time("explain", "drawing into")
def explain(
    run: Path,
    clip_id: str | None = None,
    *,
    p: BlockP | None = None,
    ground_truth: Path | None = None,
    split: str = "test",
    corpus: Path | None = None,
) -> dict[str, Any]:
    """Draw what a MESM run keeps of one clip, or of one clip per emotion.

    Writes RUN/explain/<clip>/{faces,spectrograms}.png and kept_sites.json. Without a clip id, the
    first clip of the split (in corpus order, nothing picked) that carries each emotion is drawn,
    and three grids over the emotions: RUN/explain/faces.png, the middle face of each clip, as
    Figure 3; spectrograms_loudest.png, the highest 10 % of each spectrogram, as Figure 4; and
    spectrograms.png, as Figure 6. With the ground truth of a miniature corpus, planted regions are
    outlined, and without a clip id the whole split is scored into RUN/explain/action_units.json.

    Args:
        run: folder of a MESM run.
        clip_id: a clip of the prepared corpus, of any split.
        p: share of the attention mass that is kept; None: the run's own.
        ground_truth: ground_truth.jsonl of the miniature corpus.
        split: where clips are looked for, and what is scored.
        corpus: where its corpus lies; None: where the run finds it.

    Returns:
        {"pictures": paths, "files": paths of all that was written, "clips": ids, "scores": what
        `score_attention` returned, or None}.

    Raises:
        ValueError: not a MESM run, no such clip, p not in (0, 1], or not a ground truth.
    """
    opened = Run.open_sparse(run, p, corpus=corpus)
    planted = {} if ground_truth is None else read_ground_truth(ground_truth)
    if clip_id is None:
        chosen = _one_per_emotion(opened, split)
    else:
        clip = opened.corpus.clip(clip_id)
        chosen = {_emotions(opened, clip): clip}
    for clip in chosen.values():
        file_name(clip.clip_id, "the clip id")
    pictures: list[Path] = []
    grids = Grids()
    for emotion, clip in tqdm(chosen.items(), desc="explain", unit="clip"):
        pictures += _explain_clip(opened, clip, planted.get(clip.clip_id), emotion, grids)
    if clip_id is None:
        pictures = grids.draw(run / "explain", opened.p) + pictures
    scores = None
    if clip_id is None and ground_truth is not None:
        scores = score_attention(opened, ground_truth, split)
    folder = run / "explain"
    written = [folder / clip.clip_id / "kept_sites.json" for clip in chosen.values()]
    written += [folder / "action_units.json"] if scores is not None else []
    return {
        "pictures": pictures,
        "files": pictures + written,
        "clips": [clip.clip_id for clip in chosen.values()],
        "scores": scores,
    }


def _one_per_emotion(run: Run, split: str) -> dict[str, Clip]:
    """Per emotion the split's first clip that carries it and has not been taken."""
    emotions = run.emotions
    chosen: dict[str, Clip] = {}
    clips = run.corpus.split(split)
    for place in range(len(clips)):
        if len(chosen) == len(emotions):
            break
        clip = clips[place]
        for emotion, label in zip(emotions, clip.labels, strict=True):
            if label and emotion not in chosen:
                chosen[emotion] = clip
                break
    return {emotion: chosen[emotion] for emotion in emotions if emotion in chosen}


def _emotions(run: Run, clip: Clip) -> str:
    names = run.emotions
    present = [name for name, label in zip(names, clip.labels, strict=True) if label]
    return ", ".join(present) or "no emotion"


def _explain_clip(
    run: Run, clip: Clip, planted: PlantedClip | None, emotion: str, grids: Grids
) -> list[Path]:
    """Draw one clip, and add its middle face and its sound to the grids under `emotion`."""
    traced = trace_attention(run.sparse, run.batch_of(clip.clip_id))
    folder = run.path / "explain" / clip.clip_id
    folder.mkdir(parents=True, exist_ok=True)
    emotions = _emotions(run, clip)
    title = f"{clip.clip_id} · {emotions} · p = {p_text(run.p)}"
    if planted:
        hints = ", ".join(f"{modality} {kind}" for modality, kind in planted.hints.items())
        title += f" · hints: {hints}"
    title += f"\n“{shorten(clip.text)}”"
    pictures: list[Path] = []
    faces, audio = traced.get("face"), traced.get("audio")
    if faces and len(clip.faces):
        regions = (
            face_regions(planted, clip.face_times, clip.face_boxes)
            if planted
            else [no_regions()] * len(clip.faces)
        )
        rows = [face_row(clip, faces, place, regions[place]) for place in range(len(clip.faces))]
        shown = shown_faces(len(rows), MOST_FACES)
        figure = draw_faces([rows[place] for place in shown], title)
        pictures.append(save_png(figure, folder / "faces.png"))
        middle = len(rows) // 2
        missed = "" if clip.face_found[middle] else "\n(no face found)"
        grids.add_face(rows[middle], emotion + _hint(planted, "face") + missed)
    if audio and clip.spectrogram.shape[1]:
        cues = sound_regions(planted, clip.spectrogram.shape[1]) if planted else no_regions()
        row = spectrogram_row(clip, audio, cues, title)
        figure = draw_spectrogram(row, CHUNK_COLUMNS, SECONDS_PER_COLUMN)
        pictures.append(save_png(figure, folder / "spectrograms.png"))
        silence = "" if np.ptp(clip.spectrogram) else "\n(silence)"
        label = emotion + _hint(planted, "sound") + silence
        grids.add_sound(row, label, clip.spectrogram.shape[1])
    facts = {
        "clip_id": clip.clip_id,
        "text": clip.text,
        "emotions": emotions.split(", ") if clip.labels.any() else [],
        "p": run.p,
        "sites": "y * width + x; attention is the softmax over the frame's candidates",
        "audio_columns": clip.spectrogram.shape[1],
        "padding": "columns of the last chunk from audio_columns on hold no sound",
        "face_times": [round(float(time), 4) for time in clip.face_times],
        "face": _kept_sites(faces or [], FACE_SIZE),
        "audio": _kept_sites(audio or [], MEL_BINS),
    }
    run.folder.write_json(folder / "kept_sites.json", facts)
    return pictures


def _hint(planted: PlantedClip | None, modality: str) -> str:
    """Says where a miniature corpus left the emotion's cue out, or planted another's."""
    if planted is None or planted.hints[modality] == "true":
        return ""
    return f"\n({modality}: {planted.hints[modality]})"


def _kept_sites(blocks: Sequence[BlockAttention], pixels: int) -> list[dict[str, Any]]:
    """Per block its grid, and per frame the kept sites with the attention they got."""
    described = []
    for number, block in enumerate(blocks, start=1):
        frames, height, width = block.kept.shape
        kept = [np.flatnonzero(block.kept[frame]) for frame in range(frames)]
        described.append(
            {
                "block": number,
                "height": height,
                "width": width,
                "cell_pixels": pixels // height,
                "kept": [sites.tolist() for sites in kept],
                "attention": [
                    [round(float(value), 6) for value in block.attention[frame].ravel()[sites]]
                    for frame, sites in enumerate(kept)
                ],
            }
        )
    return described
