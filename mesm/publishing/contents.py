"""The files of a published model, and what its two JSON files say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mesm.config.end_to_end import FE2ESettings, MESMSettings
from mesm.config.modalities import Sound
from mesm.corpora.manifest import LEAST_STD
from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE
from mesm.data.clips import FACE_MEAN, FACE_STD
from mesm.evaluation.calibration import HIGHEST, LOWEST
from mesm.inputs.spectrograms import HOP, SAMPLE_RATE, WINDOW
from mesm.runs.files import finite_json
from mesm.runs.hashes import check_seal
from mesm.runs.ordinary import not_a_file

LIBRARY = "mesm"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, PREPROCESSOR = "tokenizer.json", "preprocessor_config.json"
# For people: nothing is read of these again.
CARD, METRICS, CURVE = "README.md", "metrics.json", "p_curve.png"
HASHED = (WEIGHTS, TOKENIZER, PREPROCESSOR)
FILES = (CONFIG, *HASHED, CARD, METRICS, CURVE)
MEND = "publish it again with `mesm publish`, or fetch it again from where it is whole"
# Bytes; no file that `mesm publish` wrote is nearly as large.
MOST_BYTES = {CONFIG: 1 << 20, PREPROCESSOR: 1 << 16, TOKENIZER: 1 << 27}

M = TypeVar("M", bound=BaseModel)


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("wanted words that can be printed on a line")
    return text


def _differ(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("wanted names that differ")
    return names


Line = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Share = Annotated[float, Field(ge=0, le=1)]
# The fit ends at these bounds, up to a rounding.
Temperature = Annotated[float, Field(ge=LOWEST / 2, le=2 * HIGHEST)]
# Natural logarithms of any sound's power are far inside.
Level = Annotated[float, Field(ge=-1000, le=1000)]
Spread = Annotated[float, Field(ge=LEAST_STD, le=1000)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Threshold(_Content):
    """How probabilities become decisions.

    Attributes:
        policy: how they were chosen, in words.
        values: one per emotion; None: the most probable emotion is decided for.
    """

    policy: Line
    values: list[Share] | None


class Calibration(_Content):
    """Temperatures, as of `mesm.evaluation.calibration.Temperatures`."""

    values: Annotated[dict[str, Temperature], Field(min_length=1)]
    notes: dict[Line, Line]
    split: Line
    clips: Annotated[int, Field(ge=0)]


class Preprocessor(_Content):
    """The content of preprocessor_config.json: how raw media become inputs.

    Attributes:
        corpus: name of the corpus, as of the registry.
        title: its title in tables.
        synthetic: whether it was generated; None: it does not say so.
        emotions: E names, in the order of the logits.
        single_label: whether every clip has exactly one emotion.
        spectrogram_mean: over the training split, of the log-mel values.
        spectrogram_std: likewise.
        min_face_size: side in pixels of the smallest face looked for.
        faces: whose face a clip shows: the largest of each frame, or the longest track's.
        lacking: of "text", "sound" and "pictures", those that some clip of the corpus has none of.
        sound: how spectrograms are normalised, see `mesm.inputs.spectrograms.chunk`.
        subwords: whether tokenizer.json was learnt, or is a pretrained encoder's.
        max_text_length: subwords at most, special ones too.
        fixed: sizes and means that are the same for all models of this version.
    """

    corpus: Line
    title: Line
    synthetic: bool | None
    emotions: Annotated[list[Line], Field(min_length=1, max_length=1000), AfterValidator(_differ)]
    single_label: bool
    spectrogram_mean: Level
    spectrogram_std: Spread
    min_face_size: Annotated[int, Field(ge=12, le=1 << 16)]
    faces: Literal["largest", "track"]
    lacking: Annotated[list[Literal["text", "sound", "pictures"]], AfterValidator(_differ)]
    sound: Sound
    subwords: Literal["learnt", "pretrained"]
    max_text_length: Annotated[int, Field(ge=2, le=1 << 16)]
    fixed: dict[str, Any]


class Config(_Content):
    """The content of config.json but for its digest.

    Attributes:
        format: version of the layout.
        library: "mesm".
        version: of the library that wrote it.
        system: which model.
        arguments: that it is made with.
        settings: the model section of the run's settings; of places nothing but the last name.
        task: one emotion a clip, or each for itself.
        threshold: how probabilities become decisions.
        calibration: temperatures for the probabilities.
        files: SHA-256 of each of `HASHED`.
    """

    format: Literal[1]
    library: Literal["mesm"]
    version: Line
    system: Literal["fe2e", "mesm"]
    arguments: dict[str, Any]
    settings: dict[str, Any]
    task: Literal["single_label", "multi_label"]
    threshold: Threshold
    calibration: Calibration
    files: dict[Literal["model.safetensors", "tokenizer.json", "preprocessor_config.json"], Hash]

    @property
    def model_settings(self) -> FE2ESettings:
        """The settings, checked; a ValidationError if they are none."""
        kind = MESMSettings if self.system == "mesm" else FE2ESettings
        return kind.model_validate(self.settings)


def fixed() -> dict[str, Any]:
    """The sizes and means that inputs of this version are made with, as JSON values."""
    from mesm.inputs.faces import MARGIN, SECONDS_BETWEEN_FACES

    return {
        "face_shape": list(FACE_SHAPE),
        "face_mean": list(FACE_MEAN),
        "face_std": list(FACE_STD),
        "face_margin": MARGIN,
        "seconds_between_faces": SECONDS_BETWEEN_FACES,
        "sample_rate": SAMPLE_RATE,
        "window": WINDOW,
        "hop": HOP,
        "chunk_shape": list(CHUNK_SHAPE),
    }


def is_published(folder: Path) -> bool:
    """Whether a folder says that `mesm publish` wrote it; what it holds is not checked."""
    try:
        check_size(folder / CONFIG)
        values = finite_json((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("library") == LIBRARY


def check_sizes(folder: Path) -> None:
    """Refuse, with a ValueError, a folder that lacks a file or has one beyond any size."""
    for name in (CONFIG, *HASHED):
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{folder}: no published model, {name} {not_a_file(file)}; {MEND}")
        check_size(file)


def check_size(file: Path) -> None:
    """Refuse, with a ValueError, one of the files beyond any size; an OSError: it is not there."""
    size, most = file.stat().st_size, MOST_BYTES.get(file.name, math.inf)
    if size > most:
        raise ValueError(f"{file}: has {size} bytes, wanted at most {most}; {MEND}")


def read_content(file: Path, kind: type[M], *, is_sealed: bool = False) -> M:
    """Read one of the two JSON files.

    Args:
        file: of a size that was checked.
        kind: what it must say.
        is_sealed: whether it carries its own hash.

    Raises:
        ValueError: it is damaged, or says something else; names it.
    """
    try:
        text = file.read_text(encoding="utf-8")
        values = finite_json(text)
        if not isinstance(values, dict):
            raise ValueError(f"wanted keys and values, got {type(values).__name__}")
        if is_sealed:
            if not isinstance(values.get("digest"), str):
                raise ValueError("has no digest")
            check_seal(values)
            del values["digest"]
        return kind.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        what = first["msg"].removeprefix("Value error, ")
        place = place[:80] if place.isprintable() else ascii(place)[:80]
        message = f"{file}: damaged, at {place}: {what[:1].lower()}{what[1:200]}; {MEND}"
        raise ValueError(message) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: {str(error)[:200]}; {MEND}") from None
