"""The manifest of a prepared corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mesm.config.modalities import ALL, parse_modalities
from mesm.corpora.registry import find_corpus
from mesm.corpora.utterances import SkippedClip
from mesm.runs.hashes import check_seal, content_hash
from mesm.runs.ordinary import ordinary

FORMAT = 1
MANIFEST = "manifest.json"
# The least deviation of spectrograms that anything can be divided by.
LEAST_STD = 1e-6


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitCounts(_Model):
    """Size of one split.

    Attributes:
        clips: how many.
        labels: clips per emotion.
        no_emotion: clips with none.
    """

    clips: int
    labels: dict[str, int]
    no_emotion: int


class Averages(_Model):
    """Average length of clips: words of the text, seconds of the sound."""

    words: float
    seconds: float


class FaceCounts(_Model):
    """Sampled frames, those with a face, and the clips without a face in any frame."""

    frames: int
    found: int
    clips_without: list[str]


class Manifest(_Model):
    """The contents of a prepared corpus, written last.

    Attributes:
        format: version of the layout.
        corpus: which corpus.
        emotions: in the order of the labels.
        counts: per split.
        averages: per emotion over all splits, and "all".
        spectrogram_mean: over the training split, of the log-mel values.
        spectrogram_std: likewise.
        faces: how often one was found.
        skipped: one entry per clip left out.
        skipped_by_reason: how many; "label" counts clips with another label.
        other_labels: how many clips carry each label outside the emotions.
        unlisted: clips on disk that the id lists do not name.
        missing: clips of the id lists that are not on disk.
        notes: anything else found while reading the raw corpus.
        options: how it was prepared.
        files: SHA-256 of each Parquet file.
        synthetic: whether it was generated; None: prepared before this was noted.
        single_label: whether every clip has exactly one emotion, and the corpus is meant so.
        named: the corpus' title in tables; None: the registry's.
        modalities: of the letters t, a and v, those that some clip of the training split has.
        without: of "text", "sound" and "pictures", the clips that have none; where there are any.
        raw: hash of all that was read of the raw corpus; None: prepared before this was noted.
        digest: hash of all the rest, see `mesm.runs.hashes.sealed`; None: prepared before this was
            noted.
    """

    format: int
    corpus: str
    emotions: list[str]
    counts: dict[str, SplitCounts]
    averages: dict[str, Averages]
    spectrogram_mean: float
    spectrogram_std: float
    faces: FaceCounts
    skipped: list[SkippedClip]
    skipped_by_reason: dict[str, int]
    other_labels: dict[str, int]
    unlisted: list[str]
    missing: list[str]
    notes: list[str]
    options: dict[str, Any]
    files: dict[str, str]
    synthetic: bool | None = None
    single_label: bool = False
    named: str | None = None
    modalities: str = ALL
    without: dict[str, list[str]] = {}
    raw: str | None = None
    digest: str | None = None

    @field_validator("corpus")
    @classmethod
    def _is_known(cls, value: str) -> str:
        return find_corpus(value).name

    @property
    def title(self) -> str:
        """The corpus' name in tables."""
        return self.named or find_corpus(self.corpus).title

    @property
    def identity(self) -> str:
        """A hash of all that a run reads of the corpus: the same wherever the corpus lies."""
        read = {"corpus", "emotions", "files", "single_label"}
        read |= {"spectrogram_mean", "spectrogram_std"}
        return content_hash(self.model_dump(mode="json", include=read))

    @field_validator("modalities")
    @classmethod
    def _are_modalities(cls, value: str) -> str:
        return parse_modalities(value)

    @field_validator("spectrogram_std")
    @classmethod
    def _is_not_silent(cls, value: float) -> float:
        if value < LEAST_STD:
            raise ValueError(
                f"wanted at least {LEAST_STD}, got {value}: the training split's sound is all the "
                "same, as digital silence is, and nothing can be learnt of it; give the raw "
                "corpus its sound and prepare it into a new folder"
            )
        return value


def read_manifest(path: Path) -> Manifest | None:
    """Read the manifest of a prepared corpus; None if there is none.

    Raises:
        ValueError: it cannot be read as one; names the file.
    """
    file = path / MANIFEST
    if not file.exists():
        return None
    ordinary(file)
    try:
        content = file.read_bytes()
        manifest = Manifest.model_validate_json(content)
        if manifest.digest is not None:
            check_seal(json.loads(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(
            f"{file} is not the manifest of a prepared corpus: "
            f"{f'{where}: ' if where else ''}{message}; delete {path} and "
            "run mesm prepare again"
        ) from None
    except ValueError as error:
        raise ValueError(f"{file} {error}; delete {path} and run mesm prepare again") from None
    if manifest.format != FORMAT:
        raise ValueError(f"{file} has format {manifest.format}, wanted {FORMAT}; prepare it again")
    return manifest
