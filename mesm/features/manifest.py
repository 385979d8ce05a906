"""The content of features.json: where every column comes from, and the clips left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from mesm.config.modalities import Modality
from mesm.corpora.manifest import MANIFEST
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.utterances import SkippedClip
from mesm.runs.hashes import check_files, check_seal, sha256
from mesm.runs.ordinary import ordinary

FORMAT = 2
# Those of format 1 have columns of their own kind for sound, which features.json names.
READABLE = (1, FORMAT)
FOLDER = "features"
FILE = "features.json"
STREAMS = tuple(modality.stream for modality in Modality)
# Every file beside the manifest; `words` is the table of word vectors.
FILES = {name: f"{name}.parquet" for name in (*STREAMS, "words")}
# A smaller deviation is rounding noise of a constant column.
LEAST_STD = 1e-8


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Model):
    """One number of a feature vector.

    Attributes:
        name: unique in its modality.
        formula: the equation, or the file and column it is copied from.
    """

    name: str
    formula: str


class ModalityFeatures(_Model):
    """The features of one modality.

    Attributes:
        columns: in the order of the vectors.
        step: seconds from row to row; None: one row per word, or one per frame of the video.
        mean: per column, over the rows of the training split that hold a measurement; empty for
            text, which is not normalised.
        std: likewise; population standard deviation.
        rows: over all clips.
        rows_measured: rows that hold a measurement (audio: a voicing onset or posteriors; video: a
            face; text: a word that has a vector).
        clips_without_rows: clips without any row.
    """

    columns: list[Column]
    step: float | None
    mean: list[FiniteFloat]
    std: list[FiniteFloat]
    rows: int
    rows_measured: int
    clips_without_rows: list[str]

    @property
    def dim(self) -> int:
        """Numbers per row."""
        return len(self.columns)


class FeatureManifest(_Model):
    """The contents of a prepared corpus's features, written last.

    Attributes:
        format: version of the layout.
        prepared: SHA-256 of the manifest of the corpus they were made for.
        feature_set: a sentence for below tables.
        notes: what a reader of results must know.
        text, audio, video: the modalities.
        words: distinct words of the corpus that have a vector.
        tokens: words of the corpus, repetitions counted.
        out_of_vocabulary: words without a vector and how often they occur, most frequent first.
        skipped: one entry per clip and modality left without rows.
        options: how they were made.
        files: SHA-256 of each Parquet file.
        digest: hash of all the rest, see `mesm.runs.hashes.sealed`; None: made before this was
            noted.
    """

    format: int
    prepared: str
    feature_set: str
    notes: list[str]
    text: ModalityFeatures
    audio: ModalityFeatures
    video: ModalityFeatures
    words: int
    tokens: int
    out_of_vocabulary: dict[str, int]
    skipped: list[SkippedClip]
    options: dict[str, Any]
    files: dict[str, str]
    digest: str | None = None

    def modality(self, name: str) -> ModalityFeatures:
        """Give one modality by name."""
        return {"text": self.text, "audio": self.audio, "video": self.video}[name]


def prepared_hash(corpus: PreparedCorpus) -> str:
    """Hash the manifest of a prepared corpus; features carry it to be told from stale ones."""
    return sha256(corpus.path / MANIFEST)


def read_features_manifest(corpus: PreparedCorpus) -> FeatureManifest | None:
    """Read features.json; None if the corpus has no features.

    Raises:
        ValueError: it cannot be read as one, or its format is another; names the file.
    """
    file = corpus.path / FOLDER / FILE
    if not file.exists():
        return None
    ordinary(file)
    try:
        content = file.read_bytes()
        manifest = FeatureManifest.model_validate_json(content)
        if manifest.digest is not None:
            check_seal(json.loads(content))
    except ValidationError as error:
        raise ValueError(
            f"{file} is not a manifest of features: {_first_line(error)}; delete "
            f"{file.parent} and run mesm features again"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{file} {error}; delete {file.parent} and run mesm features again"
        ) from None
    if manifest.format not in READABLE:
        raise ValueError(
            f"{file} has format {manifest.format}, wanted {FORMAT}; delete {file.parent} and run "
            "mesm features again"
        )
    return manifest


def check_features(folder: Path, manifest: FeatureManifest, mend: str) -> None:
    """Compare the files of features with their hashes.

    Raises:
        ValueError: a file is missing, not named by the manifest, or damaged; names it and `mend`.
    """
    unnamed = sorted(set(FILES.values()) - set(manifest.files))
    if unnamed:
        raise ValueError(f"{folder / FILE} has no hash of {unnamed[0]}; {mend}")
    check_files(folder, {name: manifest.files[name] for name in FILES.values()}, mend)


def features_folder(corpus: PreparedCorpus) -> Path:
    """Where the features of a prepared corpus lie."""
    return corpus.path / FOLDER


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
