"""A tiny prepared corpus of ten speakers in five sessions, as IEMOCAP's; split at random."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from mesm.corpora.manifest import FORMAT
from mesm.corpora.prepared import MEL_BINS, SCHEMA
from mesm.corpora.splits import SPLITS, random_split

EMOTIONS = ["angry", "sad", "happy"]
COLUMNS = 36


def write_corpus(folder: Path, *, seed: int = 0, clips: int = 6, sessions: int = 5) -> Path:
    """Write a corpus; `seed` is that of its own split, `clips` are those of a speaker."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        _row(session, gender, number)
        for session in range(1, sessions + 1)
        for gender in "FM"
        for number in range(clips)
    ]
    places = random_split([row["clip_id"] for row in rows], seed)
    (folder / "data").mkdir(parents=True)
    files, counts = {}, {}
    for split in SPLITS:
        own = [row for row in rows if places[row["clip_id"]] == split]
        name = f"data/{split}-00000-of-00001.parquet"
        table = pa.Table.from_pylist(own, schema=SCHEMA)
        pq.write_table(table, folder / name, row_group_size=4)
        files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        labels = np.array([row["labels"] for row in own]).sum(0).tolist()
        counts[split] = {
            "clips": len(own),
            "labels": dict(zip(EMOTIONS, labels, strict=True)),
            "no_emotion": 0,
        }
    manifest = {
        "format": FORMAT,
        "corpus": "iemocap",
        "emotions": EMOTIONS,
        "counts": counts,
        "averages": {name: {"words": 4.0, "seconds": 0.45} for name in [*EMOTIONS, "all"]},
        "spectrogram_mean": 0.0,
        "spectrogram_std": 1.0,
        "faces": {"frames": 2 * len(rows), "found": 2 * len(rows), "clips_without": []},
        "skipped": [],
        "skipped_by_reason": {},
        "other_labels": {},
        "unlisted": [],
        "missing": [],
        "notes": [],
        "options": {"split": "random", "seed": seed},
        "files": files,
        "synthetic": True,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def _row(session: int, gender: str, number: int) -> dict[str, Any]:
    from PIL import Image

    generator = np.random.default_rng([session, ord(gender), number])
    emotion = number % len(EMOTIONS)
    faces = []
    for _ in range(2):
        image = generator.integers(90, 110, (48, 48, 3)).astype(np.uint8)
        image[10 * emotion : 10 * emotion + 8, 20:28] = 250
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        faces.append(buffer.getvalue())
    # Every speaker has a loudness of its own, by which statistics of other splits would show.
    level = -3.0 * session - (gender == "M")
    spectrogram = generator.normal(level, 1, (MEL_BINS, COLUMNS)).astype(np.float32)
    dialog = f"Ses0{session}{'FM'[number % 2]}_impro0{number % 2}"
    return {
        "clip_id": f"{dialog}_{gender}{number:03d}",
        "text": f"this is {EMOTIONS[emotion]} {number}",
        "speaker": f"Ses0{session}{gender}",
        "dialog": dialog,
        "start": float(number),
        "end": number + COLUMNS * 0.0125,
        "labels": [int(emotion == other) for other in range(len(EMOTIONS))],
        "faces": faces,
        "face_found": [True, True],
        "face_boxes": [[0.0, 0.0, 48.0, 48.0]] * 2,
        "face_times": [float(number), number + 0.5],
        "spectrogram": spectrogram.ravel(),
        "spectrogram_columns": COLUMNS,
    }
