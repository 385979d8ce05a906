"""The sweeps of a training's folds as one: at each p the decisions of all folds scored at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesm.evaluation.counts import pooled_average
from mesm.evaluation.pooled import SPLIT, check_each_fold, kept_fold
from mesm.evaluation.run import Run
from mesm.tables.costs import sweep_points, uniform
from mesm.tables.folds import whole_sets
from mesm.tables.names import describe_value

BASELINE = "baseline"


@dataclass(frozen=True)
class SweptFile:
    """A file of points, and the run whose folder it lies in.

    Attributes:
        path: of the file.
        content: of the file.
        run: None: the folder is no run.
        dense: FE2E as the sweep.json beside it measured it, where the file itself has none: its
            FLOPs are the same whenever they are counted, latencies of another day are not.
        parts: the files of the folds that it is made of; empty: it is no such one.
    """

    path: Path
    content: Mapping[str, Any]
    run: Run | None
    dense: Mapping[str, Any] | None = None
    parts: tuple[SweptFile, ...] = ()

    @property
    def seed(self) -> int | None:
        """The training's; None: not known."""
        if self.run is None:
            return self.content.get("seed")
        found: int | None = self.run.settings.get("training", {}).get(
            "seed", self.content.get("seed")
        )
        return found

    @property
    def sources(self) -> tuple[SweptFile, ...]:
        """The files that were measured."""
        return self.parts or (self,)


def setting_of(point: Mapping[str, Any]) -> Any:
    """The key that matches points of several files: the budget and how it is met, else p."""
    if "budget" in point:
        return {"budget": point["budget"], "kind": point.get("kind")}
    return uniform(point["p"])


def with_folds_pooled(files: Sequence[SweptFile]) -> list[SweptFile]:
    """Files of runs on the corpus' own splits as they are, and those of a training's folds as one.

    Folds without a file, and points that not all folds have, are reported and left out.

    Raises:
        ValueError: folds are all there is, and none of their sets is whole or has a common point;
            another split than the test split was measured; or scores that cannot be pooled.
    """
    folded = [one for one in files if one.run is not None and one.run.settings.get("fold")]
    found = [one for one in files if one not in folded]
    for one in folded:
        if one.content["split"] != SPLIT:
            raise ValueError(
                f"{one.path}: is of a fold, and folds are scored together on the {SPLIT} split "
                f"alone, not on {one.content['split']}"
            )
    for name in dict.fromkeys(one.path.name for one in folded):
        own = {str(one.path.parent): one for one in folded if one.path.name == name}
        runs = [one.run for one in own.values() if one.run is not None]
        for whole in whole_sets(runs, f"swept ({name})", alone=len(own) == len(files)):
            found.append(_pooled([own[str(run.path)] for run in whole]))
    if not found:
        raise ValueError("no training of which all folds are swept; see the lines above")
    return found


def _pooled(files: Sequence[SweptFile]) -> SweptFile:
    """One file of several, one per fold, by ascending fold."""
    first, runs = files[0], [one.run for one in files if one.run is not None]
    title = f"{first.path} and {len(files) - 1} more"
    check_each_fold(runs)
    if len({kept_fold(run)["identity"]["files"] for run in runs}) > 1:
        raise ValueError(
            f"{title}: were trained on corpora that were prepared differently; train all folds on "
            "one"
        )
    clips = [one.content["clips"] for one in files]
    points: list[dict[str, Any]] = []
    by_setting = [
        {
            json.dumps(setting_of(point), sort_keys=True): point
            for point in sweep_points(one.content)
        }
        for one in files
    ]
    for key in dict.fromkeys(key for own in by_setting for key in own):
        lacking = [place + 1 for place, own in enumerate(by_setting) if key not in own]
        if lacking:
            setting = json.loads(key)
            shown = f"{'' if 'budget' in key else 'p = '}{describe_value(setting)}"
            print(
                f"left out: {title}: {shown} was not measured in fold "
                f"{', '.join(map(str, lacking))} of {len(files)}; sweep all folds alike",
                file=sys.stderr,
            )
            continue
        points.append(_point([own[key] for own in by_setting], clips, title))
    if not points:
        raise ValueError(f"{title}: no p was measured in all folds; sweep all folds alike")
    return SweptFile(
        first.path,
        {
            **{key: first.content[key] for key in ("corpus", "split", "metric")},
            "clips": sum(clips),
            "points": points,
            BASELINE: _base([one.content.get(BASELINE) for one in files], clips, title),
        },
        first.run,
        _base([one.dense for one in files], clips, title),
        tuple(files),
    )


def _base(
    points: Sequence[Mapping[str, Any] | None], clips: Sequence[int], title: str
) -> dict[str, Any] | None:
    """FE2E beside every fold; None: beside some it was not measured."""
    known = [point for point in points if point]
    return _point(known, clips, title) if len(known) == len(points) else None


def _point(points: Sequence[Mapping[str, Any]], clips: Sequence[int], title: str) -> dict[str, Any]:
    """One point of one per fold; costs are per clip, so the mean over all folds' clips."""

    def mean(value: Callable[[Mapping[str, Any]], float | None]) -> float | None:
        values = [value(point) for point in points]
        if any(one is None for one in values):
            return None
        weighted = [one * own for one, own in zip(values, clips, strict=True) if one is not None]
        return sum(weighted) / sum(clips)

    def cost(name: str, kind: str) -> dict[str, float] | None:
        found = mean(lambda point: (point.get(name) or {}).get(kind))
        return None if found is None else {kind: found}

    first = points[0]
    try:
        average = pooled_average(points, clips)
        per_fold = [
            pooled_average([point], [own]) for point, own in zip(points, clips, strict=True)
        ]
    except ValueError as error:
        raise ValueError(f"{title}: cannot be pooled, as a point {error}; sweep again") from error
    facts = {key: first[key] for key in ("task", "f1_variant", "budget", "kind") if key in first}
    every_p = [point.get("p") for point in points]
    flops = cost("flops_per_clip", "total")
    share = {}
    if flops and all(point.get("share") for point in points):
        # A fold's share of its own dense FLOPs, which these are.
        dense = mean(lambda point: point["flops_per_clip"]["total"] / point["share"])
        share = {"share": flops["total"] / dense} if dense else {}
    return {
        **facts,
        "p": first.get("p") if all(p == every_p[0] for p in every_p) else every_p,
        "run": [point.get("run") for point in points],
        "threshold": {"policy": (first.get("threshold") or {}).get("policy")},
        "average": average,
        "per_fold": per_fold,
        "flops_per_clip": flops,
        "latency_ms_per_clip": cost("latency_ms_per_clip", "model"),
        **share,
    }
