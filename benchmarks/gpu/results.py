"""The results on disk: written after every row, and resumed by the next run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.row import Facts
from benchmarks.report import write_json


class Results:
    """Rows of one commit on one device.

    Results of other sources or another device that lie in the file's place are moved aside.

    Args:
        path: the JSON file.
        facts: facts about the machine; "name" is the device's name.
        sources: digest of the measured sources.
        again: forget rows that ended in an error.
    """

    def __init__(self, path: Path, facts: Facts, sources: str, again: bool = False) -> None:
        self.path = path
        self.content: dict[str, Any] = {"machine": facts, "sources": sources, "rows": []}
        if not path.is_file():
            return
        before = json.loads(path.read_text())
        if (before["sources"], before["machine"]["name"]) != (sources, facts["name"]):
            path.replace(path.with_name(f"{path.stem}-{before['sources']}{path.suffix}"))
            return
        kept = before["rows"]
        if again:
            failed = {row["row"] for row in kept if "error" in row}
            kept = [row for row in kept if row["row"] not in failed]
        self.content["rows"] = kept

    @property
    def rows(self) -> list[Facts]:
        """All rows so far."""
        rows: list[Facts] = self.content["rows"]
        return rows

    def has(self, name: str) -> bool:
        """Whether a row of this name was measured, or failed."""
        return any(row["row"] == name for row in self.rows)

    def add(self, name: str, facts: Facts, goals: Facts) -> Facts:
        """Keep the facts found for a row, with the goals for these facts."""
        known = {key: goal for key, goal in goals.items() if key in facts}
        row = {"row": name, **facts} | ({"goals": known} if known else {})
        self.rows.append(row)
        self.write()
        return row

    def write(self, **further: Any) -> None:
        """Write the file, with further keys from now on."""
        self.content |= further
        write_json(self.path, self.content)
