"""FLOPs of a run, where a sweep has measured them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol


class Swept(Protocol):
    """A run that may have been swept."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def model_settings(self) -> Mapping[str, Any]:
        """The settings of its model as JSON values."""

    @property
    def sweep(self) -> Mapping[str, Any] | None:
        """The content of its sweep.json."""


def uniform(p: Any) -> Any:
    """One p for all blocks as a number, in whatever form it came; others stay as they are."""
    leaves = _leaves(p)
    return leaves[0] if len(set(leaves)) == 1 else p


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    return (
        [leaf for part in value for leaf in _leaves(part)] if isinstance(value, list) else [value]
    )


def sweep_points(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of a sweep, and that of the run's own p where it is another for each block."""
    own = sweep.get("own_point")
    return [*sweep["points"], *([own] if own else [])]


def flops_per_clip(run: Swept, others: Iterable[Swept]) -> float | None:
    """FLOPs of the feature extraction per clip, 2 per multiply–accumulate; None: not measured.

    A MESM's follow from its weights, so its own sweep alone knows them. Every FE2E of the same
    settings computes the same, so any sweep with one as its baseline does.
    """
    if run.model_settings["name"] == "mesm":
        points = sweep_points(run.sweep) if run.sweep else []
        wanted = uniform(run.model_settings["p"])
        return next(
            (point["flops_per_clip"]["total"] for point in points if uniform(point["p"]) == wanted),
            None,
        )
    known = list(others)
    for swept in known:
        baseline = swept.sweep.get("baseline") if swept.sweep else None
        for other in known:
            if (
                baseline
                and other.path.name == baseline["run"]
                and other.model_settings == run.model_settings
            ):
                return baseline["flops_per_clip"]["total"]
    return None
