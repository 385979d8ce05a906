"""Percentile bootstrap of the metrics, over clips or over dialogs (Efron and Tibshirani, 1993).

A draw takes as many clips as there are, with replacement, and scores them. Utterances of a dialog
(or video) are not independent; with `cluster="dialog"` whole dialogs are drawn, as many as there
are. The decisions are held fixed: what tuning the thresholds on other validation clips would change
is not in the intervals, nor is what another training seed would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mesm.evaluation.metrics import MEASURES, Confusion, Measures

Cluster = Literal["clip", "dialog"]
# Both ends by the metric's name; None where there is no interval.
_Ends = Mapping[str, Tensor | None]
_Columns = dict[str, Tensor]
# Drawn at once: bounds the memory to a few hundred MB at CMU-MOSEI's size.
BLOCK_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made.

    Args:
        draws: resamples.
        level: share of the draws inside the interval, the rest in equal parts on either side.
        seed: fixes the draws.
        cluster: what is drawn: "clip", or "dialog" with all its clips.
    """

    draws: int = 1000
    level: float = 0.95
    seed: int = 0
    cluster: Cluster = "clip"

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"the bootstrap needs at least one draw, got {self.draws}")
        if not 0 < self.level < 1:
            raise ValueError(f"the level of an interval must be in (0, 1), got {self.level}")
        if self.cluster not in ("clip", "dialog"):
            raise ValueError(f"cluster must be clip or dialog, got {self.cluster!r}")

    def facts(self, units: int, thresholds: bool = True) -> dict[str, Any]:
        """The facts about the intervals for a file.

        Args:
            units: how many clips or dialogs were drawn from.
            thresholds: whether the decisions depend on thresholds.
        """
        return {
            "method": "percentile bootstrap",
            "draws": self.draws,
            "level": self.level,
            "seed": self.seed,
            "cluster": self.cluster,
            "units": units,
            **({"thresholds": "held fixed"} if thresholds else {}),
        }

    def interval(self, values: Tensor) -> Tensor:
        """Quantiles of the draws: (draws, ...) to (2, ...)."""
        ends = torch.tensor([(1 - self.level) / 2, (1 + self.level) / 2], dtype=values.dtype)
        return torch.quantile(values, ends, dim=0)


def intervals(
    decisions: Tensor,
    labels: Tensor,
    dialogs: Sequence[str],
    emotions: Sequence[str],
    how: Bootstrap,
    measures: Measures = MEASURES,
) -> dict[str, Any]:
    """An interval for every metric, per emotion and of the average over the emotions.

    Args:
        decisions: (N, E) bool.
        labels: (N, E) bool.
        dialogs: N names, each clip's dialog or video.
        emotions: E names.
        how: draws, level, seed and cluster.
        measures: the metrics, and what "average" is.

    Returns:
        `Bootstrap.facts` and {"emotions": {emotion: {metric: [low, high]}}, "average": {metric:
        [low, high]}}, JSON values; None for [low, high] where there is but one clip (or dialog).
    """
    units = _units(dialogs, how)
    counts = Confusion.per_clip(decisions, labels)
    drawn = _draw(counts.stack(), units, how) if len(units) >= 2 else counts
    columns = measures.per_emotion(drawn)
    values = columns, measures.overall(drawn) if measures.overall else _means(columns)
    ends = [
        {name: how.interval(one) if len(units) >= 2 else None for name, one in kind.items()}
        for kind in values
    ]
    return how.facts(len(units), measures.thresholds) | _named(ends[0], ends[1], emotions)


def paired_differences(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    dialogs: Sequence[str],
    emotions: Sequence[str],
    how: Bootstrap,
    measures: Measures = MEASURES,
) -> dict[str, Any]:
    """First minus second, for two systems' decisions on the same clips.

    Each draw scores both systems on the same resampled clips, so that what makes a clip hard for
    both cancels.

    Args:
        first: (N, E) bool, a system's decisions.
        second: (N, E) bool, another's.
        labels: (N, E) bool.
        dialogs: N names, each clip's dialog or video.
        emotions: E names.
        how: draws, level, seed and cluster.
        measures: as of `intervals`.

    Returns:
        `Bootstrap.facts` (the method is "paired percentile bootstrap"), and "emotions" and
        "average" as in `intervals`, with {"difference": value, "interval": [low, high] or None}
        per metric.
    """
    units = _units(dialogs, how)
    sides = [Confusion.per_clip(decisions, labels) for decisions in (first, second)]
    wholes = [Confusion.of(decisions, labels) for decisions in (first, second)]
    found, overall = _subtract(wholes, measures)
    ends: _Ends = dict.fromkeys(found)
    overall_ends: _Ends = dict.fromkeys(overall)
    if len(units) >= 2:
        drawn = _subtract([_draw(side.stack(), units, how) for side in sides], measures)
        ends, overall_ends = (
            {name: how.interval(values) for name, values in kind.items()} for kind in drawn
        )
    named = _named(ends, overall_ends, emotions)
    for place, emotion in enumerate(emotions):
        for name, values in found.items():
            interval = named["emotions"][emotion][name]
            named["emotions"][emotion][name] = _difference(float(values[place]), interval)
    for name, value in overall.items():
        named["average"][name] = _difference(float(value), named["average"][name])
    facts = how.facts(len(units), measures.thresholds)
    return facts | {"method": "paired percentile bootstrap"} | named


def _subtract(sides: Sequence[Confusion], measures: Measures) -> tuple[_Columns, _Columns]:
    """First minus second, per emotion and overall."""

    def minus(metrics: Callable[[Confusion], _Columns]) -> _Columns:
        ours, theirs = map(metrics, sides)
        return {name: ours[name] - theirs[name] for name in ours}

    columns = minus(measures.per_emotion)
    return columns, minus(measures.overall) if measures.overall else _means(columns)


def _means(columns: _Columns) -> _Columns:
    return {name: values.mean(-1) for name, values in columns.items()}


def _difference(value: float, interval: list[float] | None) -> dict[str, Any]:
    return {"difference": value, "interval": interval}


def _units(dialogs: Sequence[str], how: Bootstrap) -> list[list[int]]:
    """The clips of each thing that is drawn."""
    if how.cluster == "clip":
        return [[place] for place in range(len(dialogs))]
    members: dict[str, list[int]] = {}
    for place, dialog in enumerate(dialogs):
        members.setdefault(dialog, []).append(place)
    return list(members.values())


def _draw(counts: Tensor, units: Sequence[Sequence[int]], how: Bootstrap) -> Confusion:
    """The counts of every draw: (4, N, E) per clip to (draws, E)."""
    members = torch.tensor([place for unit in units for place in unit])
    owners = torch.repeat_interleave(
        torch.arange(len(units)), torch.tensor([len(unit) for unit in units])
    )
    kinds, _, emotions = counts.shape
    per_unit = counts.new_zeros(kinds, len(units), emotions)
    per_unit.index_add_(1, owners, counts[:, members])
    # One product per block: how often each unit is drawn times what it counts.
    flat = per_unit.permute(1, 0, 2).reshape(len(units), kinds * emotions)
    blocks = [times @ flat for times in _times_drawn(len(units), how)]
    summed = torch.cat(blocks).reshape(how.draws, kinds, emotions)
    return Confusion.unstack(summed.transpose(0, 1))


def _times_drawn(units: int, how: Bootstrap) -> Iterator[Tensor]:
    """How often each unit is in each draw, (some draws, units) float64, all draws in the end."""
    generator = np.random.default_rng(how.seed)
    block = max(1, BLOCK_ELEMENTS // units)
    for start in range(0, how.draws, block):
        rows = min(block, how.draws - start)
        drawn = generator.integers(0, units, (rows, units))
        drawn += units * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * units)
        yield torch.from_numpy(times.reshape(rows, units).astype(np.float64))


def _named(emotions_ends: _Ends, overall_ends: _Ends, emotions: Sequence[str]) -> dict[str, Any]:
    """The intervals (2, E) of each emotion and (2,) of all together, as JSON values."""

    def at(ends: _Ends, place: int | None) -> dict[str, Any]:
        return {
            name: None
            if pair is None
            else [float(end if place is None else end[place]) for end in pair]
            for name, pair in ends.items()
        }

    return {
        "emotions": {emotion: at(emotions_ends, i) for i, emotion in enumerate(emotions)},
        "average": at(overall_ends, None),
    }
