"""Every outcome of a campaign as soon as it is there, so that a campaign can be gone on with."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.outcome import BAD, VERDICTS, Outcome
from tests.faults.pool import Input


class Journal:
    """The outcomes of a campaign, in a file of JSON lines or in memory alone.

    Args:
        file: the outcomes that it holds count as found; None: nothing is kept.
        commit: whose sources are tried from here on.
    """

    def __init__(self, file: Path | None, commit: str | None) -> None:
        self._file, self._commit = file, commit
        self._session, self._began = time.time(), time.monotonic()
        self._lines: dict[Input, dict[str, Any]] = {}
        if file is not None and file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                self._lines[found["kind"], found["seed"]] = found

    def done(self) -> set[Input]:
        """The inputs that were tried, but for findings, which are tried again."""
        return {one for one, line in self._lines.items() if line["verdict"] not in BAD}

    def add(self, kind: str, seed: int, outcome: Outcome) -> None:
        """Note how an input ended."""
        line = {
            "kind": kind,
            "seed": seed,
            "verdict": outcome.verdict,
            "what": outcome.what,
            "commit": self._commit,
            "session": self._session,
            "seconds": round(time.monotonic() - self._began, 2),
        }
        self._lines[kind, seed] = line
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def figures(self, names: list[str]) -> dict[str, Any]:
        """Counts of the named kinds, the seconds of all sessions, and the commits tried."""
        counts = {name: Counter[str]() for name in names}
        sessions: dict[float, float] = {}
        lines = [line for line in self._lines.values() if line["kind"] in counts]
        for line in lines:
            counts[line["kind"]][line["verdict"]] += 1
            session = line["session"]
            sessions[session] = max(sessions.get(session, 0.0), line["seconds"])
        commits = dict.fromkeys(line["commit"] for line in lines)
        return {
            "inputs": {
                name: {one: found[one] for one in VERDICTS} for name, found in counts.items()
            },
            "seconds": round(sum(sessions.values())),
            "commits": list(commits),
        }
