"""Single cells of a table: times, truths, texts and names of emotions."""

from __future__ import annotations

import math
import re

from mesm.corpora.table.formats import Cell

# Only 0 to 9: Python takes other scripts' digits, too.
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)", re.ASCII)
_TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1}
# Tables, commands and files give these another meaning; "all" is all clips' name there.
_NOT_IN_NAMES = frozenset("|,;/\\<>\"`*={}[]'")
# Some write these between emotions; names hold none of them.
_OTHER_SEPARATORS = re.compile(r"[,/|]")
RESERVED = ("all", "no emotion")
LONGEST_NAME = 40


def shown(value: Cell) -> str:
    """A cell in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_text(value: Cell) -> str:
    """A text; numbers without a point are taken as they are written.

    Raises:
        ValueError: true, false, or a number with a point.
    """
    if isinstance(value, bool | float):
        raise ValueError(f"wanted a text, got {shown(value)}; write it as one, in quotes")
    return "" if value is None else str(value)


def read_time(value: Cell) -> float | None:
    """Seconds; None where the cell is empty.

    Raises:
        ValueError: neither seconds from 0 on nor h:m:s.
    """
    if value is None:
        return None
    seconds = math.nan
    if isinstance(value, str):
        clock = _CLOCK.fullmatch(value)
        if _SECONDS.fullmatch(value):
            seconds = float(value)
        elif clock and int(clock[2]) < 60 and float(clock[3]) < 60:
            seconds = 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])
    elif not isinstance(value, bool):
        seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(
            f"wanted seconds such as 75.5, or h:m:s such as 0:01:15.5, got {shown(value)}"
        )
    return seconds


def read_number(value: str) -> float:
    """A finite number of a text.

    Raises:
        ValueError: it is none.
    """
    number = float(value) if _NUMBER.fullmatch(value) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"wanted a number, got {shown(value)}")
    return number


def read_truth(value: Cell, above: float | None) -> int:
    """Whether an emotion is there: 0 or 1.

    Args:
        value: 0, 1, true or false; or a rating, where there is a bound.
        above: ratings over it count as there; None: there are no ratings.

    Raises:
        ValueError: the cell is empty, or something else.
    """
    if value is None:
        wanted = "0 or 1" if above is None else "a rating, a number"
        mend = "leave the clip out, or name the emotions' columns with --labels"
        raise ValueError(f"it is empty; write {wanted}, {mend}")
    if above is not None:
        try:
            if isinstance(value, bool):
                raise ValueError
            rating = read_number(value) if isinstance(value, str) else float(value)
            if not math.isfinite(rating):
                raise ValueError
        except (ValueError, OverflowError):
            raise ValueError(f"wanted a rating, a number, got {shown(value)}") from None
        return int(rating > above)
    if isinstance(value, str):
        found = _TRUTHS.get(value.lower())
        if found is None and _NUMBER.fullmatch(value) and float(value) in (0, 1):
            found = int(float(value))
    else:
        found = int(value) if value in (0, 1) else None
    if found is None:
        mend = "; give --above for ratings, or name the emotions' columns with --labels"
        raise ValueError(f"wanted 0, 1, true or false, got {shown(value)}{mend}")
    return found


def read_emotions(value: Cell) -> list[str]:
    """The names in a cell, with ; between them; none where it is empty.

    Raises:
        ValueError: a name is empty, there twice, or none for an emotion.
    """
    text = read_text(value)
    if not text:
        return []
    names = [name.strip() for name in text.split(";")]
    if not names[-1]:
        raise ValueError(f"{shown(text)} ends with ;, which stands between names; leave it out")
    if not all(names):
        raise ValueError(f"{shown(text)} has no name before a ;, which stands between names")
    for place, name in enumerate(names):
        several = [part.strip() for part in _OTHER_SEPARATORS.split(name)]
        if len(several) > 1 and all(several):
            mend = f"if it is several, write {';'.join(several)}"
            raise ValueError(f"{shown(name)} is no emotion's name; {mend}")
        check_emotion(name)
        if name in names[:place]:
            raise ValueError(f"it names {name!r} twice")
    return names


def check_emotion(name: str) -> str:
    """The name of an emotion.

    Raises:
        ValueError: tables, commands and files cannot have it.
    """
    wrong = None
    if not name:
        wrong = "is empty"
    elif name in RESERVED:
        wrong = "has a meaning of its own in tables"
    elif not name.isprintable() or _NOT_IN_NAMES & set(name):
        wrong = f"has one of {' '.join(sorted(_NOT_IN_NAMES))}, or a sign that is not printed"
    elif len(name) > LONGEST_NAME:
        wrong = f"is longer than {LONGEST_NAME} letters"
    if wrong is not None:
        raise ValueError(f"the emotion's name {shown(name)} {wrong}; give it another")
    return name
