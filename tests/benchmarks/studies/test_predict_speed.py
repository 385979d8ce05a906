"""Recordings made longer, packet by packet."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from benchmarks.studies.predict_speed import repeated
from tests.mesm.inference.recordings import film


def test_a_recording_over_and_over(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", 2.0)
    long = repeated(source, tmp_path / "b.mp4", 7.0)
    with av.open(str(long)) as container:
        assert container.duration / av.time_base == pytest.approx(7.0, abs=0.2)
        times = [frame.time for frame in container.decode(video=0)]
    assert times == sorted(times)
    assert len(times) == pytest.approx(70, abs=3)
