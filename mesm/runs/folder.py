"""Where the files of a run lie, and how its checkpoint is replaced."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mesm.runs.files import write_beside
from mesm.runs.ordinary import naming


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings, every key written out."""
        return self.path / "config.yaml"

    @property
    def model_arguments(self) -> Path:
        """The arguments the model was made with; `from_pretrained` reads it too."""
        return self.path / "config.json"

    @property
    def tokenizer(self) -> Path:
        """The subwords of the run: learnt for it, or its pretrained text encoder's."""
        return self.path / "tokenizer.json"

    @property
    def features(self) -> Path:
        """The identity of the hand-crafted features, in runs that read features."""
        return self.path / "features.json"

    @property
    def preprocessing(self) -> Path:
        """How raw media become inputs, in runs that read them: statistics, faces, emotions."""
        return self.path / "preprocessing.json"

    @property
    def fold(self) -> Path:
        """Which clips train, validate and test, where these are not the corpus' own splits."""
        return self.path / "fold.json"

    @property
    def corpus(self) -> Path:
        """Where its corpus lies and what that holds; earlier runs have no such file."""
        return self.path / "corpus.json"

    @property
    def teacher(self) -> Path:
        """The identity of the run whose outputs it learnt, where there is one."""
        return self.path / "teacher.json"

    @property
    def best(self) -> Path:
        """The run's weights: the best on the validation split, or the last."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint of the last finished epoch."""
        return self.path / "last"

    @property
    def metrics(self) -> Path:
        """One JSON line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    def predictions(self, split: str) -> Path:
        """Logits and labels of a split."""
        return self.path / "predictions" / f"{split}.parquet"

    @property
    def evaluation(self) -> Path:
        """The scores, per split."""
        return self.path / "evaluation.json"

    @property
    def temperatures(self) -> Path:
        """A temperature per emotion, or one for all, fitted on validation for the run's weights."""
        return self.path / "temperatures.json"

    @property
    def thresholds(self) -> Path:
        """A threshold per emotion, tuned on validation for the run's weights."""
        return self.path / "thresholds.json"

    def reliability(self, split: str) -> Path:
        """The picture of a split's calibration."""
        return self.path / "reliability" / f"{split}.png"

    def confusion(self, split: str) -> Path:
        """The picture of a split's confusion matrix, where clips have exactly one emotion."""
        return self.path / "confusion" / f"{split}.png"

    @property
    def log(self) -> Path:
        """The output of the process of an experiment's cell."""
        return self.path / "log.txt"

    @property
    def error(self) -> Path:
        """Why a cell failed: one line, then the traceback; gone when it is tried again."""
        return self.path / "error.txt"

    @property
    def diverged(self) -> Path:
        """Why the training diverged, where it did; other settings may then start anew here."""
        return self.path / "diverged.txt"

    def forget(self) -> None:
        """Remove what a training and its evaluation made, but not the settings and `diverged`.

        Killed half-way, the folder is still that of a training that diverged.
        """
        folders = ("last", ".last.new", ".last.old", "tensorboard", "predictions", "explain")
        for name in (*folders, "reliability", "confusion"):
            if (self.path / name).is_dir():
                shutil.rmtree(self.path / name)
        inputs = (self.tokenizer, self.features, self.fold, self.teacher, self.corpus)
        files = (self.best, self.metrics, self.evaluation, self.preprocessing, *inputs)
        tuned = (self.temperatures, self.thresholds)
        for file in (*files, *tuned, self.path / "sweep.json", self.path / "sweep.png"):
            file.unlink(missing_ok=True)

    def mend(self) -> None:
        """Finish or drop what a killed process left behind."""
        new, old = self.path / ".last.new", self.path / ".last.old"
        # The old one only moves away when the new one is complete.
        if not self.last.exists() and old.exists():
            (new if new.exists() else old).replace(self.last)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partials = (self.path.glob(f"{place}.*.partial") for place in ("", "predictions/"))
        for partial in (*chain.from_iterable(partials), *self.path.glob("*.tmp")):
            partial.unlink(missing_ok=True)

    def replace_last(self, files: dict[str, bytes]) -> None:
        """Make `last` a folder of exactly these files; at any moment it can be mended."""
        new, old = self.path / ".last.new", self.path / ".last.old"
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        new.mkdir()
        for name, content in files.items():
            with naming(new / name):
                (new / name).write_bytes(content)
        if self.last.exists():
            self.last.replace(old)
        new.replace(self.last)
        shutil.rmtree(old, ignore_errors=True)

    def write_json(self, file: Path, value: Any) -> None:
        """Write JSON, atomically.

        Raises:
            ValueError: a number is not finite; says where, and nothing is written.
        """
        write_beside(file, json_text(value, file, indent=2) + "\n")


def json_text(value: Any, file: Path, indent: int | None = None) -> str:
    """JSON for a file.

    Raises:
        ValueError: a number is not finite, which JSON cannot say; names the file and the place.
    """
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        place = _not_finite(value)
        if place is None:
            raise
        raise ValueError(
            f"{file}: not written, because {place} is not a finite number; where it comes from "
            "must be mended first"
        ) from None


def _not_finite(value: Any, place: str = "") -> str | None:
    """Where the first number stands that is not finite, as "emotions.sad.f1 (nan)"."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} ({value})" if place else str(value)
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list | tuple):
        inside = enumerate(value)
    found = (_not_finite(item, f"{place}.{key}" if place else str(key)) for key, item in inside)
    return next((text for text in found if text is not None), None)
