"""One's own corpus: a table of clips, a line each, and the media that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesm.corpora.splits import SplitPolicy
from mesm.corpora.utterances import RawCorpus


def own_split(file: Path) -> SplitPolicy:
    """As `mesm.corpora.table.reader.own_split`, which is imported only to read."""
    from mesm.corpora.table import reader

    return reader.own_split(file)


def read_table(file: Path, **options: Any) -> RawCorpus:
    """As `mesm.corpora.table.reader.read_table`, likewise."""
    from mesm.corpora.table import reader

    return reader.read_table(file, **options)
