"""Too much is refused with what came and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesm.inference.recording import InputError, Recording
from mesm.web.limits import Limits, check_subtitles, check_text


def recording(seconds: float) -> Recording:
    return Recording(Path("talk.mp4"), True, True, 0.0, seconds)


def test_files_and_recordings(tmp_path: Path) -> None:
    file = tmp_path / "talk.mp4"
    with file.open("wb") as made:
        made.truncate(3_000_000)
    Limits(3).check_file(file)
    with pytest.raises(InputError, match=r"talk.mp4 has 3 MB, wanted at most 2; cut it"):
        Limits(2).check_file(file)
    Limits(minutes=1).check_length(recording(60))
    with pytest.raises(InputError, match=r"talk.mp4 lasts 1.5 minutes, wanted at most 1; cut it"):
        Limits(minutes=1).check_length(recording(90))
    with file.open("wb") as made:
        made.truncate(5_000_000)
    with pytest.raises(InputError, match="has 5 MB, wanted SRT or WebVTT of at most 4"):
        check_subtitles(file)


def test_words() -> None:
    check_text("x" * 10_000, recording(15))
    check_text(" ", recording(100))
    with pytest.raises(InputError, match="1000000 letters, wanted at most 10000"):
        check_text("x" * 1_000_000)
    with pytest.raises(InputError, match=r"lasts 15.1 s.*upload subtitles"):
        check_text("x", recording(15.1))


def test_limits_that_are_none() -> None:
    with pytest.raises(ValueError, match="--most-megabytes: wanted at least 1, got 0"):
        Limits(0)
    for minutes in (0.0, float("nan")):
        with pytest.raises(ValueError, match="--most-minutes: wanted more than 0"):
            Limits(minutes=minutes)
