"""A table's summary before anything is prepared: its clips, its splits, and what they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesm.config.modalities import Modality
from mesm.corpora.splits import SPLITS, SplitPolicy, split_clips
from mesm.corpora.table.reader import own_split, read_table


def check_table(
    file: Path, split: SplitPolicy | None = None, seed: int = 0, **reading: Any
) -> list[str]:
    """Read a table and the headers of its media; nothing is decoded and nothing written.

    Args:
        file: the table.
        split: the way of splitting; None: the table's own.
        seed: of the split.
        reading: options of `read_table`.

    Returns:
        Lines for a terminal.

    Raises:
        TableError: something is wrong with the table; lists it by line and column.
        ValueError: an option is, or the file is no table.
    """
    policy = split or own_split(file)
    found = read_table(file, split=policy, seed=seed, **reading)
    clips = found.utterances
    placed = split_clips(clips, policy, seed)
    seconds = round(sum(clip.end - clip.start for clip in clips))
    length = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} h"
    speakers, groups = {clip.speaker for clip in clips}, {clip.dialog for clip in clips}
    people = f"{len(speakers)} speakers, {len(groups)} groups"
    lines = [f"{file}: {len(clips)} clips, {length}, {people}; split: {policy}"]
    width = max(12, *(len(name) + 2 for name in found.emotions))
    lines.append(" " * width + "".join(f"{name:>7s}" for name in SPLITS))
    rows = {name: [clip.labels[i] for clip in clips] for i, name in enumerate(found.emotions)}
    rows["no emotion"] = [int(not any(clip.labels)) for clip in clips]
    rows["all"] = [1] * len(clips)
    for name, counted in rows.items():
        sizes = dict.fromkeys(SPLITS, 0)
        for clip, count in zip(clips, counted, strict=True):
            sizes[placed[clip.clip_id]] += count
        if any(sizes.values()):
            lines.append(f"{name:{width}s}" + "".join(f"{sizes[name]:7d}" for name in SPLITS))
    kind = "exactly one emotion a clip" if found.single_label else "any number of emotions a clip"
    lines.append(kind)
    for modality, lacking in (
        (Modality.TEXT, [clip.clip_id for clip in clips if not clip.text]),
        (Modality.AUDIO, [clip.clip_id for clip in clips if clip.audio is None]),
        (Modality.VIDEO, [clip.clip_id for clip in clips if clip.video is None]),
    ):
        if lacking:
            which = "all clips" if len(lacking) == len(clips) else f"{len(lacking)} clips"
            lines.append(f"no {modality.content}: {which}, such as {lacking[0]}")
    if found.other_labels:
        left = ", ".join(f"{count} {name}" for name, count in sorted(found.other_labels.items()))
        lines.append(f"left out, with an emotion that --labels does not name: {left}")
    return lines + found.notes
