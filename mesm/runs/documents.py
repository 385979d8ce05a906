"""The shapes of the JSON files in a run's folder: the parts that their readers rely on.

Each type is for `mesm.runs.files.read_json`; a file may hold more than its type names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Required

from pydantic import Field
from typing_extensions import TypedDict

from mesm.runs.scores import (
    AnyAverages,
    Count,
    F1Name,
    Figure,
    Figures,
    HasItsF1,
    Positive,
    TaskName,
    Threshold,
    WholeScores,
)


class TemperatureDocument(TypedDict):
    """The content of temperatures.json."""

    weights: str
    split: str
    clips: Count
    temperatures: dict[str, Positive]
    notes: dict[str, str]
    digest: str


class ThresholdDocument(TypedDict):
    """The content of thresholds.json."""

    weights: str
    split: str
    clips: Count
    setting: str
    policy: str
    values: Figures
    digest: str


class PreprocessingDocument(TypedDict):
    """The content of preprocessing.json."""

    corpus: str
    title: str
    synthetic: bool | None
    emotions: Annotated[list[str], Field(min_length=1)]
    single_label: bool
    spectrogram_mean: Figure
    spectrogram_std: Positive
    min_face_size: Annotated[int, Field(ge=12)]
    faces: Literal["largest", "track"]
    lacking: list[Literal["text", "sound", "pictures"]]
    digest: str


class Evaluation(TypedDict, total=False):
    """The content of evaluation.json."""

    train: WholeScores
    valid: WholeScores
    test: WholeScores
    variants: dict[str, dict[str, WholeScores]]


class Flops(TypedDict):
    """FLOPs per clip."""

    total: Figure
    attention: NotRequired[Figure]


class Latency(TypedDict):
    """Milliseconds per clip."""

    model: Figure


class Cost(TypedDict, total=False):
    """The costs that were measured at one p, which may be one per block, or of FE2E."""

    p: Figure | list[Any] | dict[str, Any] | None
    flops_per_clip: Flops | None
    latency_ms_per_clip: Latency | None
    active_sites: dict[str, Any] | None


class LatencySetting(TypedDict):
    """How latency was measured."""

    repeats: Count
    batch_size: Count
    device: str
    threads: Count
    dtype: str


class ScoredPoint(Cost):
    """A point with its scores."""

    p: Required[Any]  # type: ignore[misc]
    average: AnyAverages
    task: NotRequired[TaskName]
    f1_variant: NotRequired[F1Name]
    threshold: Threshold
    emotions: NotRequired[dict[str, Figures]]


class Point(Cost, total=False):
    """A point, with or without scores."""

    average: Figures
    threshold: Threshold
    emotions: dict[str, Figures]


class Points(TypedDict):
    """The part of sweep.json that reports and the costs in tables need."""

    points: Annotated[list[Point], Field(min_length=1)]
    own_point: NotRequired[Point | None]
    baseline: NotRequired[Point | None]


class TeacherIdentity(TypedDict):
    """The content of teacher.json."""

    run: str
    weights: str


class FoldIdentity(TypedDict):
    """Hashes by which a fold's corpus is known again."""

    files: str
    clips: str


class FoldDocument(TypedDict):
    """The content of fold.json."""

    fold: dict[str, Any]
    folds: Count
    units: dict[str, list[str]]
    clips: dict[str, Count]
    identity: FoldIdentity
    statistics: dict[str, tuple[list[Figure], list[Figure]]]


class Sweep(TypedDict):
    """The content of sweep.json, retrain.json and budget.json."""

    corpus: str
    split: str
    clips: Count
    metric: Literal["accuracy", "weighted_accuracy"]
    latency_setting: NotRequired[LatencySetting | None]
    points: Annotated[list[Annotated[ScoredPoint, HasItsF1]], Field(min_length=1)]
    own_point: NotRequired[Annotated[ScoredPoint, HasItsF1] | None]
    baseline: NotRequired[Point | None]


class FullFlops(TypedDict):
    """FLOPs per clip, those of the attention apart."""

    total: Positive
    attention: Figure


class FullLatency(TypedDict):
    """Milliseconds per clip, of the whole and of the feature extraction."""

    model: Positive
    extraction: Figure


class ShownFlops(TypedDict):
    """FLOPs per clip of a model without attention."""

    total: Positive


class ShownBaseline(TypedDict):
    """FE2E's figures that a report shows."""

    average: AnyAverages
    flops_per_clip: ShownFlops
    latency_ms_per_clip: FullLatency


class ShownPoint(TypedDict):
    """The figures at one p that a report shows."""

    p: Any
    average: AnyAverages
    threshold: Threshold
    task: NotRequired[TaskName]
    f1_variant: NotRequired[F1Name]
    flops_per_clip: FullFlops
    latency_ms_per_clip: FullLatency
    active_sites: dict[Literal["face", "audio"], list[Figure]]


class UniformPoint(ShownPoint):
    """A point of one p for all blocks."""

    p: Figure


class Environment(TypedDict):
    """The content that `mesm.runs.environment.describe` gives, and a report shows."""

    cpu: str
    cores: int | None
    threads: int
    gpu: str | None
    versions: dict[str, Any]
    kernels: dict[str, Any] | None
    commit: str | None


class ShownSweep(TypedDict):
    """The parts of sweep.json that a report shows."""

    split: str
    clips: Count
    trained_p: Figure | list[Figure] | dict[str, Figure | list[Figure]]
    metric: Literal["accuracy", "weighted_accuracy"]
    latency_setting: LatencySetting
    environment: Environment
    points: Annotated[list[Annotated[UniformPoint, HasItsF1]], Field(min_length=1)]
    own_point: NotRequired[Annotated[ShownPoint, HasItsF1] | None]
    baseline: ShownBaseline | None


class Sites(TypedDict):
    """How often kept sites hit planted regions, against chance."""

    hit: Figure | None
    chance: Figure | None
    ratio: Figure
    interval: Annotated[list[Figure], Field(min_length=2, max_length=2)]


class Hits(TypedDict):
    """The hits of one attention, or of the sites that all of them kept."""

    block: int | str
    height: int
    width: int
    kept_sites: Any
    frames: Count
    clips: Count
    sites: Sites


class HitGroup(TypedDict):
    """The hits of all attentions of a modality."""

    blocks: Annotated[list[Hits], Field(min_length=1)]
    final: Hits


class ModalityHits(TypedDict, total=False):
    """The hits of a modality; "all" is over every kind of planted region."""

    all: HitGroup | None


class Attention(TypedDict):
    """The content of explain/action_units.json."""

    definition: str
    split: str
    clips: Count
    p: Any
    face: NotRequired[ModalityHits]
    audio: NotRequired[ModalityHits]


class Cell(TypedDict):
    """One training of an experiment."""

    folder: str


class Plan(TypedDict):
    """The content of experiment.json."""

    cells: dict[str, Cell]
    groups: dict[str, list[str]]
