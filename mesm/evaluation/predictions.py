"""A split's logits and labels on disk, and the hashes that tell whether they are still the run's.

One Parquet file per split, RUN/predictions/<split>.parquet: clip_id, dialog, and per emotion
logit_<emotion> and label_<emotion>, one row per clip in corpus order. Where the system has
several branches, also <branch>_logit_<emotion>, and where its temperatures were known
probability_<emotion>, which is calibrated; earlier files have neither.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from mesm.config.end_to_end import FE2ESettings
from mesm.config.experiment import ExperimentConfig
from mesm.corpora.manifest import MANIFEST
from mesm.evaluation.calibration import Temperatures
from mesm.features.manifest import FILE, FOLDER
from mesm.runs.files import write_beside
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256
from mesm.runs.ordinary import ordinary

_KEY = b"mesm"


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for a split.

    Args:
        emotions: E names.
        clip_ids: N names, in corpus order.
        dialogs: N names, each clip's dialog or video.
        logits: (N, E) float32, on the CPU.
        labels: (N, E) float32 of 0 and 1.
        origin: `origin_of` the run when they were made.
        branches: by the name of the branch its own logits, as `logits`; empty: the system has
            none, or they were not kept.
    """

    emotions: list[str]
    clip_ids: list[str]
    dialogs: list[str]
    logits: Tensor
    labels: Tensor
    origin: dict[str, str]
    branches: dict[str, Tensor] = field(default_factory=dict)

    def write(self, file: Path, temperatures: Temperatures | None = None) -> None:
        """Write the Parquet file; it appears whole or not at all.

        Args:
            file: its place.
            temperatures: for the calibrated probabilities, which `read` does without.
        """
        columns = {"clip_id": _texts(self.clip_ids), "dialog": _texts(self.dialogs)}
        for place, emotion in enumerate(self.emotions):
            columns[f"logit_{emotion}"] = _numbers(self.logits[:, place])
            columns[f"label_{emotion}"] = _numbers(self.labels[:, place].to(torch.int8))
        if temperatures is not None:
            probabilities = temperatures.probabilities(self.logits).float()
            for place, emotion in enumerate(self.emotions):
                columns[f"probability_{emotion}"] = _numbers(probabilities[:, place])
        for branch, logits in self.branches.items():
            for place, emotion in enumerate(self.emotions):
                columns[f"{branch}_logit_{emotion}"] = _numbers(logits[:, place])
        facts = {"emotions": self.emotions, "branches": [*self.branches], "origin": self.origin}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
        stream = io.BytesIO()
        pq.write_table(table, stream, write_page_checksum=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_beside(file, stream.getvalue())

    @classmethod
    def read(cls, file: Path) -> Predictions:
        """Read what `write` wrote.

        Raises:
            ValueError: the file is damaged or another; names it.
        """
        try:
            table = pq.ParquetFile(ordinary(file), page_checksum_verification=True).read()
            facts = json.loads(table.schema.metadata[_KEY])
            emotions = list(facts["emotions"])

            def matrix(kind: str) -> Tensor:
                columns = [table[f"{kind}_{name}"].to_pylist() for name in emotions]
                return torch.from_numpy(np.array(columns, np.float32).T.copy())

            return cls(
                emotions=emotions,
                clip_ids=table["clip_id"].to_pylist(),
                dialogs=table["dialog"].to_pylist(),
                logits=matrix("logit"),
                labels=matrix("label"),
                origin=dict(facts["origin"]),
                branches={name: matrix(f"{name}_logit") for name in facts.get("branches", ())},
            )
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{file} holds no predictions ({what}); delete it") from error

    def calibrate(self, folder: RunFolder, kind: type[Temperatures] = Temperatures) -> Temperatures:
        """Temperatures of a kind fitted to these, the validation split's, and kept in the run."""
        found = kind.fit(self.logits, self.labels, self.emotions)
        found.write(folder)
        return found

    def fits(
        self,
        emotions: Sequence[str],
        clip_ids: Sequence[str],
        dialogs: Sequence[str],
        labels: NDArray[np.int8],
    ) -> bool:
        """Whether these are finite logits of just these clips, with these labels (N, E)."""
        names = (self.emotions, self.clip_ids, self.dialogs)
        return (
            names == (list(emotions), list(clip_ids), list(dialogs))
            and self.logits.shape == labels.shape
            and all(bool(own.isfinite().all()) for own in (self.logits, *self.branches.values()))
            and torch.equal(self.labels, torch.from_numpy(labels.astype(np.float32)))
        )


# `pa.array` and `to_numpy` import pandas, which takes longer than to score a small split.


def _numbers(values: Tensor) -> pa.Array:
    array = np.ascontiguousarray(values.numpy())
    kind = pa.from_numpy_dtype(array.dtype)
    return pa.Array.from_buffers(kind, len(array), [None, pa.py_buffer(array)])


def _texts(values: Sequence[str]) -> pa.Array:
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def origin_of(folder: RunFolder, config: ExperimentConfig) -> dict[str, str]:
    """Hashes of all that the predictions of a run come from, by name.

    Predictions with another origin are stale: the weights, the model's settings (MESM's p among
    them), the subwords, the corpus or its features are not the same.
    """
    settings = config.model_dump(mode="json", exclude={"corpus", "fold", "training", "evaluation"})
    model = settings["model"]
    model.get("text", {}).pop("freeze", None)  # says how weights came about, as does the next
    model.pop("positive_start", None)
    if model.get("sound") == "log":  # earlier runs have no other and do not say so
        del model["sound"]
    origin = {
        "weights": sha256(folder.best),
        "arguments": sha256(folder.model_arguments),
        "settings": _hash(json.dumps(settings, sort_keys=True)),
        "corpus": sha256(config.corpus / MANIFEST),
    }
    if config.fold is not None:
        origin["fold"] = sha256(folder.fold)
    if not isinstance(config.model, FE2ESettings):
        return origin | {"features": sha256(config.corpus / FOLDER / FILE)}
    text = config.model.text.path
    # Earlier runs kept no tokenizer of a pretrained model; its weights are in the run's own.
    kept = text is None or folder.tokenizer.is_file()
    files = [folder.tokenizer] if text is None or kept else sorted(text.glob("*"))
    for file in files:
        if file.is_file() and file.suffix in (".json", ".model", ".txt"):
            origin[f"text/{file.name}"] = sha256(file)
    return origin


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
