"""The costs of a prediction, beside those that are wanted."""

from __future__ import annotations

import pytest

from benchmarks.tables import predicting


def test_measured_beside_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"pictures_decoded": 0.1, "faces": 0.25, "sound_and_spectrogram": 0.01, "model": 0.3}
    frames = {"ours": 43.4, "facenet_pytorch": 20.6}
    clip = {"seconds": 10.0, "all": 0.836, "frames_per_second": frames} | parts
    long = {
        "seconds": 7200,
        "wall_s": 240.2,
        "times_real_time": 30.0,
        "cpu_s": 400,
        "peak_mib": 768,
    }
    monkeypatch.setattr(predicting, "results", lambda name: {"clip": clip, "long": long})
    header, _, *lines = predicting.speed().splitlines()
    assert header.endswith("| measured | wanted |")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [line[1:] for line in cells] == [
        ["0.84 s", "1 s"],
        ["pictures decoded 0.10, faces 0.25, sound and spectrogram 0.01, model 0.30", ""],
        ["43; facenet-pytorch 21", "100"],
        ["240 s, 30 times real time; 400 s of one core", "30 times"],
        ["0.75 GiB", "1.5 GiB"],
    ]
    assert cells[0][0].startswith("clip of 10 s")
    assert cells[3][0] == "2 h, the demo model"
