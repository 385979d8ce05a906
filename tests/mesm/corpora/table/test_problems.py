"""All that is wrong with a table is told at once."""

from __future__ import annotations

from collections.abc import Callable

from mesm.corpora.table.problems import MOST_SHOWN
from mesm.corpora.utterances import RawCorpus
from tests.mesm.corpora.table.tables import wrong


def test_the_first_are_shown_and_the_rest_counted(read: Callable[..., RawCorpus]):
    rows = [{"video": f"{place}.mp4", "emotion": "sad"} for place in range(50)]
    lines = wrong(read, rows)
    assert len(lines) == MOST_SHOWN + 1
    assert lines[0].startswith("line 2, ")
    assert lines[-1] == f"and {50 - MOST_SHOWN} more"
