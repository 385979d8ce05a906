"""CREMA-D's layout, and what its users report of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mesm.corpora.crema_d import EMOTIONS, SENTENCES, read_crema_d
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.utterances import RawCorpus, Utterance
from tests.mesm.corpora.damages import POINTER, damage, read_damaged
from tests.mesm.corpora.tiny_media import video_bytes, write_sound, write_video

NAMES = (
    *("1001_IEO_HAP_LO", "1001_DFA_NEU_XX", "1002_TIE_SAD_XX", "1002_WSI_ANG_XX"),
    *("1091_MTI_DIS_XX", "1091_ITS_FEA_XX"),
)
VOTES = ("H", "N", "N:S", "D", "D", "F")
FLASH = {"form": "flv", "picture_codec": "flv1"}


def build(raw: Path, votes: tuple[str, ...] = VOTES) -> Path:
    for name in NAMES:
        write_sound(raw / "AudioWAV" / f"{name}.wav")
        write_video(raw / "VideoFlash" / f"{name}.flv", **FLASH)
    write_votes(raw, [f'"{name}","N","60","H","50","{vote}","70"' for name, vote in rated(votes)])
    return raw


def rated(votes: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(NAMES, votes, strict=True))


def write_votes(raw: Path, rows: list[str]) -> None:
    header = (
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote",'
        '"MultiModalLevel"'
    )
    lines = [header, *(f'"{i}",{row}' for i, row in enumerate(rows, 1))]
    (raw / "processedResults").mkdir(exist_ok=True)
    (raw / "processedResults" / "summaryTable.csv").write_text("\n".join(lines) + "\n")


def found(corpus: RawCorpus) -> dict[str, Utterance]:
    return {utterance.clip_id: utterance for utterance in corpus.utterances}


def emotions(corpus: RawCorpus) -> dict[str, str]:
    return {u.clip_id: EMOTIONS[u.labels.index(1)] for u in corpus.utterances}


def test_clips_from_the_names_of_files(tmp_path: Path) -> None:
    raw = build(tmp_path)
    corpus = read_crema_d(raw)
    clips = found(corpus)
    assert sorted(clips) == sorted(NAMES)
    first = clips["1001_IEO_HAP_LO"]
    assert (first.text, first.speaker, first.dialog) == ("It's eleven o'clock", "1001", "1001")
    assert first.audio == raw / "AudioWAV" / "1001_IEO_HAP_LO.wav"
    assert first.video == raw / "VideoFlash" / "1001_IEO_HAP_LO.flv"
    assert (first.start, first.end) == (0.0, pytest.approx(1.0, abs=0.1))
    assert emotions(corpus) == {
        "1001_IEO_HAP_LO": "happy",
        "1001_DFA_NEU_XX": "neutral",
        "1002_TIE_SAD_XX": "sad",
        "1002_WSI_ANG_XX": "anger",
        "1091_MTI_DIS_XX": "disgust",
        "1091_ITS_FEA_XX": "fear",
    }
    assert corpus.single_label
    assert len(SENTENCES) == 12
    assert not corpus.skipped
    assert corpus.notes == [
        "clips: 6 clips can be used, 7442 were published",
        "3 of 91 actors have clips that can be used",
    ]


def test_the_raters_choice_and_ties(tmp_path: Path) -> None:
    corpus = read_crema_d(build(tmp_path, ("H", "n", "N:S", "D", "Q", "F")), labels="rated")
    assert emotions(corpus) == {
        "1001_IEO_HAP_LO": "happy",
        "1002_WSI_ANG_XX": "disgust",
        "1091_ITS_FEA_XX": "fear",
    }
    assert [(s.clip_id, s.reason, s.detail, s.file.rpartition("/")[2]) for s in corpus.skipped] == [
        ("1001_DFA_NEU_XX", "unknown label", "n", "summaryTable.csv:3"),
        ("1002_TIE_SAD_XX", "tied ratings", "N:S", "summaryTable.csv:4"),
        ("1091_MTI_DIS_XX", "unknown label", "Q", "summaryTable.csv:6"),
    ]
    assert corpus.title == "CREMA-D, as rated"


def test_a_table_of_votes_that_lacks_clips_or_says_one_twice(tmp_path: Path) -> None:
    raw = build(tmp_path)
    row = '"1001_IEO_HAP_LO","N","60","H","50","{}","70"'
    write_votes(raw, [row.format("H"), row.format("S"), '"1001_DFA_NEU_XX","N"'])
    corpus = read_crema_d(raw, labels="rated")
    assert emotions(corpus) == {"1001_IEO_HAP_LO": "happy"}
    assert [s.reason for s in corpus.skipped] == [
        *("unreadable label", "no label", "labelled twice, first label kept"),
        *["no label"] * 4,
    ]
    (raw / "processedResults" / "summaryTable.csv").write_text("FileName,Vote\n")
    with pytest.raises(ValueError, match="is no table of votes: no column multimodalvote; wanted"):
        read_crema_d(raw, labels="rated")
    (raw / "processedResults" / "summaryTable.csv").unlink()
    with pytest.raises(
        ValueError, match=r"has no summaryTable.csv \(in processedResults\), wanted"
    ):
        read_crema_d(raw, labels="rated")
    assert len(read_crema_d(raw).utterances) == 6
    with pytest.raises(ValueError, match="labels must be one of intended, rated, got 'voted'"):
        read_crema_d(raw, labels="voted")  # type: ignore[arg-type]


def test_a_level_of_one_letter(tmp_path: Path) -> None:
    raw = build(tmp_path)
    write_sound(raw / "AudioWAV" / "1040_ITH_SAD_X.wav")
    write_video(raw / "VideoFlash" / "1040_ITH_SAD_XX.flv", **FLASH)
    write_votes(raw, ['"1040_ITH_SAD_X","N","60","H","50","S","70"'])
    clip = found(read_crema_d(raw, labels="rated"))["1040_ITH_SAD_XX"]
    assert clip.audio is not None
    assert clip.video is not None
    assert clip.labels == tuple(int(name == "sad") for name in EMOTIONS)


def test_the_silent_recording_has_no_sound(tmp_path: Path) -> None:
    raw = build(tmp_path)
    write_sound(raw / "AudioWAV" / "1076_MTI_SAD_XX.wav", loudness=0.0)
    write_video(raw / "VideoFlash" / "1076_MTI_SAD_XX.flv", **FLASH)
    corpus = read_crema_d(raw)
    assert found(corpus)["1076_MTI_SAD_XX"].audio is None
    assert corpus.notes[0] == "AudioWAV/1076_MTI_SAD_XX.wav is silent: the clip has no sound"
    (raw / "VideoFlash" / "1076_MTI_SAD_XX.flv").unlink()
    corpus = read_crema_d(raw)
    assert [(s.reason, s.detail) for s in corpus.skipped] == [("unreadable sound", "it is silent")]
    write_sound(raw / "AudioWAV" / "1076_MTI_SAD_XX.wav")
    assert found(read_crema_d(raw))["1076_MTI_SAD_XX"].audio is not None


def test_recordings_that_are_no_clip_are_left_out(tmp_path: Path) -> None:
    raw = build(tmp_path)
    flash = raw / "VideoFlash"
    # As reported: a minute with several emotions, sound that cannot be played, no length.
    write_video(flash / "1001_IEO_HAP_LO.flv", seconds=61.0, **FLASH)
    (raw / "AudioWAV" / "1001_DFA_NEU_XX.wav").write_bytes(b"RIFF")
    (flash / "1002_TIE_SAD_XX.flv").write_bytes(video_bytes(**FLASH)[:13])
    write_video(flash / "1064_IEO_DIS_MD.flv", seconds=61.0, **FLASH)
    corpus = read_crema_d(raw)
    assert [(s.clip_id, s.reason) for s in corpus.skipped] == [
        ("1001_DFA_NEU_XX", "unreadable sound"),
        ("1001_IEO_HAP_LO", "sound and pictures are not of one length"),
        ("1002_TIE_SAD_XX", "unreadable video"),
        ("1064_IEO_DIS_MD", "cut too long"),
    ]


def test_sound_or_pictures_alone_and_converted_videos(tmp_path: Path) -> None:
    raw = build(tmp_path)
    (raw / "AudioWAV" / "1001_IEO_HAP_LO.wav").unlink()
    (raw / "VideoFlash" / "1001_DFA_NEU_XX.flv").unlink()
    write_video(raw / "VideoFlash" / "1002_TIE_SAD_XX.mp4")
    (raw / "VideoFlash" / "1002_WSI_ANG_XX.flv").write_text(POINTER)
    write_video(raw / "VideoMP4" / "1002_WSI_ANG_XX.mp4")
    clips = found(read_crema_d(raw))
    assert clips["1001_IEO_HAP_LO"].audio == clips["1001_IEO_HAP_LO"].video
    assert clips["1001_DFA_NEU_XX"].video is None
    assert clips["1002_TIE_SAD_XX"].video == raw / "VideoFlash" / "1002_TIE_SAD_XX.flv"
    assert clips["1002_WSI_ANG_XX"].video == raw / "VideoMP4" / "1002_WSI_ANG_XX.mp4"


def test_pointers_of_git_lfs(tmp_path: Path) -> None:
    raw = build(tmp_path)
    (raw / "AudioWAV" / "1001_IEO_HAP_LO.wav").write_text(POINTER)
    corpus = read_crema_d(raw)
    assert [clip.line() for clip in corpus.skipped] == [
        "skipped 1001_IEO_HAP_LO: Git LFS pointer: AudioWAV/1001_IEO_HAP_LO.wav; fetch the file "
        "itself: git lfs pull"
    ]
    for file in (raw / "VideoFlash").iterdir():
        file.write_text(POINTER)
    with pytest.raises(
        ValueError, match="holds only pointers of Git LFS: fetch the files with git"
    ):
        read_crema_d(raw)


def test_names_with_a_wrong_part_and_other_files(tmp_path: Path) -> None:
    raw = build(tmp_path)
    for name in ("1092_IEO_HAP_LO", "1001_ABC_HAP_LO", "1001_IEO_SUR_LO", "1001_IEO_HAP_LX"):
        write_sound(raw / "AudioWAV" / f"{name}.wav")
    write_sound(raw / "AudioWAV" / "notes.wav")
    write_sound(raw / "old" / "AudioWAV" / "1001_IEO_HAP_LO.wav")
    write_sound(raw / "AudioMP3" / "1001_IEO_HAP_HI.wav")
    corpus = read_crema_d(raw)
    assert [(s.reason, s.detail) for s in corpus.skipped] == [
        ("unreadable name", "sentence ABC"),
        ("unreadable name", "level LX"),
        ("unreadable name", "emotion SUR"),
        ("unreadable name", "actor 1092"),
    ]
    assert corpus.notes[:2] == [
        "passed over 1 files, second copies, the nearest one kept: "
        "old/AudioWAV/1001_IEO_HAP_LO.wav",
        "passed over 1 files, no names of CREMA-D: AudioWAV/notes.wav",
    ]
    assert len(corpus.utterances) == 6


def test_another_folder_is_refused_with_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not CREMA-D: wanted AudioWAV/1001_DFA_ANG_XX\.wav"):
        read_crema_d(tmp_path)


@pytest.mark.parametrize("seed", range(70))
def test_no_damage_gives_wrong_clips(tmp_path: Path, seed: int) -> None:
    raw = build(tmp_path / "raw")
    whole = found(read_crema_d(raw, labels="rated"))
    done = damage(raw, random.Random(seed))
    corpus = read_damaged(lambda place: read_crema_d(place, labels="rated"), raw, done)
    if corpus is None:
        return
    clips = found(corpus)
    for name, clip in clips.items():
        same = whole[name]
        assert (clip.labels, clip.text) == (same.labels, same.text), done
        assert 0 <= clip.start < clip.end <= 20, done
    assert len(corpus.skipped) > 1 or clips.keys() == whole.keys(), done


def test_flash_videos_are_prepared(tmp_path: Path) -> None:
    raw = build(tmp_path / "raw")
    (raw / "VideoFlash" / "1001_DFA_NEU_XX.flv").unlink()
    options = PrepareOptions(min_face_size=40, workers=1, reading={"labels": "rated"})
    manifest = prepare("crema_d", raw, tmp_path / "out", options)
    assert sum(count.clips for count in manifest.counts.values()) == 5
    assert manifest.without == {"pictures": ["1001_DFA_NEU_XX"]}
    assert manifest.skipped_by_reason == {"tied ratings": 1}
    assert manifest.options["reading"] == {"labels": "rated"}
    assert manifest.title == "CREMA-D, as rated"
