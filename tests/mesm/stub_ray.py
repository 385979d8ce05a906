"""Ray's calls that a cluster makes of it, answered in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest


class RayError(Exception):
    """As Ray's."""


class WorkerCrashedError(RayError):
    """As Ray's."""


def stub_ray(
    monkeypatch: pytest.MonkeyPatch,
    nodes: Sequence[dict[str, float]],
    result: Callable[[Any], Any],
    ready: Callable[[list[Any]], list[Any]] = lambda running: running[:1],
) -> None:
    """Stand for Ray.

    Args:
        monkeypatch: takes it away again.
        nodes: resources of each.
        result: of a unit of work, told its item; may raise.
        ready: those of the running units that have ended.
    """

    def wait(running: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        done = ready(running)
        return done, [one for one in running if one not in done]

    class Unit:
        def __init__(self, place: Any, work: Any, item: Any) -> None:
            self.item = item

    def remote(work: Any) -> Any:
        return SimpleNamespace(options=lambda **given: SimpleNamespace(remote=Unit))

    errors = SimpleNamespace(
        RayError=RayError,
        WorkerCrashedError=WorkerCrashedError,
        OutOfMemoryError=type("OutOfMemoryError", (RayError,), {}),
        RayTaskError=type("RayTaskError", (RayError,), {}),
    )
    stub = SimpleNamespace(
        remote=remote,
        wait=wait,
        get=lambda unit: result(unit.item),
        cancel=lambda unit, force: None,
        exceptions=errors,
        nodes=lambda: [{"Alive": True, "Resources": dict(one)} for one in nodes],
        cluster_resources=lambda: {
            kind: sum(one.get(kind, 0) for one in nodes) for kind in ("CPU", "GPU")
        },
    )
    monkeypatch.setitem(sys.modules, "ray", stub)  # type: ignore[arg-type]
