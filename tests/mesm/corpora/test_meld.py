"""MELD's layout, and what its users report of it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from mesm.corpora.meld import EMOTIONS, decode, read_meld
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.utterances import RawCorpus, Utterance
from tests.mesm.corpora.damages import damage, read_damaged
from tests.mesm.corpora.tiny_media import write_video

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)
FOLDERS = {
    "train": "train/train_splits",
    "dev": "dev/dev_splits_complete",
    "test": "test/output_repeated_splits_test",
}
ROWS = {
    "train": ["Oh, my God!|Ross|surprise|0|0", "Hi.|Mrs. Green|neutral|0|1", "No!|Joey|anger|3|0"],
    "dev": ["Fine.|Rachel|sadness|0|0"],
    "test": ["Ew…|Phoebe|disgust|0|0", "Run!|All|fear|0|1", "Yay|Monica|joy|1|0"],
}


def line(row: str, times: tuple[str, str] = ("00:00:10,000", "0:00:11,000")) -> str:
    text, speaker, emotion, dialogue, utterance = row.split("|")
    start, end = times
    cells = f'{speaker},{emotion},positive,{dialogue},{utterance},4,7,"{start}","{end}"'
    return f'1,"{text}",{cells}'


def write_labels(root: Path, split: str, rows: list[str]) -> Path:
    file = root / f"{split}_sent_emo.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return file


def build(root: Path, **kind: object) -> Path:
    mark = 0
    for split, rows in ROWS.items():
        root.mkdir(exist_ok=True)
        write_labels(root, split, [line(row) for row in rows])
        for row in rows:
            *_, dialogue, utterance = row.split("|")
            mark += 1
            file = root / FOLDERS[split] / f"dia{dialogue}_utt{utterance}.mp4"
            write_video(file, mark, **kind)
    return root


def found(corpus: RawCorpus) -> dict[str, Utterance]:
    return {utterance.clip_id: utterance for utterance in corpus.utterances}


def skipped(corpus: RawCorpus) -> list[tuple[str, str]]:
    return [(clip.clip_id, clip.reason) for clip in corpus.skipped]


def test_utterances_with_the_splits_of_the_corpus(tmp_path: Path) -> None:
    corpus = read_meld(build(tmp_path / "raw", sound=1.0))
    clips = found(corpus)
    assert sorted(clips) == [
        *("dev_dia0_utt0", "test_dia0_utt0", "test_dia0_utt1", "test_dia1_utt0"),
        *("train_dia0_utt0", "train_dia0_utt1", "train_dia3_utt0"),
    ]
    first = clips["train_dia0_utt0"]
    assert (first.text, first.speaker, first.dialog) == ("Oh, my God!", "Ross", "train_dia0")
    assert first.labels == tuple(int(name == "surprise") for name in EMOTIONS)
    assert first.video == first.audio == tmp_path / "raw/train/train_splits/dia0_utt0.mp4"
    assert (first.start, first.end) == (0.0, pytest.approx(1.0, abs=0.1))
    assert {u.clip_id.split("_")[0]: u.split for u in corpus.utterances} == {
        "train": "train",
        "dev": "valid",
        "test": "test",
    }
    assert corpus.single_label
    assert not corpus.skipped
    assert corpus.notes == [
        "train: 3 clips can be used, 9989 were published",
        "valid: 1 clips can be used, 1109 were published",
        "test: 3 clips can be used, 2610 were published",
    ]


def test_folders_are_found_however_deep_and_through_links(tmp_path: Path) -> None:
    build(tmp_path / "disk")
    raw = tmp_path / "raw" / "MELD.Raw"
    raw.mkdir(parents=True)
    for split in ROWS:
        (raw / split).symlink_to(tmp_path / "disk" / split)
        shutil.copy(tmp_path / "disk" / f"{split}_sent_emo.csv", raw)
    (raw / "again").symlink_to(raw)
    assert len(read_meld(tmp_path / "raw").utterances) == 7


def test_an_unreadable_and_a_missing_video_cost_themselves(tmp_path: Path) -> None:
    raw = build(tmp_path)
    (raw / FOLDERS["train"] / "dia0_utt0.mp4").write_bytes(b"\0" * 400)
    (raw / FOLDERS["dev"] / "dia0_utt0.mp4").unlink()
    (raw / FOLDERS["test"] / "dia0_utt0.mp4").rename(
        raw / FOLDERS["test"] / "final_videos_testdia0_utt0.mp4"
    )
    corpus = read_meld(raw)
    assert skipped(corpus) == [
        ("dev_dia0_utt0", "no video file"),
        ("test_dia0_utt0", "no video file"),
        ("train_dia0_utt0", "unreadable video"),
    ]
    assert [clip.file for clip in corpus.skipped] == [
        f"{FOLDERS['dev']}/dia0_utt0.mp4",
        f"{FOLDERS['test']}/dia0_utt0.mp4",
        f"{FOLDERS['train']}/dia0_utt0.mp4",
    ]
    assert corpus.skipped[1].detail == (
        "final_videos_testdia0_utt0.mp4 is there: rename it if it is the clip"
    )
    assert str(raw) not in corpus.skipped[2].line()
    assert len(corpus.utterances) == 4


def test_videos_that_no_line_labels_are_noted_and_those_of_macs_passed_over(tmp_path: Path) -> None:
    raw = build(tmp_path)
    for name in ("dia66_utt9.mp4", "final_videos_testdia101_utt0.mp4", "._dia0_utt0.mp4"):
        write_video(raw / FOLDERS["test"] / name, 99)
    write_video(raw / "__MACOSX" / FOLDERS["test"] / "dia0_utt0.mp4")
    write_video(raw / "more" / "output_repeated_splits_test" / "deeper" / "dia0_utt0.mp4")
    corpus = read_meld(raw)
    assert corpus.notes[0] == (
        "passed over 2 videos of output_repeated_splits_test that no line labels: dia66_utt9, "
        "final_videos_testdia101_utt0"
    )
    assert len(corpus.utterances) == 7


def test_second_copies_of_videos_and_other_label_files_are_noted(tmp_path: Path) -> None:
    raw = build(tmp_path)
    copy = write_video(raw / "old" / FOLDERS["dev"] / "dia0_utt0.mp4", 50)
    write_labels(copy.parent, "dev", [line("Other words.|Rachel|joy|0|0")])
    shutil.copy(raw / "train_sent_emo.csv", copy.parent)
    corpus = read_meld(raw)
    assert corpus.notes[:2] == [
        f"passed over 1 second copies of videos: old/{FOLDERS['dev']}/dia0_utt0.mp4",
        f"dev_sent_emo.csv is read, old/{FOLDERS['dev']}/dev_sent_emo.csv says something else",
    ]
    assert found(corpus)["dev_dia0_utt0"].text == "Fine."


def test_clips_with_the_same_bytes_are_noted(tmp_path: Path) -> None:
    raw = build(tmp_path)
    folder = raw / FOLDERS["test"]
    shutil.copy(folder / "dia0_utt0.mp4", folder / "dia0_utt1.mp4")
    corpus = read_meld(raw)
    assert "clips with the same video, byte for byte: test_dia0_utt0 = test_dia0_utt1" in (
        corpus.notes
    )
    assert len(corpus.utterances) == 7


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("He’s lost it…".encode(), "He’s lost it…"),
        (b"He\x92s lost it\x85\xa0\x93now\x94 \x96 \x97 \x91", "He’s lost it… “now” – — ‘"),
        ("He\x92s lost it\x85\xa0now".encode(), "He’s lost it… now"),
        ("é\n".encode() + b"\x92\n" + "ü".encode(), "é\n’\nü"),
        (b"\xef\xbb\xbfa\x81", "a\x81"),
    ],
)
def test_text_in_the_code_page_of_windows(data: bytes, text: str) -> None:
    assert decode(data) == text


def test_lines_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    raw = build(tmp_path)
    rows = [line(row) for row in ROWS["train"]]
    rows += [
        *(rows[0], line("Who?|Ross|amused|0|7"), line(" |Ross|joy|0|8"), line("Hm.||joy|0|9")),
        *(line("Hm.|Ross|joy|zero|9"), "1,too,few,cells", '1,"open,Ross,joy,positive,5,5'),
        line("Hm.|Ross|JOY |0|10"),
    ]
    write_labels(raw, "train", rows)
    write_video(raw / FOLDERS["train"] / "dia0_utt10.mp4", 77)
    corpus = read_meld(raw)
    assert [(s.clip_id, s.reason, s.file.rpartition(":")[2]) for s in corpus.skipped] == [
        ("", "unreadable label", "10"),
        ("", "unreadable label", "11"),
        ("", "unreadable label", "9"),
        ("train_dia0_utt0", "labelled twice, first label kept", "5"),
        ("train_dia0_utt7", "unknown label", "6"),
        ("train_dia0_utt8", "empty transcript", "7"),
        ("train_dia0_utt9", "unreadable label", "8"),
    ]
    assert found(corpus)["train_dia0_utt10"].labels == (0, 0, 0, 1, 0, 0, 0)


def test_videos_of_minutes_are_cut_to_their_lines_or_left_out(tmp_path: Path) -> None:
    raw = build(tmp_path)
    for name, mark in (("dia0_utt0", 1), ("dia0_utt1", 2), ("dia3_utt0", 3)):
        write_video(raw / FOLDERS["train"] / f"{name}.mp4", mark, seconds=61.0)
    times = [("0:13:31,06", "0:13:33,560"), ("00:13:31,060", "00:18:36,000"), ("", "00:00:01")]
    write_labels(
        raw, "train", [line(row, time) for row, time in zip(ROWS["train"], times, strict=True)]
    )
    corpus = read_meld(raw)
    assert found(corpus)["train_dia0_utt0"].end == 2.5
    assert corpus.notes[0] == (
        "1 videos last more than 60 s, and are taken for as long as their lines say, from their "
        "beginning: train_dia0_utt0"
    )
    assert [(s.clip_id, s.reason, s.detail) for s in corpus.skipped] == [
        ("train_dia0_utt1", "cut too long", "61 s, by its line 305 s, wanted at most 60 s"),
        ("train_dia3_utt0", "cut too long", "61 s, by its line none, wanted at most 60 s"),
    ]


def test_times_that_say_nothing_cost_nothing(tmp_path: Path) -> None:
    raw = build(tmp_path)
    times = [("", ""), ("0:2:3,5", "0:2:3,5"), ("00:00:09", "00:00:01")]
    write_labels(
        raw, "train", [line(row, time) for row, time in zip(ROWS["train"], times, strict=True)]
    )
    assert len(read_meld(raw).utterances) == 7


def test_a_split_that_is_not_there_is_noted(tmp_path: Path) -> None:
    raw = build(tmp_path)
    (raw / "train_sent_emo.csv").unlink()
    shutil.rmtree(raw / FOLDERS["dev"])
    corpus = read_meld(raw)
    assert corpus.notes[:2] == ["not there: train_sent_emo.csv", "not there: dev_splits_complete"]
    assert skipped(corpus) == [("dev_dia0_utt0", "no video file")]


def test_another_folder_is_refused_with_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not MELD: it has no label file; wanted train_sent_e"):
        read_meld(tmp_path)
    write_labels(tmp_path, "train", [])
    with pytest.raises(ValueError, match=r"no folder of videos; .*train_splits, dev_splits_compl"):
        read_meld(tmp_path)
    raw = build(tmp_path / "raw")
    (raw / "dev_sent_emo.csv").write_text(HEADER.replace("Emotion", "Mood") + "\n")
    with pytest.raises(ValueError, match=r"is no label file of MELD: no column Emotion; wanted Ut"):
        read_meld(raw)


@pytest.mark.parametrize("seed", range(70))
def test_no_damage_gives_wrong_clips(tmp_path: Path, seed: int) -> None:
    raw = build(tmp_path / "raw", sound=1.0)
    whole = found(read_meld(raw))
    done = damage(raw, random.Random(seed))
    corpus = read_damaged(read_meld, raw, done)
    if corpus is None:
        return
    clips = found(corpus)
    for name, clip in clips.items():
        assert clip.labels == whole[name].labels, done
        assert clip.text.replace('"', "") in (whole[name].text, whole[name].text.replace(",", ""))
        assert (clip.split, clip.dialog) == (whole[name].split, whole[name].dialog), done
        assert 0 <= clip.start < clip.end <= 60, done
    told = any(what in note for note in corpus.notes for what in ("no line labels", "not there"))
    assert clips.keys() == whole.keys() or corpus.skipped or told, done


def test_sound_of_six_channels_and_no_sound_are_prepared(tmp_path: Path) -> None:
    raw = build(tmp_path / "raw", sound=1.0, codec="ac3", layout="5.1")
    write_video(raw / FOLDERS["test"] / "dia1_utt0.mp4", 3)
    manifest = prepare("meld", raw, tmp_path / "out", PrepareOptions(min_face_size=40, workers=1))
    assert {name: count.clips for name, count in manifest.counts.items()} == {
        "train": 3,
        "valid": 1,
        "test": 3,
    }
    assert manifest.options["split"] == "column"
    assert manifest.single_label
    assert manifest.without == {"sound": ["test_dia1_utt0"]}
    assert not manifest.skipped
    PreparedCorpus.open(tmp_path / "out").check()
