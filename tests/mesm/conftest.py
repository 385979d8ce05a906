"""A tiny prepared corpus of drawn squares, its ground truth, and one short training per model.

The fixtures import the packages that a training step does without: tests marked gpu run where
these packages are missing.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EMOTIONS = ["angry", "excited", "frustrated", "happy", "neutral", "sad"]
SIZES = {"train": 12, "valid": 6, "test": 7}
# Face crops are 96 pixels wide, so one pixel of the 48x48 image is two of the video.
BOX = (100.0, 50.0, 196.0, 146.0)
COLUMNS = 70
SMALL = [
    "model.channels=[4,8,8,8]",
    "model.hidden=16",
    "model.dim=8",
    "model.heads=2",
    "model.layers=1",
    "model.feedforward=16",
    "model.text.vocabulary=60",
    "model.text.embedding=8",
    "model.text.hidden=16",
    "model.text.heads=2",
    "model.text.layers=1",
    "model.text.feedforward=16",
    "training.epochs=2",
    "training.learning_rate=0.003",
]


def _clip(split: str, place: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of the Parquet file and the ground truth's line of the same clip."""
    from PIL import Image

    from mesm.corpora.prepared import MEL_BINS

    generator = np.random.default_rng([list(SIZES).index(split), place])
    emotion = place % len(EMOTIONS)
    faces, frames = [], []
    for frame in range(3):
        image = generator.integers(90, 110, (48, 48, 3)).astype(np.uint8)
        left = 4 + 6 * emotion
        image[30:38, left : left + 8] = 250
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        faces.append(buffer.getvalue())
        region = [BOX[0] + 2 * left, BOX[1] + 60, BOX[0] + 2 * left + 16, BOX[1] + 76]
        frames.append(
            {
                "time": 10 * place + 0.5 * frame,
                "face_box": list(BOX),
                "action_units": [
                    {"au": 12, "name": "square", "intensity": 1.0, "regions": [region]}
                ],
            }
        )
    spectrogram = generator.normal(-6, 1, (MEL_BINS, COLUMNS)).astype(np.float32)
    spectrogram[10 * emotion : 10 * emotion + 10, 8:40] = 0
    clip_id = f"{split}_{place:03d}"
    row = {
        "clip_id": clip_id,
        "text": f"some words that say {EMOTIONS[emotion]} things <b>& more",
        "speaker": "F",
        "dialog": split,
        "start": 10.0 * place,
        "end": 10.0 * place + COLUMNS * 0.0125,
        "labels": [int(emotion == other) for other in range(len(EMOTIONS))],
        "faces": faces,
        "face_found": [True, True, place % 3 != 2],
        "face_boxes": [list(BOX)] * 3,
        "face_times": [10.0 * place + 0.5 * frame for frame in range(3)],
        "spectrogram": spectrogram.ravel(),
        "spectrogram_columns": COLUMNS,
    }
    truth = {
        "clip_id": clip_id,
        "dialog": split,
        "start": row["start"],
        "end": row["end"],
        "emotions": [EMOTIONS[emotion]],
        "hints": {"text": "true", "face": "true", "sound": "misleading"},
        "signalled": {"text": EMOTIONS[emotion], "face": EMOTIONS[emotion], "sound": "sad"},
        "frames": frames,
        "sound": [
            {
                "start": 10 * place + 0.1,
                "end": 10 * place + 0.5,
                "low_hz": 100.0 + 500 * emotion,
                "high_hz": 600.0 + 500 * emotion,
                "cue": "pitch",
            }
        ],
        "fault": None,
    }
    return row, truth


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a prepared corpus, with ground_truth.jsonl beside the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mesm.corpora.manifest import FORMAT
    from mesm.corpora.prepared import SCHEMA

    folder = tmp_path_factory.mktemp("tiny") / "corpus"
    (folder / "data").mkdir(parents=True)
    files, counts, truths = {}, {}, []
    for split, size in SIZES.items():
        clips = [_clip(split, place) for place in range(size)]
        rows = [row for row, _ in clips]
        truths += [truth for _, truth in clips]
        name = f"data/{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / name)
        files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        labels = np.array([row["labels"] for row in rows]).sum(0)
        counts[split] = {
            "clips": size,
            "labels": {name: int(n) for name, n in zip(EMOTIONS, labels, strict=True)},
            "no_emotion": 0,
        }
    total = sum(SIZES.values())
    manifest = {
        "format": FORMAT,
        "corpus": "iemocap",
        "emotions": EMOTIONS,
        "counts": counts,
        "averages": {name: {"words": 7.0, "seconds": 0.9} for name in [*EMOTIONS, "all"]},
        "spectrogram_mean": -6.0,
        "spectrogram_std": 1.5,
        "faces": {"frames": 3 * total, "found": 3 * total - 8, "clips_without": []},
        "skipped": [
            {"clip_id": "gone", "reason": "no sound", "file": "gone.wav", "detail": "<missing>"}
        ],
        "skipped_by_reason": {"no sound": 1},
        "other_labels": {},
        "unlisted": [],
        "missing": [],
        "notes": [],
        "options": {},
        "files": files,
    }
    (folder / "ground_truth.jsonl").write_text(
        "".join(json.dumps(truth) + "\n" for truth in truths), encoding="utf-8"
    )
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def _train(name: str, corpus: Path, run: Path, *overrides: str) -> Path:
    from mesm.config.files import load_config
    from mesm.evaluation.evaluate import evaluate_run
    from mesm.training.loop import train

    train(load_config(name, [f"corpus={corpus}", *SMALL, *overrides]), run)
    evaluate_run(run, "test")
    return run


def _unchanged(run: Path) -> Iterator[Path]:
    """Hand out a run that tests share: whoever writes into one writes into a copy."""

    def state() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in sorted(run.rglob("*")) if file.is_file()}

    before = state()
    yield run
    changed = [str(file) for file, _ in before.items() ^ state().items()]
    assert not changed, f"a test wrote into a run that others read: {changed}"


@pytest.fixture(scope="session")
def tiny_mesm(tiny_corpus: Path) -> Iterator[Path]:
    """A MESM run (p = 0.5) of two epochs, evaluated on the test split."""
    yield from _unchanged(
        _train("iemocap_mesm", tiny_corpus, tiny_corpus.parent / "mesm", "model.p=0.5")
    )


@pytest.fixture(scope="session")
def tiny_fe2e(tiny_corpus: Path) -> Iterator[Path]:
    """An FE2E run of two epochs, evaluated on the test split."""
    yield from _unchanged(_train("iemocap_fe2e", tiny_corpus, tiny_corpus.parent / "fe2e"))


@pytest.fixture(scope="session")
def tiny_features(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny corpus with hand-crafted features beside it."""
    from tests.mesm.made_up_features import write_features

    folder = tmp_path_factory.mktemp("features") / "corpus"
    shutil.copytree(tiny_corpus, folder)
    write_features(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_single(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny corpus whose manifest says that every clip has exactly one emotion."""
    from tests.mesm.trainings import as_single_label

    folder = tmp_path_factory.mktemp("single") / "corpus"
    shutil.copytree(tiny_corpus, folder)
    return as_single_label(folder)


@pytest.fixture(scope="session")
def single_mesm(tiny_single: Path) -> Iterator[Path]:
    """A MESM run (p = 0.5) of two epochs on one emotion a clip, evaluated on the test split."""
    yield from _unchanged(
        _train("iemocap_mesm", tiny_single, tiny_single.parent / "mesm", "model.p=0.5")
    )


@pytest.fixture(scope="session")
def single_fe2e(tiny_single: Path) -> Iterator[Path]:
    """An FE2E run of two epochs on one emotion a clip, evaluated on the test split."""
    yield from _unchanged(_train("iemocap_fe2e", tiny_single, tiny_single.parent / "fe2e"))
