"""The shapes of the JSON files in a run's folder: the parts that their readers rely on.

Each type is for `mesm.runs.files.read_json`; a file may hold more than its type names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Required

from pydantic import AfterValidator, Discriminator, Field, Tag
from typing_extensions import TypedDict

Figure = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Figures = dict[str, Figure]
Count = Annotated[int, Field(ge=0)]
F1Name = Literal["binary", "weighted"]
TaskName = Literal["single_label"]


def _is_single(scores: Any) -> bool:
    return isinstance(scores, dict) and scores.get("task") == "single_label"


def _has_its_f1(scores: Any) -> Any:
    wanted = "macro_f1" if _is_single(scores) else "f1"
    if wanted not in scores["average"]:
        raise ValueError(f"average has no {wanted}, which is its F1")
    if scores.get("f1_variant") == "weighted" and "f1_weighted" not in scores["average"]:
        raise ValueError("average has no f1_weighted, which is its F1")
    return scores


HasItsF1 = AfterValidator(_has_its_f1)


class Threshold(TypedDict):
    """How logits became labels."""

    policy: str
    values: NotRequired[Figures]


class Averages(TypedDict):
    """The scores of an emotion, or their average over the emotions."""

    accuracy: Figure
    weighted_accuracy: Figure
    f1: Figure
    f1_weighted: NotRequired[Figure]


class SingleAverages(TypedDict):
    """The scores of all clips together, where each has exactly one emotion."""

    accuracy: Figure
    weighted_f1: Figure
    macro_f1: Figure
    uar: Figure


class EmotionOfOne(TypedDict):
    """The scores of an emotion, likewise."""

    precision: Figure
    recall: Figure
    f1: Figure
    positives: Count
    decided: Count


def _kind(values: Any) -> str:
    of_one = isinstance(values, dict) and values.keys() & {"uar", "recall"}
    return "single_label" if of_one else "multi_label"


AnyAverages = Annotated[
    Annotated[Averages, Tag("multi_label")] | Annotated[SingleAverages, Tag("single_label")],
    Discriminator(_kind),
]
AnyEmotion = Annotated[
    Annotated[Averages, Tag("multi_label")] | Annotated[EmotionOfOne, Tag("single_label")],
    Discriminator(_kind),
]


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


class Bin(TypedDict):
    """A bin of a reliability diagram that holds clips."""

    bin: Count
    clips: Count
    probability: Figure
    frequency: Figure


class EmotionCalibration(TypedDict):
    """The calibration of one emotion, before and after its temperature where it has one."""

    ece: Figure
    reliability: list[Bin]
    temperature: NotRequired[Positive]
    ece_calibrated: NotRequired[Figure]
    reliability_calibrated: NotRequired[list[Bin]]


class Fitted(TypedDict):
    """Where temperatures come from."""

    split: str
    clips: Count
    notes: dict[str, str]


class CalibrationScores(TypedDict):
    """The calibration of one split, from `mesm.evaluation.calibration.calibration_of`."""

    bins: Annotated[int, Field(ge=1)]
    emotions: Annotated[dict[str, EmotionCalibration], Field(min_length=1)]
    average: Figures
    fitted: NotRequired[Fitted]


class TopCalibration(TypedDict):
    """Likewise of one emotion a clip, from `mesm.evaluation.softmax_calibration`."""

    bins: Annotated[int, Field(ge=1)]
    top: EmotionCalibration
    fitted: NotRequired[Fitted]


def _calibration_kind(values: Any) -> str:
    return "single_label" if isinstance(values, dict) and "top" in values else "multi_label"


AnyCalibration = Annotated[
    Annotated[CalibrationScores, Tag("multi_label")]
    | Annotated[TopCalibration, Tag("single_label")],
    Discriminator(_calibration_kind),
]


class Scores(TypedDict):
    """The scores of one split, from `mesm.evaluation.metrics.score` or `score_single`."""

    clips: Count
    headline: Literal["accuracy", "weighted_accuracy"]
    threshold: Threshold
    emotions: dict[str, AnyEmotion]
    average: AnyAverages
    task: NotRequired[TaskName]
    confusion: NotRequired[list[list[Count]]]
    f1_variant: NotRequired[F1Name]
    intervals: NotRequired[dict[str, Any]]
    calibration: NotRequired[AnyCalibration]


WholeScores = Annotated[Scores, HasItsF1]


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
