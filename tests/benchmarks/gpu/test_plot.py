from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.plot import _sums, draw
from mesm.plots.style import save_png


def row(shape: str, p: float, **further: Any) -> dict[str, Any]:
    made = {"what": "block inference", "dtype": "bfloat16", "shape": shape, "p": p, "ratio": 2.0}
    return made | {"flops": 1e9, "dense_flops": 2e9, "ms": 1.0, "rival_ms": 2.0} | further


ROWS = [row("a", 0.5), row("b", 0.5, ms=3.0), row("a", 1.0), row("b", 1.0), row("audio", 0.5)]


def test_a_shape_measured_at_few_p_is_not_in_the_sums() -> None:
    assert _sums(ROWS)[0.5]["ms"] == 4.0
    assert set(_sums(ROWS)) == {0.5, 1.0}
    assert set(_sums([*ROWS, row("a", 0.1)])) == {0.1, 0.5, 1.0}


def test_rows_without_a_ratio_leave_a_picture(tmp_path: Path) -> None:
    failed = {"what": "block inference", "error": "red gate"}
    path = tmp_path / "bench.png"
    save_png(draw([*ROWS, failed, {"what": "ceilings"}], "a GPU"), path)
    assert path.read_bytes().startswith(b"\x89PNG")
