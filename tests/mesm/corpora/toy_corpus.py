"""A corpus that nobody has, clips.tsv beside the media: a new corpus takes this file and a row."""

from __future__ import annotations

import csv
from pathlib import Path

from mesm.corpora.utterances import RawCorpus, Utterance

EMOTIONS = ("calm", "cross", "glad")
COLUMNS = ("clip", "dialog", "start", "end", "emotion", "text")


def read_toy(raw: Path) -> RawCorpus:
    """Read clips.tsv; ValueError if there is none."""
    file = raw / "clips.tsv"
    if not file.is_file():
        raise ValueError(f"{raw} is not the toy corpus: it has no clips.tsv")
    corpus = RawCorpus("toy", raw)
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines, COLUMNS, delimiter="\t"), 1):
            if row["emotion"] not in EMOTIONS:
                corpus.skip(row["clip"], "unknown label", file, number, row["emotion"])
                continue
            corpus.utterances.append(
                Utterance(
                    clip_id=row["clip"],
                    dialog=row["dialog"],
                    speaker=row["dialog"],
                    start=float(row["start"]),
                    end=float(row["end"]),
                    text=row["text"],
                    labels=tuple(int(row["emotion"] == emotion) for emotion in EMOTIONS),
                    video=raw / f"{row['dialog']}.mp4",
                    audio=raw / f"{row['dialog']}.wav",
                )
            )
    corpus.sort()
    return corpus
