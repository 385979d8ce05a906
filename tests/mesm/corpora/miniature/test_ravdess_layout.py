"""Reads the files as RAVDESS's users do: their names say everything."""

from __future__ import annotations

import re
from collections import Counter

import av
import numpy as np
import pytest
import soundfile

from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.plan import Planner
from mesm.corpora.miniature.ravdess_layout import FAULTS
from mesm.inputs.video import VideoError, frames_at
from mesm.inputs.waveforms import read_waveform

EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
NAME = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)\.(mp4|wav)")


def files_of(ravdess, clip_id):
    folder = ravdess.root / f"Actor_{clip_id[-2:]}"
    full, pictures, sound = (folder / f"{n}-{clip_id}" for n in ("01", "02", "03"))
    return full.with_suffix(".mp4"), pictures.with_suffix(".mp4"), sound.with_suffix(".wav")


def numbers(plan):
    """Channel, emotion, intensity, statement, repetition and actor."""
    return tuple(map(int, plan.name.split("-")))


@pytest.fixture(scope="module")
def planned():
    plans = FILES["ravdess"].plan(Planner("ravdess", 4), 2000, False)
    return {numbers(plan): plan for plan in plans}


def test_folders_are_the_actors(ravdess):
    actors = {t["clip_id"][-2:] for t in ravdess.truths}
    assert {path.name for path in ravdess.root.iterdir()} == {
        *(f"Actor_{actor}" for actor in actors),
        *("audio_speech_actors_01-24", "OpenFace", "glove.txt.gz", "ground_truth.jsonl"),
    }
    assert {"01", "02"} <= actors


def test_names_say_what_was_planted(ravdess):
    names = [path.name for path in ravdess.root.glob("Actor_*/*")]
    (bad,) = [name for name in names if not NAME.fullmatch(name)]
    assert bad.startswith("01-01-09-")
    assert {name[3:-4] for name in names if name != bad} == {t["clip_id"] for t in ravdess.truths}
    for truth in ravdess.truths:
        assert truth["emotions"] == [EMOTIONS[int(truth["clip_id"][3:5]) - 1]]
        # Both statements go with any emotion.
        assert truth["hints"]["text"] == "missing"


def test_there_are_takes_as_in_the_corpus(planned):
    """Songs of six emotions and not of actor 18, neutral of one intensity, nothing twice."""
    assert len(planned) == 2000
    channels = Counter(channel for channel, *_ in planned)
    assert channels[1] > channels[2] > 100
    assert {emotion for channel, emotion, *_ in planned if channel == 2} == set(range(1, 7))
    assert 18 not in {actor for channel, *_, actor in planned if channel == 2}
    assert {actor for *_, actor in planned} == set(range(1, 25))
    assert {n[2] for n in planned if n[1] == 1} == {1}
    assert {n[2] for n in planned if n[1] == 2} == {1, 2}


def test_a_small_corpus_has_few_actors_and_few_songs():
    plans = FILES["ravdess"].plan(Planner("ravdess", 4), 40, False)
    assert len({plan.speakers for plan in plans}) == 10
    songs = sum(plan.name.startswith("02") for plan in plans)
    assert 0 < songs <= 12
    # The same person, whatever the recording; even numbers are women.
    assert all(plan.high == (plan.speakers[0] % 2 == 0,) for plan in plans)


def test_as_many_clips_as_are_allowed_can_be_had():
    most = FILES["ravdess"].most_clips
    plans = FILES["ravdess"].plan(Planner("ravdess", 0), most, True)
    assert len({plan.name for plan in plans}) == most + len(FAULTS)


def test_the_statement_is_what_is_said(planned):
    said = {(n[3], plan.clips[0].text) for n, plan in planned.items()}
    assert {(number, text.split()[0]) for number, text in said} == {(1, "Kids"), (2, "Dogs")}


def test_a_recording_is_there_in_three_forms(ravdess):
    for truth in ravdess.good:
        full, pictures, sound = files_of(ravdess, truth["clip_id"])
        instants = [frame["time"] for frame in truth["frames"]]
        shown = [picture for _, picture in frames_at(full, instants)]
        alone = [picture for _, picture in frames_at(pictures, instants)]
        assert all(
            p is not None and np.array_equal(p, q) for p, q in zip(shown, alone, strict=True)
        )
        with av.open(str(pictures)) as container:
            assert not container.streams.audio
        with av.open(str(full)) as container:
            assert container.streams.audio[0].codec_context.name == "aac"
        info = soundfile.info(sound)
        assert (info.samplerate, info.channels, info.subtype) == (48_000, 1, "PCM_16")
        one, other = (read_waveform(file, 0.0, truth["end"]) for file in (full, sound))
        assert np.corrcoef(one, other)[0, 1] > 0.95


def test_every_fault_is_there_once(ravdess):
    assert sorted(t["fault"] for t in ravdess.truths if t["fault"]) == sorted(FAULTS)
    assert len(ravdess.good) == 10


def test_a_recording_may_lack_the_full_file_and_another_is_unreadable(ravdess):
    full, *others = files_of(ravdess, ravdess.fault("no_full_file")["clip_id"])
    assert not full.exists()
    assert all(file.stat().st_size > 1000 for file in others)
    full, pictures, _ = files_of(ravdess, ravdess.fault("unreadable_full_file")["clip_id"])
    with pytest.raises(VideoError, match="is cut short"):
        list(frames_at(full, [0.0]))
    assert next(iter(frames_at(pictures, [0.0])))[1] is not None


def test_copies_lie_in_another_folder(ravdess):
    clip_id = ravdess.fault("copied_files")["clip_id"]
    full, _, sound = files_of(ravdess, clip_id)
    folder = ravdess.root / "audio_speech_actors_01-24" / full.parent.name
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        file.name: file.read_bytes() for file in (full, sound)
    }
