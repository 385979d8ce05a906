"""Reads the files as CREMA-D's users do."""

from __future__ import annotations

import csv
import re

import av
import numpy as np
import pytest
import soundfile

from mesm.corpora.miniature.crema_d_layout import FAULTS
from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.plan import Planner
from mesm.inputs.video import VideoError, frames_at
from mesm.inputs.waveforms import read_waveform

CODES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
SENTENCES = ["DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI"]
NAME = re.compile(r"(1\d{3})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX)")
COLUMNS = ",FileName,VoiceVote,VoiceLevel,FaceVote,FaceLevel,MultiModalVote,MultiModalLevel"


def sound_of(crema_d, clip_id):
    return crema_d.root / "AudioWAV" / f"{clip_id}.wav"


def video_of(crema_d, clip_id):
    return crema_d.root / "VideoFlash" / f"{clip_id}.flv"


@pytest.fixture(scope="module")
def names():
    return [plan.name for plan in FILES["crema_d"].plan(Planner("crema_d", 4), 5000, False)]


def test_folders_and_files(crema_d):
    assert {path.name for path in crema_d.root.iterdir()} == {
        *("AudioWAV", "VideoFlash", "processedResults", "VideoDemographics.csv"),
        *("OpenFace", "glove.txt.gz", "ground_truth.jsonl"),
    }


def test_names_say_what_was_planted(crema_d):
    for truth in crema_d.truths:
        match = NAME.fullmatch(truth["clip_id"])
        assert match[2] in SENTENCES
        assert truth["emotions"] == [CODES[match[3]]]
        assert truth["hints"]["text"] == "missing"


def test_there_are_takes_as_in_the_corpus(names):
    assert len(set(names)) == len(names)
    parts = [NAME.fullmatch(name).groups() for name in names]
    assert {actor for actor, *_ in parts} == {str(actor) for actor in range(1001, 1092)}
    assert {sentence for _, sentence, *_ in parts} == set(SENTENCES)
    assert {emotion for _, _, emotion, _ in parts} == set(CODES)
    for _, sentence, emotion, level in parts:
        assert (level != "XX") == (sentence == "IEO" and emotion != "NEU")


def test_as_many_clips_as_are_allowed_can_be_had():
    most = FILES["crema_d"].most_clips
    plans = FILES["crema_d"].plan(Planner("crema_d", 0), most, True)
    assert len({plan.name for plan in plans}) == most + len(FAULTS)


def test_sound_is_at_16_khz(crema_d):
    for truth in crema_d.good:
        info = soundfile.info(sound_of(crema_d, truth["clip_id"]))
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.duration == pytest.approx(truth["end"], abs=1e-3)
        assert read_waveform(sound_of(crema_d, truth["clip_id"]), 0.0, truth["end"]).std() > 0.003


def test_videos_are_sorensons_with_uneven_times(crema_d):
    for truth in crema_d.good:
        path = video_of(crema_d, truth["clip_id"])
        with av.open(str(path)) as container:
            (stream,) = container.streams
            assert (stream.width, stream.height) == (360, 270)
            assert stream.codec_context.name == "flv"
            times = [frame.time for frame in container.decode(stream)]
        assert len(times) == round(6 * truth["end"])
        gaps = np.diff(times)
        assert (gaps > 0.1).all()
        assert np.ptp(gaps) > 0.03
        # Where a face is looked at, a picture begins.
        instants = [frame["time"] for frame in truth["frames"]]
        assert all(min(abs(time - instant) for time in times) < 1e-6 for instant in instants)
        assert all(picture is not None for _, picture in frames_at(path, instants))


def test_votes_are_of_what_is_shown_or_ties_with_it(crema_d):
    text = (crema_d.root / "processedResults/summaryTable.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == COLUMNS
    rows = {row["FileName"]: row for row in csv.DictReader(text.splitlines())}
    assert rows.keys() == {t["clip_id"] for t in crema_d.truths}
    for truth in crema_d.truths:
        row, (emotion,) = rows[truth["clip_id"]], truth["emotions"]
        signalled = {"Voice": "sound", "Face": "face"}
        shown = {kind: truth["signalled"][cue] or "neutral" for kind, cue in signalled.items()}
        for kind, seen in {**shown, "MultiModal": emotion}.items():
            votes = row[f"{kind}Vote"].split(":")
            assert seen[0].upper() in votes
            assert set(votes) <= set("ADFHNS")
            levels = [float(level) for level in row[f"{kind}Level"].split(":")]
            assert len(levels) == len(votes) <= 2
            assert all(0 <= level <= 100 for level in levels)


def test_some_votes_are_ties(tmp_path):
    plans = FILES["crema_d"].plan(Planner("crema_d", 1), 200, False)
    (tmp_path / "processedResults").mkdir()
    FILES["crema_d"].write_labels(tmp_path, plans, 1)
    text = (tmp_path / "processedResults/summaryTable.csv").read_text(encoding="utf-8")
    votes = [row["MultiModalVote"] for row in csv.DictReader(text.splitlines())]
    assert 5 < sum(":" in vote for vote in votes) < 40


def test_actors_are_described(crema_d):
    text = (crema_d.root / "VideoDemographics.csv").read_text(encoding="utf-8")
    rows = {row["ActorID"]: row for row in csv.DictReader(text.splitlines())}
    assert rows.keys() == {t["clip_id"][:4] for t in crema_d.truths}
    assert {row["Sex"] for row in rows.values()} == {"Male", "Female"}
    assert all(20 <= int(row["Age"]) <= 74 for row in rows.values())


def test_every_fault_is_there_once(crema_d):
    assert sorted(t["fault"] for t in crema_d.truths if t["fault"]) == sorted(FAULTS)
    assert len(crema_d.good) == 10


def test_a_silent_recording(crema_d):
    truth = crema_d.fault("silent_sound")
    assert truth["clip_id"] == "1076_MTI_SAD_XX"
    samples, _ = soundfile.read(sound_of(crema_d, truth["clip_id"]))
    assert len(samples) > 16_000
    assert not samples.any()
    assert truth["sound"] == []
    assert video_of(crema_d, truth["clip_id"]).is_file()


def test_one_half_of_a_recording_may_be_missing(crema_d):
    unheard, unseen = crema_d.fault("missing_wav"), crema_d.fault("missing_video")
    assert not sound_of(crema_d, unheard["clip_id"]).exists()
    assert video_of(crema_d, unheard["clip_id"]).stat().st_size > 1000
    assert unheard["sound"] == []
    assert sound_of(crema_d, unseen["clip_id"]).stat().st_size > 1000
    assert not video_of(crema_d, unseen["clip_id"]).exists()
    assert not any(frame["action_units"] for frame in unseen["frames"])


def test_an_unreadable_video(crema_d):
    path = video_of(crema_d, crema_d.fault("unreadable_video")["clip_id"])
    with pytest.raises(VideoError, match="cannot be opened"):
        list(frames_at(path, [0.0]))


def test_a_bad_name(crema_d):
    names = {path.stem for path in (crema_d.root / "AudioWAV").iterdir()}
    assert names - {t["clip_id"] for t in crema_d.truths} == {"1001_XYZ_ANG_XX"}
