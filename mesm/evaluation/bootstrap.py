"""Percentile bootstrap of the metrics, over clips or over dialogs (Efron and Tibshirani, 1993).

A draw takes as many clips as there are, with replacement, and scores them. Utterances of a dialog
(or video) are not independent; with `cluster="dialog"` whole dialogs are drawn, as many as there
are. The decisions are held fixed: what tuning the thresholds on other validation clips would change
is not in the intervals, nor is what another training seed would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mesm.evaluation.metrics import Confusion

Cluster = Literal["clip", "dialog"]
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

    def facts(self, units: int) -> dict[str, Any]:
        """The facts about the intervals for a file; `units` clips or dialogs were drawn from."""
        return {
            "method": "percentile bootstrap",
            "draws": self.draws,
            "level": self.level,
            "seed": self.seed,
            "cluster": self.cluster,
            "units": units,
            "thresholds": "held fixed",
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
) -> dict[str, Any]:
    """An interval for every metric, per emotion and of the average over the emotions.

    Args:
        decisions: (N, E) bool.
        labels: (N, E) bool.
        dialogs: N names, each clip's dialog or video.
        emotions: E names.
        how: draws, level, seed and cluster.

    Returns:
        `Bootstrap.facts` and {"emotions": {emotion: {metric: [low, high]}}, "average": {metric:
        [low, high]}}, JSON values; None for [low, high] where there is but one clip (or dialog).
    """
    units = _units(dialogs, how)
    if len(units) < 2:
        names = list(Confusion.of(decisions, labels).metrics())
        return how.facts(len(units)) | _named(dict.fromkeys(names), emotions)
    drawn = _draw(Confusion.per_clip(decisions, labels).stack(), units, how)
    ends = {name: _ends(values, how) for name, values in drawn.items()}
    return how.facts(len(units)) | _named(ends, emotions)


def paired_differences(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    dialogs: Sequence[str],
    emotions: Sequence[str],
    how: Bootstrap,
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

    Returns:
        `Bootstrap.facts` (the method is "paired percentile bootstrap"), and "emotions" and
        "average" as in `intervals`, with {"difference": value, "interval": [low, high] or None}
        per metric.
    """
    units = _units(dialogs, how)
    ours, theirs = (Confusion.of(decisions, labels).metrics() for decisions in (first, second))
    found = {name: ours[name] - theirs[name] for name in ours}
    ends: Mapping[str, Tensor | None] = dict.fromkeys(found)
    if len(units) >= 2:
        drawn = [
            _draw(Confusion.per_clip(decisions, labels).stack(), units, how)
            for decisions in (first, second)
        ]
        ends = {name: _ends(drawn[0][name] - drawn[1][name], how) for name in found}
    named = _named(ends, emotions)
    for place, emotion in enumerate(emotions):
        for name, values in found.items():
            pair = named["emotions"][emotion][name]
            named["emotions"][emotion][name] = _difference(float(values[place]), pair)
    for name, values in found.items():
        named["average"][name] = _difference(float(values.mean()), named["average"][name])
    return how.facts(len(units)) | {"method": "paired percentile bootstrap"} | named


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


def _draw(counts: Tensor, units: Sequence[Sequence[int]], how: Bootstrap) -> dict[str, Tensor]:
    """Every metric of every draw: counts (4, N, E) per clip to (draws, E) per metric."""
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
    return Confusion.unstack(summed.transpose(0, 1)).metrics()


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


def _ends(values: Tensor, how: Bootstrap) -> Tensor:
    """The interval of each emotion and, last, of their average: (draws, E) to (2, E + 1)."""
    return how.interval(torch.cat((values, values.mean(1, keepdim=True)), dim=1))


def _named(ends: Mapping[str, Tensor | None], emotions: Sequence[str]) -> dict[str, Any]:
    def at(place: int) -> dict[str, Any]:
        return {
            name: None if pair is None else [float(end) for end in pair[:, place]]
            for name, pair in ends.items()
        }

    return {
        "emotions": {emotion: at(place) for place, emotion in enumerate(emotions)},
        "average": at(len(emotions)),
    }
