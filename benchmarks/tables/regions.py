"""Regions of a document between `<!-- figures: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.tables.registry import Table

START = re.compile(r"<!-- figures: (?P<name>[\w-]+) -->")
END = "<!-- end -->"


def documents() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def names(text: str) -> list[str]:
    """The names of a document's regions, in order."""
    return [match["name"] for match in START.finditer(text)]


def fill(text: str, tables: Mapping[str, Table]) -> str:
    """Write every region of a document anew.

    Args:
        text: a document in Markdown.
        tables: what gives a region its content, by the region's name.

    Returns:
        The document; equal to `text` if no region was out of date.

    Raises:
        ValueError: a region has an unknown name, no end before the next one begins, or begins
            a line though it is a few words: Markdown would take the line for HTML.
    """
    parts, position = [], 0
    for match in START.finditer(text):
        if match["name"] not in tables:
            raise ValueError(f"no table is named {match['name']}; there are {sorted(tables)}")
        end = text.find(END, match.end())
        following = START.search(text, match.end())
        if end < 0 or (following and following.start() < end):
            raise ValueError(f"the region {match['name']} has no {END}")
        content = tables[match["name"]]()
        if "\n" in content:
            content = f"\n{content}\n"
        elif text[: match.start()].endswith("\n"):
            raise ValueError(f"the region {match['name']} of a few words must not begin a line")
        parts += [text[position : match.end()], content]
        position = end
    return "".join([*parts, text[position:]])
