"""The shapes of the JSON files in a run's folder: the parts that their readers rely on.

Each type is for `mesm.runs.files.read_json`; a file may hold more than its type names.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Figure = Annotated[float, Field(allow_inf_nan=False)]
Figures = dict[str, Figure]
Count = Annotated[int, Field(ge=0)]


class Threshold(TypedDict):
    """How logits became labels."""

    policy: str
    values: NotRequired[Figures]


class Scores(TypedDict):
    """The scores of one split, from `mesm.evaluation.metrics.score`."""

    clips: Count
    threshold: Threshold
    emotions: dict[str, Figures]
    average: Figures
    f1_variant: NotRequired[str]
    intervals: NotRequired[dict[str, Any]]


class Evaluation(TypedDict, total=False):
    """The content of evaluation.json."""

    train: Scores
    valid: Scores
    test: Scores
    variants: dict[str, dict[str, Scores]]


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


class ScoredPoint(Cost):
    """A point with its scores."""

    average: Figures
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


class Sweep(TypedDict):
    """The content of sweep.json, retrain.json and budget.json."""

    corpus: str
    split: str
    clips: Count
    metric: str
    points: Annotated[list[ScoredPoint], Field(min_length=1)]
    own_point: NotRequired[ScoredPoint | None]
    baseline: NotRequired[Point | None]


class Attention(TypedDict):
    """The content of explain/action_units.json."""

    definition: str
    split: str
    clips: Count


class Cell(TypedDict):
    """One training of an experiment."""

    folder: str


class Plan(TypedDict):
    """The content of experiment.json."""

    cells: dict[str, Cell]
    groups: dict[str, list[str]]
