"""How much the page takes: bytes, seconds and letters; each refusal says what came and the mend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mesm.inference.cutting import LONGEST_PIECE, LONGEST_TEXT
from mesm.inference.recording import InputError, Recording

MEGABYTE = 1_000_000
# Subtitles of a day have some two megabytes.
MOST_SUBTITLE_BYTES = 4 * MEGABYTE
# All uploads together, of all who look at the page, in multiples of the largest one.
MOST_UPLOADS = 10


@dataclass(frozen=True)
class Limits:
    """The most that an upload may have.

    Attributes:
        megabytes: of a file.
        minutes: of a recording.
    """

    megabytes: int = 200
    minutes: float = 10.0

    def __post_init__(self) -> None:
        if self.megabytes < 1:
            raise ValueError(f"--most-megabytes: wanted at least 1, got {self.megabytes}")
        if not self.minutes > 0:
            raise ValueError(f"--most-minutes: wanted more than 0, got {self.minutes:g}")

    @property
    def bytes(self) -> int:
        """The most bytes that a file may have."""
        return self.megabytes * MEGABYTE

    def check_file(self, file: Path) -> None:
        """Refuse, with an InputError, a file that is too large."""
        size = file.stat().st_size
        if size > self.bytes:
            raise InputError(
                f"{file} has {size / MEGABYTE:.0f} MB, wanted at most {self.megabytes}; cut it, or "
                "predict it with `mesm predict`"
            )

    def check_length(self, recording: Recording) -> None:
        """Refuse, with an InputError, a recording that is too long."""
        minutes = recording.seconds / 60
        if minutes > self.minutes:
            raise InputError(
                f"{recording.path} lasts {minutes:.1f} minutes, wanted at most {self.minutes:g}; "
                "cut it, or predict it with `mesm predict`"
            )


def check_text(text: str, recording: Recording | None = None) -> None:
    """Refuse, with an InputError, words that are too many, or that belong to several pieces.

    Args:
        text: what was typed.
        recording: that it is of; None: it is not known yet.
    """
    if len(text) > LONGEST_TEXT:
        raise InputError(
            f"the text has {len(text)} letters, wanted at most {LONGEST_TEXT}; take what is said "
            "in the clip alone, or upload its subtitles"
        )
    if recording is not None and text.strip() and recording.seconds > LONGEST_PIECE:
        raise InputError(
            f"{recording.path} lasts {recording.seconds:.1f} s, and a typed text belongs to a clip "
            f"of at most {LONGEST_PIECE:g} s; upload subtitles (SRT or WebVTT) instead, or leave "
            "the text out"
        )


def check_subtitles(file: Path) -> None:
    """Refuse, with an InputError, a file that is too large for subtitles."""
    size = file.stat().st_size
    if size > MOST_SUBTITLE_BYTES:
        raise InputError(
            f"{file} has {size / MEGABYTE:.0f} MB, wanted SRT or WebVTT of at most "
            f"{MOST_SUBTITLE_BYTES // MEGABYTE}; upload the subtitles of the clip alone"
        )
