"""One input's outcome, and what the campaign counts."""

from __future__ import annotations

from dataclasses import dataclass

# The last four must not occur: another result than the right one without a word; an exception or
# a dump shown to the user; a process ended by a signal, or hanging; work or files lost.
VERDICTS = ("right", "refused", "skipped", "wrong", "traceback", "crashed", "lost")
BAD = VERDICTS[3:]


@dataclass(frozen=True)
class Outcome:
    """How one input ended.

    Args:
        verdict: one of `VERDICTS`.
        what: the input in words, and for a bad verdict what went wrong.
    """

    verdict: str
    what: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}")

    @property
    def is_bad(self) -> bool:
        """Whether it must not occur."""
        return self.verdict in BAD


def one_line(text: str, most: int = 300) -> str:
    """Text on one line, for a list of findings."""
    words = " ".join(text.split())
    return words if len(words) <= most else words[: most - 3] + "..."
