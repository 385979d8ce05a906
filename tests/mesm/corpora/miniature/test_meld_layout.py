"""Reads the files as MELD's users do."""

from __future__ import annotations

import csv
import io
import re

import av
import pytest

from mesm.corpora.miniature.emotions import EMOTIONS
from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.meld_layout import FAULTS, SPEAKERS
from mesm.corpora.miniature.plan import Planner
from mesm.inputs.video import VideoError, frames_at
from mesm.inputs.waveforms import AudioError, read_waveform

COLUMNS = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)
FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
TIME = re.compile(r"(\d\d):(\d\d):(\d\d),(\d{3})")


def seconds(text):
    hours, minutes, whole, milliseconds = map(int, TIME.fullmatch(text).groups())
    return 3600 * hours + 60 * minutes + whole + milliseconds / 1000


@pytest.fixture(scope="module")
def rows(meld):
    found = {}
    for split in FOLDERS:
        text = (meld.root / f"{split}_sent_emo.csv").read_text(encoding="utf-8")
        assert text.split("\n")[0] == COLUMNS
        table = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [row["Sr No."] for row in table] == [str(i + 1) for i in range(len(table))]
        for row in table:
            found[f"{split}_dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"] = row
    return found


def video_of(meld, clip_id):
    split, _, name = clip_id.partition("_")
    return meld.root / FOLDERS[split] / f"{name}.mp4"


def test_folders_and_files(meld):
    assert {path.name for path in meld.root.iterdir()} == {
        *(f"{split}_sent_emo.csv" for split in FOLDERS),
        *FOLDERS.values(),
        *("OpenFace", "glove.txt.gz", "ground_truth.jsonl"),
    }
    assert not list(meld.root.rglob("*.wav"))


def test_rows_have_the_planted_labels_speakers_and_times(meld, rows):
    assert rows.keys() == {t["clip_id"] for t in meld.truths if t["fault"] != "no_labels"}
    for truth in meld.truths:
        if truth["fault"] == "no_labels":
            continue
        row = rows[truth["clip_id"]]
        assert [row["Emotion"]] == truth["emotions"]
        assert row["Emotion"] in EMOTIONS["meld"]
        assert row["Sentiment"] in {"positive", "neutral", "negative"}
        assert row["Speaker"] in SPEAKERS
        assert row["Utterance"]
        length = seconds(row["EndTime"]) - seconds(row["StartTime"])
        assert length == pytest.approx(truth["end"], abs=0.002)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 200])
def test_70_10_and_20_percent_are_in_the_three_files(count):
    plans = FILES["meld"].plan(Planner("meld", 0), count, False)
    names = [plan.name for plan in plans]
    assert len(set(names)) == count
    shares = {split: sum(name.startswith(split) for name in names) / count for split in FOLDERS}
    if count >= 10:
        assert shares == pytest.approx({"train": 0.7, "dev": 0.1, "test": 0.2})
    else:
        assert shares["train"] > 0
        assert sum(share > 0 for share in shares.values()) == min(count, 3)
    # Utterances of a dialog are numbered from 0.
    for split in FOLDERS:
        numbers = [tuple(map(int, re.findall(r"\d+", n))) for n in names if n.startswith(split)]
        assert numbers == sorted(numbers)
        assert {dialog for dialog, _ in numbers} == {d for d, place in numbers if place == 0}


def test_speakers_recur_and_most_lines_are_of_six():
    plans = FILES["meld"].plan(Planner("meld", 0), 200, False)
    counts = [sum(plan.speakers[0] == number for plan in plans) for number in range(len(SPEAKERS))]
    assert min(counts) > 0
    assert sum(counts[:6]) > 160


def test_media_can_be_read_and_their_sound_is_in_them(meld):
    codecs = set()
    for truth in meld.good:
        path = video_of(meld, truth["clip_id"])
        with av.open(str(path)) as container:
            (sound,) = container.streams.audio
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.codec_context.name) == (480, 270, "h264")
            assert sound.rate == 48_000
            codecs.add((sound.codec_context.name, sound.channels))
        instants = [frame["time"] for frame in truth["frames"]]
        assert all(picture is not None for _, picture in frames_at(path, instants))
        heard = read_waveform(path, truth["start"], truth["end"])
        assert len(heard) / 16_000 == pytest.approx(truth["end"], abs=0.01)
        assert heard.std() > 0.003
    assert codecs == {("aac", 2), ("ac3", 6)}


def test_every_fault_is_there_in_its_file(meld):
    faults = {t["fault"]: t["clip_id"].partition("_")[0] for t in meld.truths if t["fault"]}
    assert faults == FAULTS
    assert len(meld.good) == 10


def test_unreadable_and_missing_videos(meld):
    broken = video_of(meld, meld.fault("unreadable_video")["clip_id"])
    with pytest.raises(VideoError, match="is cut short"):
        list(frames_at(broken, [0.0]))
    missing = meld.fault("missing_video")
    assert not video_of(meld, missing["clip_id"]).exists()
    assert all(f["face_box"] is None and not f["action_units"] for f in missing["frames"])
    unseen = {broken.stem, video_of(meld, missing["clip_id"]).stem}
    assert len(unseen) == 2
    described = {path.stem.partition("_")[2] for path in (meld.root / "OpenFace").iterdir()}
    assert len(described) > 4


def test_text_that_windows_wrote(meld, rows):
    text = rows[meld.fault("cp1252_text")["clip_id"]]["Utterance"]
    assert {"\x92", "\x96", "\x85"} <= set(text)


def test_a_video_of_minutes_has_a_row_of_seconds(meld):
    truth = meld.fault("too_long_video")
    with av.open(str(video_of(meld, truth["clip_id"]))) as container:
        assert container.duration / av.time_base > 120
    assert truth["end"] < 3
    assert truth["frames"][-1]["face_box"] is not None


def test_a_video_without_sound(meld):
    truth = meld.fault("missing_sound")
    with pytest.raises(AudioError, match="no sound"):
        read_waveform(video_of(meld, truth["clip_id"]), 0.0, 1.0)
    assert truth["sound"] == []
    assert truth["signalled"]["sound"] is None


def test_two_people_stand_side_by_side_and_the_left_one_speaks(meld):
    truth = meld.fault("two_people")
    assert all(frame["face_box"][2] <= 240 for frame in truth["frames"])
    (_, picture) = next(iter(frames_at(video_of(meld, truth["clip_id"]), [0.5])))
    assert picture.shape == (270, 480, 3)
    assert abs(picture[:, :240].mean((0, 1)) - picture[:, 240:].mean((0, 1))).max() > 1


def test_files_that_are_no_utterances(meld):
    folder = meld.root / FOLDERS["test"]
    strays = [path.name for path in folder.iterdir() if not path.name.startswith("dia")]
    own = video_of(meld, meld.fault("two_people")["clip_id"]).name
    assert sorted(strays) == [f"._{own}", f"final_videos_test{own}"]
    assert (folder / strays[strays.index(f"final_videos_test{own}")]).stat().st_size > 1000
