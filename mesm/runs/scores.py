"""The shapes of scores and of calibrations in JSON files, and the two kinds that there are.

Scores of exactly one emotion a clip say so by their "task"; all others are of several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Discriminator, Field, Tag
from typing_extensions import TypedDict

Figure = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Figures = dict[str, Figure]
Count = Annotated[int, Field(ge=0)]
F1Name = Literal["binary", "weighted"]
TaskName = Literal["single_label"]
# The "task" of scores where every clip has exactly one emotion; others have none.
SINGLE_LABEL: TaskName = "single_label"


def is_single_label(scores: Mapping[str, Any]) -> bool:
    """Whether scores are of exactly one emotion a clip (`mesm.evaluation.single_label`)."""
    return scores.get("task") == SINGLE_LABEL


def _has_its_f1(scores: Any) -> Any:
    wanted = "macro_f1" if is_single_label(scores) else "f1"
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
