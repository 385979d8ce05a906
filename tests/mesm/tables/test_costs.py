"""FLOPs are those of the sweep that speaks of this very model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesm.tables.costs import flops_per_clip, sweep_points, uniform


@dataclass(frozen=True)
class SweptRun:
    path: Path
    model_settings: dict[str, Any]
    sweep: dict[str, Any] | None = None


def point(p: Any, total: float) -> dict[str, Any]:
    return {"p": p, "flops_per_clip": {"total": total}}


@pytest.mark.parametrize(
    ("p", "alike"),
    [
        (0.5, 0.5),
        ([0.5, 0.5, 0.5], 0.5),
        ({"face": [0.5, 0.5], "audio": 0.5}, 0.5),
        ([0.7, 0.5, 0.5], [0.7, 0.5, 0.5]),
        ({"face": 0.7, "audio": 0.5}, {"face": 0.7, "audio": 0.5}),
    ],
)
def test_uniform_p_in_any_form(p: Any, alike: Any) -> None:
    assert uniform(p) == alike


def test_a_mesm_has_those_of_its_own_p() -> None:
    sweep = {"points": [point(0.3, 1e9), point(0.5, 2e9)], "own_point": point([0.7, 0.5, 0.5], 3e9)}
    model = {"name": "mesm", "p": 0.5}
    assert flops_per_clip(SweptRun(Path("a"), model, sweep), []) == 2e9
    assert flops_per_clip(SweptRun(Path("a"), model | {"p": [0.5, 0.5, 0.5]}, sweep), []) == 2e9
    assert flops_per_clip(SweptRun(Path("a"), model | {"p": [0.7, 0.5, 0.5]}, sweep), []) == 3e9
    assert flops_per_clip(SweptRun(Path("a"), model | {"p": 0.9}, sweep), []) is None
    assert flops_per_clip(SweptRun(Path("a"), model), []) is None
    assert len(sweep_points(sweep)) == 3


def test_an_fe2e_has_those_of_a_baseline_with_its_settings() -> None:
    dense, wide = {"name": "fe2e", "dim": 64}, {"name": "fe2e", "dim": 128}
    base = point(None, 8e9) | {"run": "fe2e-0"}
    swept = SweptRun(Path("m"), {"name": "mesm", "p": 0.5}, {"points": [], "baseline": base})
    runs = [
        swept,
        SweptRun(Path("fe2e-0"), dense),
        SweptRun(Path("fe2e-1"), dense),
        SweptRun(Path("w"), wide),
    ]
    assert [flops_per_clip(run, runs) for run in runs] == [None, 8e9, 8e9, None]
