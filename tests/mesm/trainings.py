"""Run folders compared, and trainings in a process of their own that can be killed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mesm.config.experiment import ExperimentConfig

SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from mesm.config.files import load_config
from mesm.training.loop import train
train(load_config(sys.argv[1], sys.argv[3:]), Path(sys.argv[2]))
"""

SMALL = [
    "model.channels=[4,6,8,10]",
    "model.hidden=16",
    "model.dim=8",
    "model.heads=2",
    "model.layers=1",
    "model.feedforward=16",
    "model.text.vocabulary=60",
    "model.text.embedding=8",
    "model.text.hidden=12",
    "model.text.heads=2",
    "model.text.layers=1",
    "model.text.feedforward=16",
    "training.learning_rate=0.003",
    "training.text_learning_rate_factor=1",
    "training.batch_size=4",
    "training.augment=true",
    "training.schedule=cosine",
    "training.epochs=4",
]
# A rate with which the loss is not finite after an epoch.
WILD = [
    "training.learning_rate=1e30",
    "training.schedule=constant",
    "training.gradient_clip=null",
    "model.modalities=t",
]


def settings(corpus: Path, *overrides: str, model: str = "mesm") -> ExperimentConfig:
    """Settings of a small training."""
    from mesm.config.files import load_config

    return load_config(f"iemocap_{model}", [f"corpus={corpus}", *SMALL, *overrides])


def as_single_label(corpus: Path) -> Path:
    """Have the manifest of a prepared corpus say that every clip has exactly one emotion."""
    from mesm.runs.hashes import sealed

    file = corpus / "manifest.json"
    values = json.loads(file.read_text(encoding="utf-8")) | {"single_label": True}
    values.pop("digest", None)
    file.write_text(json.dumps(sealed(values)), encoding="utf-8")
    return corpus


def relabelled(
    corpus: Path,
    out: Path,
    emotions: Sequence[str],
    label: Callable[[str, int], Sequence[int]],
    **facts: Any,
) -> Path:
    """A copy of a prepared corpus with other emotions and labels.

    Args:
        corpus: without features.
        out: folder of the copy.
        emotions: E names.
        label: (split, place of the clip) to the clip's E labels.
        facts: keys of the manifest that change too.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(corpus, out)
    values = json.loads((out / "manifest.json").read_text(encoding="utf-8")) | facts
    values["emotions"] = list(emotions)
    for name in values["files"]:
        table = pq.read_table(out / name)
        split = Path(name).name.partition("-")[0]
        rows = [list(label(split, place)) for place in range(len(table))]
        kind = table.schema.field("labels")
        column = pa.array(rows, kind.type)
        table = table.set_column(table.schema.get_field_index("labels"), kind, column)
        pq.write_table(table, out / name)
        values["files"][name] = hashlib.sha256((out / name).read_bytes()).hexdigest()
        sums = [sum(column) for column in zip(*rows, strict=True)]
        values["counts"][split]["labels"] = dict(zip(emotions, sums, strict=True))
    values.pop("digest", None)
    (out / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    return out


def refused(config: ExperimentConfig, run: Path, message: str) -> None:
    """See that a training is refused and leaves the run as it was."""
    from mesm.training.loop import train

    before = snapshot(run)
    with pytest.raises(ValueError, match=message):
        train(config, run)
    assert snapshot(run) == before


def digests(run: Path) -> dict[str, str]:
    """Digests of all files that a resumed run must reproduce; wall-clock times left out."""
    names = ["model.safetensors", "last/model.safetensors", "last/optimizer.safetensors"]
    names += ["config.json", "config.yaml"]
    names += [name for name in ("tokenizer.json", "features.json") if (run / name).exists()]
    found = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("seconds")
        row.pop("clips_per_second")
    return found | {"metrics": json.dumps(rows)}


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file's content."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def spawn(
    config: str, run: Path, *overrides: str, prefix: tuple[str, ...] = ("-c", SCRIPT)
) -> subprocess.Popen[bytes]:
    """Start a training."""
    return subprocess.Popen(
        [sys.executable, *prefix, config, str(run), *overrides],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
