"""Features beside a prepared corpus that carry its labels, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mesm.corpora.prepared import PreparedCorpus
from mesm.features.manifest import FILES, FORMAT, Column, FeatureManifest, ModalityFeatures
from mesm.features.parquet import rows_table, text_table, words_table, write_table
from mesm.runs.hashes import sha256

WIDTHS = {"audio": 34, "video": 35}
FEATURE_SET = "made-up features"


def write_features(path: Path, seed: int = 0) -> None:
    """Word vectors at random; in sound and picture, a column per emotion stands out in one row."""
    corpus = PreparedCorpus.open(path)
    clips = [clip for split in ("train", "valid", "test") for clip in corpus.split(split)]
    folder = path / "features"
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(seed)
    emotions = list(corpus.manifest.emotions)
    spoken = [(clip.clip_id, clip.text.lower().split()) for clip in clips]
    words = sorted({word for _, said in spoken for word in said} | set(emotions))
    vectors = {word: generator.normal(0, 0.4, 300).astype(np.float32) for word in words}
    for name, width in WIDTHS.items():
        matrices = []
        for place, clip in enumerate(clips):
            rows = generator.normal(0, 0.3, (2 + place % 3, width)).astype(np.float32)
            rows[place % len(rows), : len(emotions)] += 3 * clip.labels
            matrices.append((clip.clip_id, rows))
        write_table(rows_table(matrices), folder / FILES[name])
    write_table(text_table(spoken, {w: i for i, w in enumerate(words)}), folder / FILES["text"])
    write_table(words_table(vectors), folder / FILES["words"])

    def modality(width: int, step: float | None) -> ModalityFeatures:
        still = 0 if step is None else width
        return ModalityFeatures(
            columns=[Column(name=f"c{column}", formula="made up") for column in range(width)],
            step=step,
            mean=[0.0] * still,
            std=[1.0] * still,
            rows=1,
            rows_measured=1,
            clips_without_rows=[],
        )

    manifest = FeatureManifest(
        format=FORMAT,
        prepared=sha256(path / "manifest.json"),
        feature_set=FEATURE_SET,
        notes=[],
        text=modality(300, None),
        audio=modality(WIDTHS["audio"], 0.4),
        video=modality(WIDTHS["video"], 0.1),
        words=len(words),
        tokens=sum(len(said) for _, said in spoken),
        out_of_vocabulary={},
        skipped=[],
        options={},
        files={name: sha256(folder / name) for name in FILES.values()},
    )
    (folder / "features.json").write_text(manifest.model_dump_json())
