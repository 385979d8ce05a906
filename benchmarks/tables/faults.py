"""How the campaign of `make faults` ended."""

from __future__ import annotations

from typing import Any

from benchmarks.report import markdown
from benchmarks.tables.registry import results, table

FAULTS = "faults"
# In the order of the campaign's own verdicts.
VERDICTS = ("right", "refused", "skipped", "wrong", "traceback", "crashed", "lost")


@table("faults")
def faults() -> str:
    """Per kind of input how many were tried, and how they ended."""
    content = results(FAULTS)
    rows = [*content["inputs"].items(), ("all", total(content))]
    lines = [
        (name, f"{sum(found.values()):,}", *(f"{found[verdict]:,}" for verdict in VERDICTS))
        for name, found in rows
    ]
    return markdown(("kind", "tried", *VERDICTS), lines)


@table("faults-machine")
def machine() -> str:
    """Where and how long the campaign ran."""
    content = results(FAULTS)
    where = content["environment"]
    minutes = content["seconds"] / 60
    commits = ", ".join(commit[:7] for commit in content["commits"])
    return f"{where['cpu']}, {where['cores']} cores, {minutes:.0f} minutes, {commits}"


def total(content: dict[str, Any]) -> dict[str, int]:
    """Verdict to number over all kinds."""
    kinds = content["inputs"].values()
    return {verdict: sum(found[verdict] for found in kinds) for verdict in VERDICTS}
