"""Which column of a table is what, and which names were meant to be others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from itertools import combinations

from mesm.corpora.table.cells import check_emotion, read_number
from mesm.corpora.table.formats import COLUMNS
from mesm.corpora.table.problems import Problems

# Share of equal letters from which a name counts as another one misspelt: a letter in five is not.
NEAR = 0.8
# Shorter words differ by a letter and are others, as sad and mad.
SHORTEST_NEAR = 4
MOST_EMOTIONS = 100


def parse_labels(labels: str | None) -> list[str] | None:
    """Names in their order, out of "happy,sad"; None where nothing was given.

    Raises:
        ValueError: a name is none for an emotion, or there twice.
    """
    if labels is None:
        return None
    names = [name.strip() for name in labels.split(",")]
    for place, name in enumerate(names):
        try:
            check_emotion(name)
        except ValueError as error:
            raise ValueError(f"--labels {labels}: {error}") from None
        if name in names[:place]:
            raise ValueError(f"--labels {labels}: {name} is there twice")
        if name in COLUMNS:
            raise ValueError(f"--labels {labels}: {name} is a column of its own kind")
    return names


def parse_above(above: float | str | None) -> float | None:
    """The bound over which ratings count; ValueError if it is no finite number."""
    try:
        return None if above is None else read_number(str(above))
    except ValueError as error:
        raise ValueError(f"--above: {error}") from None


def emotion_columns(
    columns: Sequence[str],
    labels: Sequence[str] | None,
    above: float | None,
    problems: Problems,
) -> tuple[list[str], list[str]]:
    """The columns that are an emotion each, and those that are passed over.

    Args:
        columns: of the table.
        labels: names that were asked for; None: none were.
        above: the bound of ratings.
        problems: unknown columns that are nearly known ones, and missing ones, go here.

    Returns:
        No emotions' columns where there is a column `emotion`.
    """
    if not {"video", "audio", "text"} & set(columns):
        problems.in_head(None, "there is no column video, audio or text: nothing to learn from")
    unknown = [name for name in columns if name not in COLUMNS]
    wanted = dict.fromkeys(labels or ())
    for name in unknown:
        if name in wanted:
            continue
        near = nearest(name, [*COLUMNS, *wanted])
        if near is not None:
            problems.in_head(name, f"did you mean {near}? Write so, or leave the column out")
    if "emotion" in columns:
        if above is not None:
            problems.in_head("emotion", "--above is for a column per emotion; leave it out")
        for name in unknown:
            if name in wanted:
                problems.in_head(name, "beside the column emotion: leave one of them out")
        return [], unknown
    found = list(unknown) if labels is None else list(labels)
    for name in [name for name in found if name not in columns]:
        problems.in_head(name, "--labels names it, and there is neither it nor a column emotion")
    if not found:
        problems.in_head(None, "there is no column emotion, and no column per emotion: no labels")
    if labels is None:
        for name in found:
            try:
                check_emotion(name)
            except ValueError as error:
                problems.in_head(name, error)
        near_pairs(found, None, problems)
    return found, [name for name in unknown if name not in found]


def near_pairs(names: Sequence[str], lines: Sequence[int] | None, problems: Problems) -> None:
    """Note names of emotions that are nearly others.

    Args:
        names: all there are, in the order in which they came.
        lines: where each came first; None: they are columns.
        problems: where they go.
    """
    if len(names) > MOST_EMOTIONS:
        line, column = (problems.head, None) if lines is None else (lines[MOST_EMOTIONS], "emotion")
        problems.add(line, column, f"{len(names)} emotions; wanted at most {MOST_EMOTIONS}")
        return
    for (_, first), (place, second) in combinations(enumerate(names), 2):
        if alike(first, second):
            line, column = (problems.head, second) if lines is None else (lines[place], "emotion")
            mend = "write one as the other, or name both with --labels"
            problems.add(line, column, f"{second!r} is nearly {first!r}; {mend}")


def nearest(name: str, others: Sequence[str]) -> str | None:
    """The one of the others that was perhaps meant by a name; None: none was."""
    return next((other for other in others if alike(name, other)), None)


def alike(first: str, second: str) -> bool:
    """Whether names differ in case, spaces and the order of letters alone, or in few letters."""
    one, other = _plain(first), _plain(second)
    if sorted(one) == sorted(other):
        return True
    if min(len(one), len(other)) < SHORTEST_NEAR:
        return False
    return difflib.SequenceMatcher(None, one, other).ratio() >= NEAR


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", name.casefold())
