"""Reads the files as CMU-MOSEI's users do."""

from __future__ import annotations

import csv

import av
import soundfile

COLUMNS = {
    "angry": "Answer.anger",
    "disgusted": "Answer.disgust",
    "fear": "Answer.fear",
    "happy": "Answer.happiness",
    "sad": "Answer.sadness",
    "surprised": "Answer.surprise",
}


def test_folders(mosei):
    folders = {str(p.relative_to(mosei.root)) for p in mosei.root.rglob("*") if p.is_dir()}
    leaves = {
        "Audio/WAV_16000",
        "Videos/Full/Combined",
        "Transcript/Combined",
        "Labels",
        "OpenFace",
    }
    assert folders == leaves | {"Audio", "Videos", "Videos/Full", "Transcript"}


def test_transcripts_have_five_fields(mosei):
    found = {}
    for path in (mosei.root / "Transcript/Combined").glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            video, clip, start, end, text = line.split("___")
            assert video == path.stem
            assert text
            found[f"{video}_{clip}"] = (float(start), float(end))
    assert found == {t["clip_id"]: (t["start"], t["end"]) for t in mosei.truths}


def test_emotions_are_those_with_a_positive_sum_over_annotators(mosei):
    sums = {}
    rows = {}
    for path in (mosei.root / "Labels").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                clip = f"{row['Input.VIDEO_ID']}_{row['Input.CLIP']}"
                rows[clip] = rows.get(clip, 0) + 1
                totals = sums.setdefault(clip, dict.fromkeys(COLUMNS, 0))
                for emotion, column in COLUMNS.items():
                    totals[emotion] += int(row[column])
    assert set(rows.values()) == {3}
    labels = {clip: {e for e, n in totals.items() if n > 0} for clip, totals in sums.items()}
    expected = {t["clip_id"]: set(t["emotions"]) for t in mosei.truths if t["fault"] != "no_labels"}
    assert labels == expected


def test_some_clips_have_two_emotions(mosei):
    assert {len(t["emotions"]) for t in mosei.truths} >= {1, 2}


def test_media_can_be_read(mosei):
    broken = mosei.fault("truncated_video")["dialog"]
    for path in (mosei.root / "Videos/Full/Combined").glob("*.mp4"):
        if path.stem == broken:
            continue
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (480, 270)
            assert stream.average_rate == 6
            shown = sum(1 for _ in container.decode(stream)) / float(stream.average_rate)
        ends = [t["end"] for t in mosei.truths if t["dialog"] == path.stem]
        assert max(ends) < shown < max(ends) + 1.5
    for path in (mosei.root / "Audio/WAV_16000").glob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
