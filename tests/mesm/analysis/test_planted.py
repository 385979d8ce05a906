"""From video pixels, dialog seconds and hertz to the cells a block sees."""

import json
from pathlib import Path

import librosa
import numpy as np
import pytest

from mesm.analysis.planted import (
    coverage,
    face_regions,
    hertz_to_bin,
    read_ground_truth,
    sound_regions,
    to_crop,
)


def entry(**changes: object) -> dict[str, object]:
    unit = {"au": 12, "name": "lip corner puller", "intensity": 0.8}
    planted = {
        "clip_id": "Ses01F_impro01_F000",
        "dialog": "Ses01F_impro01",
        "start": 10.0,
        "end": 12.0,
        "emotions": ["happy"],
        "hints": {"text": "true", "face": "true", "sound": "missing"},
        "signalled": {"text": "happy", "face": "happy", "sound": None},
        "frames": [
            {
                "time": 10.0,
                "face_box": [90, 90, 210, 210],
                "action_units": [unit | {"regions": [[120, 160, 140, 180]]}],
            },
            {
                "time": 10.5,
                "face_box": [90, 90, 210, 210],
                "action_units": [unit | {"intensity": 0.0, "regions": [[120, 160, 140, 180]]}],
            },
        ],
        "sound": [{"start": 10.5, "end": 11.0, "low_hz": 200, "high_hz": 1000, "cue": "pitch"}],
        "fault": None,
    }
    return planted | changes


def write(path: Path, *entries: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in entries), encoding="utf-8")
    return path


def test_face_regions_follow_the_crop_in_time_and_space(tmp_path: Path) -> None:
    clip = read_ground_truth(write(tmp_path / "ground_truth.jsonl", entry()))["Ses01F_impro01_F000"]
    boxes = np.array([[100, 100, 196, 196]] * 3, dtype=np.float32)
    first, silent, elsewhere = face_regions(clip, [10.001, 10.5, 10.2], boxes)
    np.testing.assert_allclose(first, [[10, 30, 20, 40]])
    assert len(silent) == 0  # intensity 0 plants nothing
    assert len(elsewhere) == 0  # no planted instant is near


def test_two_emotions_on_a_face_are_told_apart_by_the_half_that_is_named(tmp_path: Path) -> None:
    units = [
        {"au": 4, "half": "upper", "intensity": 0.9, "regions": [[110, 110, 120, 120]]},
        {"au": 12, "half": "lower", "intensity": 0.8, "regions": [[120, 160, 140, 180]]},
    ]
    frame = {"time": 10.0, "face_box": [90, 90, 210, 210], "action_units": units}
    lines = [
        entry(
            clip_id=named,
            where={"upper": "angry", "lower": "happy", "named": named},
            frames=[frame],
        )
        for named in ("upper", "lower")
    ]
    clips = read_ground_truth(write(tmp_path / "ground_truth.jsonl", *lines))
    boxes = np.array([[100, 100, 196, 196]], dtype=np.float32)
    halves = {"upper": [[5, 5, 10, 10]], "lower": [[10, 30, 20, 40]]}
    for named, other in (("upper", "lower"), ("lower", "upper")):
        (true,) = face_regions(clips[named], [10.0], boxes)
        (misleading,) = face_regions(clips[named], [10.0], boxes, misleading=True)
        np.testing.assert_allclose(true, halves[named])
        np.testing.assert_allclose(misleading, halves[other])


def test_crop_clips_and_drops() -> None:
    regions = np.array([[0.0, 0, 10, 10], [90, 90, 110, 110]])
    box = np.array([100.0, 100, 148, 148])
    np.testing.assert_allclose(to_crop(regions, box), [[0, 0, 10, 10]])
    assert len(to_crop(regions, np.array([5.0, 5, 5, 5]))) == 0


def test_mel_axis_is_librosas() -> None:
    centres = librosa.mel_frequencies(130, fmin=0, fmax=8000)[1:-1]
    places = [hertz_to_bin(float(centre), 0, 8000) for centre in centres]
    np.testing.assert_allclose(places, np.arange(128) + 0.5, atol=1e-9)


def test_sound_regions_in_columns_and_bins(tmp_path: Path) -> None:
    clip = read_ground_truth(write(tmp_path / "ground_truth.jsonl", entry()))["Ses01F_impro01_F000"]
    ((x0, y0, x1, y1),) = sound_regions(clip, columns=160)
    assert (x0, x1) == (40.5, 80.5)
    assert y0 == pytest.approx(hertz_to_bin(200, 0, 8000))
    assert y1 == pytest.approx(hertz_to_bin(1000, 0, 8000))
    assert len(sound_regions(clip, columns=32)) == 0  # beyond the clip's end


def test_coverage_is_the_union_by_area() -> None:
    regions = np.array([[0.0, 0, 2, 2], [0, 0, 2, 2], [4, 4, 7, 8]])
    np.testing.assert_allclose(coverage(regions, 8, 8, 4), [[0.25, 0], [0, 0.75]])
    assert not coverage(np.zeros((0, 4)), 8, 8, 4).any()


@pytest.mark.parametrize("line", ['{"clip_id": "a"}', "nonsense", "[]"])
def test_bad_ground_truth_names_the_line(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "ground_truth.jsonl", entry())
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ground_truth\.jsonl:2"):
        read_ground_truth(path)


def test_missing_ground_truth_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mesm miniature"):
        read_ground_truth(tmp_path / "nowhere.jsonl")
