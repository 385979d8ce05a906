"""A prepared corpus on which several processes have unequal work: unequal clips, an odd number."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mesm.corpora.prepared import MEL_BINS

FACES = (0, 3, 1, 2)  # of the clips in turn
COLUMNS = (64, 32, 96)  # whole chunks


def uneven(corpus: Path, out: Path) -> Path:
    """A copy of the tiny corpus with 13 clips to train on and 7 to validate by.

    A quarter of the clips have no face; sounds are of three lengths.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(corpus, out)
    values = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    for name in values["files"]:
        table = pq.read_table(out / name)
        split = Path(name).name.partition("-")[0]
        rows = table.to_pylist()
        if split != "test":
            rows.append(rows[0] | {"clip_id": f"{split}_{len(rows):03d}"})
        for place, row in enumerate(rows):
            _redraw(row, place)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), out / name)
        values["files"][name] = hashlib.sha256((out / name).read_bytes()).hexdigest()
        sums = [sum(column) for column in zip(*(row["labels"] for row in rows), strict=True)]
        counts = values["counts"][split]
        counts["clips"] = len(rows)
        counts["labels"] = dict(zip(values["emotions"], sums, strict=True))
    values.pop("digest", None)
    (out / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    return out


def _redraw(row: dict[str, Any], place: int) -> None:
    """Give a clip noise for faces and sound, as many as its place has.

    Where drawn squares or padding are flat, neighbours are equal but for rounding, and which one a
    pool or an attention takes follows from the order of sums: gradients of one process in float32
    then differ by 1e-2 between two orders of its clips.
    """
    from PIL import Image

    faces, columns = FACES[place % len(FACES)], COLUMNS[place % len(COLUMNS)]
    generator = np.random.default_rng([place, faces, columns])
    for name in ("face_found", "face_boxes", "face_times"):
        row[name] = row[name][:faces]
    row["faces"] = []
    for _ in range(faces):
        buffer = io.BytesIO()
        image = generator.integers(0, 256, (48, 48, 3)).astype(np.uint8)
        Image.fromarray(image).save(buffer, format="PNG")
        row["faces"].append(buffer.getvalue())
    sound = generator.normal(-6, 1.5, (MEL_BINS, columns)).astype(np.float32)
    row["spectrogram"] = sound.ravel()
    row["spectrogram_columns"] = columns
