"""Writes the measured figures into the documents; see the package's own words."""

from __future__ import annotations

import argparse
import sys

from benchmarks.environment import ROOT
from benchmarks.tables.regions import documents, fill
from benchmarks.tables.registry import load
from mesm.runs.files import write_beside


def main() -> None:
    """Rewrite the documents, or with --check name those that are out of date."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tables",
        description="Figures of README.md and docs/ from their JSON",
    )
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    check = parser.parse_args().check
    tables, stale = load(), []
    for path in documents():
        text = path.read_text()
        try:
            filled = fill(text, tables)
        except ValueError as error:
            sys.exit(f"error: {path.relative_to(ROOT)}: {error}")
        if filled != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                write_beside(path, filled)
    print("\n".join(stale) if stale else "every figure is that of its JSON")
    if stale and check:
        sys.exit("error: out of date; run make tables")


if __name__ == "__main__":
    main()
