from dataclasses import replace

import av
import numpy as np
import pytest
import soundfile

import mesm_ops
from mesm.corpora.extraction import Dialog, extract
from mesm.corpora.parts import read_part, write_part
from mesm.corpora.prepared import SCHEMA
from mesm.corpora.utterances import Utterance
from mesm.inputs.face_detector import Detections


class _LeftEye:
    """A detector that finds one box at a fixed place of every frame it is given."""

    def __init__(self):
        self.shapes = []

    def detect(self, frames):
        self.shapes.append(tuple(frames.shape))
        box = np.array([[10, 4, 56, 50]], np.float32)
        found = Detections(box, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
        return [found] * len(frames)


@pytest.fixture
def dialog(tmp_path):
    """Give five seconds: left half dark, right half bright; left channel still, right loud."""
    with av.open(str(tmp_path / "d.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p"
        image = np.full((64, 160, 3), 40, np.uint8)
        image[:, 80:] = 200
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    t = np.arange(5 * 16000) / 16000
    sound = np.stack([0 * t, 0.5 * np.sin(2 * np.pi * 500 * t)], 1)
    soundfile.write(tmp_path / "d.wav", sound, 16000)

    def utterance(name, start, end, half, channel):
        return Utterance(
            clip_id=name,
            dialog="d",
            speaker="s",
            start=start,
            end=end,
            text="words",
            labels=(1, 0),
            video=tmp_path / "d.avi",
            audio=tmp_path / "d.wav",
            half=half,
            channel=channel,
        )

    utterances = (
        utterance("left", 0.5, 1.6, "left", 0),
        utterance("right", 1.2, 2.2, "right", 1),
        utterance("whole", 3.0, 3.2, None, None),
    )
    return Dialog("d", tmp_path, utterances, 20)


def test_each_speaker_has_their_half_and_channel(dialog):
    detector = _LeftEye()
    table, skipped = extract(dialog, detector)
    assert not skipped
    assert table.schema == SCHEMA
    rows = {row["clip_id"]: row for row in table.to_pylist()}
    assert list(rows) == ["left", "right", "whole"]
    assert rows["left"]["face_times"] == [0.5, 1.0, 1.5]
    # The margin of 2 in 48 is one pixel on each side; boxes count from the full frame's corner.
    assert rows["left"]["face_boxes"][0] == [9, 3, 57, 51]
    assert rows["right"]["face_boxes"][0] == [89, 3, 137, 51]
    assert rows["whole"]["face_boxes"][0] == [9, 3, 57, 51]
    assert rows["left"]["face_found"] == [True] * 3
    assert max(rows["left"]["spectrogram"]) < -20 < max(rows["right"]["spectrogram"])
    assert rows["right"]["spectrogram_columns"] == 81
    # Frames of another size go in a batch of their own.
    assert sorted(shape[1:3] for shape in detector.shapes) == [(64, 80), (64, 160)]


def test_one_bad_clip_leaves_the_others(dialog):
    first, second, third = dialog.utterances
    late = replace(second, end=5.9)
    table, skipped = extract(replace(dialog, utterances=(first, late, third)), _LeftEye())
    assert table["clip_id"].to_pylist() == ["left", "whole"]
    assert [(s.clip_id, s.reason, s.file) for s in skipped] == [
        ("right", "sound ends too early", "d.wav")
    ]
    assert skipped[0].detail == "d.wav ends at 5.00 s, the clip goes from 1.20 s to 5.90 s"


def test_a_sound_file_that_is_missing_leaves_all_its_clips_out(dialog):
    none = tuple(replace(u, audio=dialog.root / "none.wav") for u in dialog.utterances)
    table, skipped = extract(replace(dialog, utterances=none), _LeftEye())
    assert table.num_rows == 0
    assert {(s.reason, s.file, s.detail) for s in skipped} == {
        ("no sound file", "none.wav", "nor has d.avi a sound")
    }
    assert [s.clip_id for s in skipped] == ["left", "right", "whole"]


def test_clips_without_pictures_or_sound_have_none(dialog):
    without = tuple(replace(u, video=None) for u in dialog.utterances)
    table, skipped = extract(replace(dialog, utterances=without), _LeftEye())
    assert not skipped
    assert [row["faces"] for row in table.to_pylist()] == [[], [], []]
    assert min(table["spectrogram_columns"].to_pylist()) > 0
    # The video has no sound of its own.
    for audio in (None, dialog.utterances[0].video):
        mute = tuple(replace(u, audio=audio, channels=None) for u in dialog.utterances)
        table, skipped = extract(replace(dialog, utterances=mute), _LeftEye())
        assert not skipped
        assert table["spectrogram_columns"].to_pylist() == [0, 0, 0]
        assert [len(row["faces"]) for row in table.to_pylist()] == [3, 2, 1]


def test_a_video_that_ends_early_or_is_none(dialog):
    soundfile.write(dialog.root / "d.wav", np.zeros((10 * 16000, 2)), 16000)
    first, second, _ = dialog.utterances
    late = replace(second, start=4.5, end=6.0)
    table, (skipped,) = extract(replace(dialog, utterances=(first, late)), _LeftEye())
    assert table["clip_id"].to_pylist() == ["left"]
    assert skipped.line() == (
        "skipped right: pictures end too early: d.avi (they end at 5.00 s, wanted one at 5.50 s); "
        "mend the clip's times, or leave the clip out"
    )
    (dialog.root / "d.avi").write_bytes(b"nothing")
    table, skipped = extract(dialog, _LeftEye())
    assert table.num_rows == 0
    assert {s.reason for s in skipped} == {"unreadable video"}
    (dialog.root / "d.avi").unlink()
    table, skipped = extract(dialog, _LeftEye())
    assert {s.reason for s in skipped} == {"no video file"}


def test_the_parts_name_follows_what_it_holds(dialog):
    name = dialog.part_name()
    assert name == dialog.part_name()
    first, *others = dialog.utterances
    changed = [
        replace(dialog, min_face_size=21),
        replace(dialog, utterances=tuple(others)),
        replace(dialog, utterances=(replace(first, text="other"), *others)),
    ]
    names = {name, *(other.part_name() for other in changed)}
    assert len(names) == 4
    with (dialog.root / "d.wav").open("ab") as file:
        file.write(b"more")
    assert dialog.part_name() not in names


def test_parts_by_kernels_and_by_layers_are_not_mixed(dialog):
    on_a_gpu = replace(dialog, device="cuda")
    names = dialog.part_name(), on_a_gpu.part_name()
    with mesm_ops.use_backend("reference"):
        assert dialog.part_name() != names[0]
        assert on_a_gpu.part_name() == names[1]  # no kernel of ours finds faces there
    assert dialog.part_name() == names[0]


def test_a_part_is_read_as_it_was_written(dialog, tmp_path):
    table, skipped = extract(dialog, _LeftEye())
    write_part(tmp_path / "part.parquet", table, skipped)
    again, left_out = read_part(tmp_path / "part.parquet")
    assert again.equals(table)
    assert left_out == skipped


class _TwoPeople:
    """A small face that stays, and a larger one in the first frame alone."""

    def __init__(self):
        self.frames = 0

    def detect(self, frames):
        found = []
        for _ in frames:
            small, large = [4, 4, 24, 24], [40, 4, 70, 50]
            box = np.array([large, small] if self.frames == 0 else [small], np.float32)
            n = len(box)
            found.append(Detections(box, np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32)))
            self.frames += 1
        return found


def test_the_face_that_is_seen_longest_is_followed(dialog):
    whole = replace(dialog.utterances[0], start=0.0, end=1.5, half=None)
    one = replace(dialog, utterances=(whole,))
    boxes = {}
    for rule in ("largest", "track"):
        table, skipped = extract(replace(one, faces=rule), _TwoPeople())
        assert not skipped
        (row,) = table.to_pylist()
        boxes[rule] = [box[0] for box in row["face_boxes"]]
        assert row["face_found"] == [True] * 3
    assert boxes["largest"][0] > 30
    assert boxes["track"] == boxes["largest"][1:2] * 3
    assert one.part_name() != replace(one, faces="track").part_name()


def test_names_of_parts_of_corpora_that_are_there_stay(dialog, monkeypatch):
    """The key where nothing was chosen, written out."""
    import hashlib
    import json

    keys = []
    before = json.dumps
    monkeypatch.setattr(json, "dumps", lambda *a, **k: keys.append(before(*a, **k)) or keys[-1])
    name = dialog.part_name()
    assert json.loads(keys[0])[:3] == [1, 20, "detector 2"]
    assert isinstance(json.loads(keys[0])[3], list)
    assert name == f"d-{hashlib.sha256(keys[0].encode()).hexdigest()[:16]}.parquet"
