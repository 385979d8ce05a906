"""RAVDESS' layout, and what its users report of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.ravdess import EMOTIONS, read_ravdess
from mesm.corpora.utterances import RawCorpus, Utterance
from tests.mesm.corpora.damages import damage
from tests.mesm.corpora.tiny_media import write_sound, write_video

# As names without the modality: channel, emotion, intensity, statement, repetition, actor.
FULL, JOINED, SEEN, HEARD = (
    *("01-06-01-02-01-12", "01-01-01-01-02-12"),
    *("01-08-02-01-01-05", "01-03-01-01-01-05"),
)
SONG = "02-05-02-01-01-12"


def place(raw: Path, name: str, archive: str) -> Path:
    """Where an archive puts a file."""
    return raw / archive / f"Actor_{name.partition('.')[0][-2:]}" / name


def build(raw: Path) -> Path:
    videos, sounds = "Video_Speech_Actor_12", "Audio_Speech_Actors_01-24"
    write_video(place(raw, f"01-{FULL}.mp4", videos), sound=1.0)
    write_video(place(raw, f"02-{FULL}.mp4", videos))
    write_sound(place(raw, f"03-{FULL}.wav", sounds))
    write_video(place(raw, f"02-{JOINED}.mp4", videos))
    write_sound(place(raw, f"03-{JOINED}.wav", sounds))
    write_video(place(raw, f"02-{SEEN}.mp4", "Video_Speech_Actor_05"))
    write_sound(place(raw, f"03-{HEARD}.wav", sounds), 1.5)
    write_video(place(raw, f"01-{SONG}.mp4", "Video_Song_Actor_12"), sound=1.0)
    return raw


def found(corpus: RawCorpus) -> dict[str, Utterance]:
    return {utterance.clip_id: utterance for utterance in corpus.utterances}


def test_clips_from_the_names_of_files(tmp_path: Path) -> None:
    raw = build(tmp_path)
    corpus = read_ravdess(raw)
    clips = found(corpus)
    assert sorted(clips) == sorted([FULL, JOINED, SEEN, HEARD])
    full = clips[FULL]
    assert full.video == full.audio == place(raw, f"01-{FULL}.mp4", "Video_Speech_Actor_12")
    assert full.text == "Dogs are sitting by the door"
    assert full.labels == tuple(int(name == "fearful") for name in EMOTIONS)
    assert (full.speaker, full.dialog) == ("Actor_12", "Actor_12")
    assert (full.start, full.end) == (0.0, pytest.approx(1.0, abs=0.1))
    joined = clips[JOINED]
    assert joined.video == place(raw, f"02-{JOINED}.mp4", "Video_Speech_Actor_12")
    assert joined.audio == place(raw, f"03-{JOINED}.wav", "Audio_Speech_Actors_01-24")
    assert joined.text == "Kids are talking by the door"
    assert joined.labels == tuple(int(name == "neutral") for name in EMOTIONS)
    assert clips[SEEN].audio is None
    assert clips[SEEN].labels == tuple(int(name == "surprised") for name in EMOTIONS)
    assert (clips[HEARD].video, clips[HEARD].end) == (None, 1.5)
    assert corpus.single_label
    assert not corpus.skipped


def test_what_is_read_otherwise_is_noted(tmp_path: Path) -> None:
    corpus = read_ravdess(build(tmp_path))
    assert corpus.notes == [
        "passed over 1 files of songs, which --song reads",
        "3 clips have no file 01, and are read from 02 (pictures) and 03 (sound), or the one of "
        f"them that is there: {JOINED}, {HEARD}, {SEEN}",
        "speech: 4 clips can be used, 1440 were published",
        "1436 clips of speech are not there: 01-01-01-01-01-01, 01-01-01-01-02-01, "
        "01-01-01-02-01-01, 01-01-01-02-02-01, 01-02-01-01-01-01, ...",
    ]


def test_songs_are_read_if_they_are_asked_for(tmp_path: Path) -> None:
    corpus = read_ravdess(build(tmp_path), song=True)
    assert found(corpus)[SONG].labels == tuple(int(name == "angry") for name in EMOTIONS)
    assert corpus.title == "RAVDESS with songs"
    assert "song: 1 clips can be used, 1012 were published" in corpus.notes
    assert any(note.startswith("1011 songs are not there: 02-01") for note in corpus.notes)
    with pytest.raises(ValueError, match="song must be true or false, got 'yes'"):
        read_ravdess(tmp_path, song="yes")  # type: ignore[arg-type]


def test_second_copies_and_other_files_are_passed_over(tmp_path: Path) -> None:
    raw = build(tmp_path)
    copy = write_video(raw / "a" / "deeper" / "copy" / "Actor_12" / f"01-{FULL}.mp4")
    write_video(raw / "holiday.mp4")
    write_video(place(raw, f"._01-{FULL}.mp4", "Video_Speech_Actor_12"))
    corpus = read_ravdess(raw)
    assert corpus.notes[:2] == [
        "passed over 1 files, a clip's second copies, the nearest one kept: "
        f"{copy.relative_to(raw)}",
        "passed over 1 files, no names of RAVDESS: holiday.mp4",
    ]
    assert found(corpus)[FULL].video != copy


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("01-01-09-01-01-01-12.mp4", "unreadable name", "emotion 09, wanted 01 to 08"),
        ("01-01-01-02-01-01-12.mp4", "unreadable name", "intensity 02, wanted 01 to 01"),
        ("01-01-02-01-03-01-12.mp4", "unreadable name", "statement 03, wanted 01 to 02"),
        ("01-01-02-01-01-00-12.mp4", "unreadable name", "repetition 00, wanted 01 to 02"),
        ("01-03-02-01-01-01-12.mp4", "unreadable name", "channel 03, wanted 01 to 02"),
        ("01-02-07-01-01-01-12.mp4", "unreadable name", "emotion 07, wanted 01 to 06"),
        ("01-01-02-01-01-01-25.mp4", "unreadable name", "actor 25, wanted 01 to 24"),
        ("04-01-02-01-01-01-12.mp4", "unreadable name", "modality 04, wanted 01 to 03"),
        ("03-01-02-01-01-01-12.mp4", "unreadable name", ".mp4 of modality 03, wanted .wav"),
        ("01-01-02-01-01-01-11.mp4", "in another actor's folder", ""),
    ],
)
def test_names_with_a_wrong_code_are_left_out(
    tmp_path: Path, name: str, reason: str, detail: str
) -> None:
    raw = build(tmp_path)
    file = write_video(raw / "Video_Speech_Actor_12" / "Actor_12" / name)
    if "actor" in detail:
        file.rename(raw / name)
    corpus = read_ravdess(raw)
    assert [(s.clip_id, s.reason, s.detail) for s in corpus.skipped] == [
        (name[3:].partition(".")[0], reason, detail)
    ]
    assert len(corpus.utterances) == 4


def test_files_that_cannot_be_read_cost_their_clips(tmp_path: Path) -> None:
    raw = build(tmp_path)
    place(raw, f"01-{FULL}.mp4", "Video_Speech_Actor_12").write_bytes(b"\0" * 500)
    place(raw, f"03-{JOINED}.wav", "Audio_Speech_Actors_01-24").write_bytes(b"RIFF")
    write_sound(place(raw, f"03-{HEARD}.wav", "Audio_Speech_Actors_01-24"), 30.0)
    corpus = read_ravdess(raw)
    assert [(s.clip_id, s.reason) for s in corpus.skipped] == [
        (JOINED, "unreadable sound"),
        (HEARD, "cut too long"),
        (FULL, "unreadable video"),
    ]


def test_another_folder_is_refused_with_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not RAVDESS: wanted files such as 01-01-06-01-02-01"):
        read_ravdess(tmp_path)
    write_video(place(tmp_path, f"01-{SONG}.mp4", "x"), sound=1.0)
    with pytest.raises(ValueError, match="holds only songs of RAVDESS: read them with --song"):
        read_ravdess(tmp_path)


@pytest.mark.parametrize("seed", range(70))
def test_no_damage_gives_wrong_clips(tmp_path: Path, seed: int) -> None:
    raw = build(tmp_path / "raw")
    whole = found(read_ravdess(raw, song=True))
    done = damage(raw, random.Random(seed))
    corpus = read_ravdess(raw, song=True)
    clips = found(corpus)
    for name, clip in clips.items():
        same = whole[name]
        assert (clip.labels, clip.text) == (same.labels, same.text), done
        assert 0 <= clip.start < clip.end <= 20, done
    (count,) = (int(note.split()[1]) for note in corpus.notes if note.startswith("speech: "))
    assert count == sum(name.startswith("01") for name in clips), done
    missing = [note for note in corpus.notes if "are not there" in note]
    assert (
        clips.keys() == whole.keys()
        or corpus.skipped
        or "1437 clips" in missing[0]
        or ("1012 songs" in missing[1])
    ), done


def test_clips_without_sound_or_pictures_are_prepared(tmp_path: Path) -> None:
    raw = build(tmp_path / "raw")
    write_video(place(raw, "01-01-01-01-01-01-07.mp4", "x"), sound=1.0)
    options = PrepareOptions(min_face_size=40, workers=1, reading={"song": True})
    manifest = prepare("ravdess", raw, tmp_path / "out", options)
    assert sum(count.clips for count in manifest.counts.values()) == 6
    assert manifest.without == {"sound": [SEEN], "pictures": [HEARD]}
    assert (manifest.options["split"], manifest.options["reading"]) == ("speaker", {"song": True})
    assert manifest.title == "RAVDESS with songs"
