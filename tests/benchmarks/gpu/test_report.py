from __future__ import annotations

from typing import Any

from benchmarks.gpu.report import ending, floor_table, line, page
from benchmarks.measure import compare

BLOCK: dict[str, Any] = {
    "row": "block inference 8→16 @ 8x6 p=0.5 bfloat16",
    "group": "block inference, bfloat16, 512 frames",
    "what": "block inference",
    "shape": "8→16 @ 8x6",
    "p": 0.5,
    "dtype": "bfloat16",
    "density": 0.5,
    "flops": 1e9,
    "dense_flops": 3e9,
    "bytes": 8,
    "rival": "dense compiled",
    "rivals_ms": {"eager": 0.3, "compiled": 0.2},
    **compare([1e-4] * 3, [2e-4] * 3),
    "goals": {"ratio": 3.0},
}
EAGER = BLOCK | {
    **{"row": "eager block training step", "what": "eager block training step"},
    **{"host_us": 500.0, "rival_host_us": 400.0, "launches": 22, "rival_launches": 108},
    "goals": {"launches": 25, "host_us": 600.0},
}
FAILED = {"row": "MESM", "group": "failed", "what": "MESM", "error": "its process died of SIGSEGV"}
KERNELS = {
    **{"row": "kernels", "group": "time per kernel", "what": "ours", "shape": "s", "p": 0.5},
    **{"total_us": 12.0, "launches": 3},
    "kernels": [{"name": "conv", "us": 12.0, "count": 3.0}],
}
COUNTERS = {
    **{"row": "ncu", "group": "counters", "what": "ncu", "shape": "s", "p": 0.5},
    "counters": [{"kernel": "conv", "counters": {"Duration": "4 us"}}],
}
CONTENT = {
    "machine": {"name": "a GPU", "torch": "2", "git_commit": "abc", "date": "today"},
    "sources": "0123",
    "rows": [BLOCK, EAGER, FAILED, KERNELS, COUNTERS],
}


def test_a_line_has_every_side() -> None:
    assert line(BLOCK) == (
        "block inference 8→16 @ 8x6 p=0.5 bfloat16: 100.0 µs, dense eager 300.0, "
        "dense compiled 200.0, 2.00x"
    )
    assert "host 500 µs, dense 400, 22 launches, dense 108" in line(EAGER)
    assert line(FAILED) == "MESM: its process died of SIGSEGV"


def test_a_page_says_which_goals_are_met_and_what_is_missing() -> None:
    text = "\n".join(page(CONTENT, ["another row"]))
    goals = {
        entry.split("  ")[0]: entry for entry in text.splitlines() if "≥" in entry or "≤" in entry
    }
    assert goals[BLOCK["row"]].endswith("MISSED")
    assert goals["eager block training step"].endswith("met")
    for said in ("died of SIGSEGV", "another row: no time was left", "Duration 4 us", "x3"):
        assert said in text
    end = ending(CONTENT, ["another row"])
    assert end[-1] == "5 rows, 1 of them errors; 2 goals met, 1 missed"
    assert "another row: no time was left" in end
    assert "Duration 4 us" not in "\n".join(end)


def test_without_figures_for_a_device_the_table_says_so() -> None:
    assert floor_table([BLOCK])[1].split()[-4:] == ["?", "100.0", "?", "200.0"]
    assert floor_table([BLOCK | {"floor_us": 25.0}])[1].split()[-2] == "25%"
    assert floor_table([KERNELS]) == []
