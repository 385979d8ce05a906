import numpy as np
import pytest
import soundfile

from mesm.corpora.parts import write_part
from mesm.features.extraction import (
    DialogSources,
    extract_features,
    extract_part,
    read_features,
)
from mesm.features.onsets import onset_features
from mesm.features.phonet import log_ratios, phonet_features, statistics
from mesm.features.phonet_network import CLASSES, load_network
from mesm.features.sources import ClipSources, CsvSource

RATE = 16_000


@pytest.fixture
def sound(tmp_path):
    """Six seconds of two channels with hums that begin every 0.5 s on the left."""
    time = np.arange(6 * RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 0.001, (len(time), 2))
    noise[:, 0] += 0.2 * np.sin(2 * np.pi * 150 * time) * (time % 0.5 > 0.3)
    soundfile.write(tmp_path / "d.wav", noise, RATE, subtype="FLOAT")
    return tmp_path / "d.wav"


@pytest.fixture
def faces(write_openface):
    """A dialog's file at 10 frames a second: on the left hundredths of 1 + time, right 5."""
    rows = []
    for i in range(60):
        rows += [(i / 10, 1, 0, -70.0, 1 + i / 10), (i / 10, 1, 1, 70.0, 5.0)]
    return write_openface(rows, name="d.csv")


@pytest.fixture
def make(sound, faces, tmp_path):
    def make(clip_id="d_F000", *, phonet=None, **changes):
        facts = {
            "clip_id": clip_id,
            "split": "train",
            "text": "",
            "dialog": "d",
            "start": 2.0,
            "end": 3.0,
            "audio": sound,
            "channel": 0,
            "half": "left",
            "openface": CsvSource(faces, False),
            "phonet": phonet,
        }
        clip = ClipSources(**{**facts, **changes})
        return DialogSources("d", tmp_path, (clip,), phonet is not None, 0.1)

    return make


def test_a_dialogs_file_is_read_in_the_clips_time_and_half(make, sound):
    out = extract_features(make())
    assert out.skipped == []
    video = out.video["d_F000"]
    # From 2 s on; three decimals were written.
    np.testing.assert_allclose(video[:, 0], (3 + np.arange(10) / 10) / 100, atol=1e-6)
    assert (extract_features(make(half="right")).video["d_F000"][:, 0] == np.float32(0.05)).all()
    left = soundfile.read(sound)[0][2 * RATE : 3 * RATE, 0].astype(np.float32)
    audio = out.audio["d_F000"]
    assert audio.shape == (3, 142)
    np.testing.assert_array_equal(audio[:, :34], onset_features(left))
    np.testing.assert_array_equal(audio[:, 34:], phonet_features(left, load_network()))
    assert np.isfinite(audio).all(1).any()


def test_posteriors_of_the_dialog_and_of_the_clip(make, tmp_path):
    posteriors = np.random.default_rng(1).random((600, 18)).round(6)
    lines = [",".join(["time", *CLASSES])]
    lines += [f"{i / 100}," + ",".join(map(str, row)) for i, row in enumerate(posteriors)]
    file = tmp_path / "phonet.csv"
    file.write_text("\n".join(lines))
    for own, first in ((False, 200), (True, 0)):
        audio = extract_features(make(phonet=CsvSource(file, own))).audio["d_F000"]
        assert audio.shape == (3, 142)
        wanted = statistics(log_ratios(posteriors[first : first + 40]))
        np.testing.assert_allclose(audio[0, 34:], wanted, rtol=1e-5, atol=1e-5)
    file.write_text("time\n")
    out = extract_features(make(phonet=CsvSource(file, True)))
    assert out.audio["d_F000"].shape == (3, 142)
    assert np.isnan(out.audio["d_F000"][:, 34:]).all()
    assert np.isfinite(out.audio["d_F000"][:, :34]).any()
    (skipped,) = out.skipped
    assert skipped.line() == (
        "skipped d_F000: unreadable Phonet file: phonet.csv (phonet.csv has no column 'vocalic')"
    )


def test_what_cannot_be_read_is_reported(make, faces, tmp_path):
    out = extract_features(make(channel=2, openface=None))
    assert (out.audio["d_F000"].shape, out.video["d_F000"].shape) == ((0, 142), (0, 35))
    (skipped,) = out.skipped
    assert skipped.line() == (
        "skipped d_F000: unreadable sound: d.wav (d.wav has 2 channel(s), none at index 2); "
        "copy the sound anew"
    )
    (skipped,) = extract_features(make(start=90.0, end=95.0, openface=None)).skipped
    assert skipped.line().startswith("skipped d_F000: sound ends too early: d.wav (d.wav ends at ")
    assert skipped.line().endswith("; mend the clip's times, or leave the clip out")
    out = extract_features(make(start=4.0, end=5.0, openface=CsvSource(faces, True), half=None))
    (skipped,) = out.skipped
    assert skipped.reason == "OpenFace file read in part"
    assert "its last row is at 5.90 s, and the clip is 1.00 s long" in skipped.detail
    assert "face_id 0 is read and not 1: " in skipped.detail
    # A recording may end a little before its last clip.
    assert extract_features(make(start=5.9, end=6.1)).skipped == []
    faces.write_text(faces.read_text().partition("\n")[0] + "\n")
    (skipped,) = extract_features(make()).skipped
    assert skipped.line() == (
        "skipped d_F000: no OpenFace row in the clip's time: d.csv (its time must be the dialog's)"
    )
    (skipped,) = extract_features(make(audio=tmp_path / "none.wav", openface=None)).skipped
    assert skipped.file == "none.wav"


def test_a_part_comes_back_and_its_name_tells_what_it_is_from(make, faces, tmp_path):
    dialog = make()
    out = extract_features(dialog)
    write_part(tmp_path / "part.parquet", *extract_part(dialog))
    back = read_features(tmp_path / "part.parquet")
    for name in ("audio", "video"):
        np.testing.assert_array_equal(getattr(back, name)["d_F000"], getattr(out, name)["d_F000"])
    bare = make(channel=2, openface=None)
    empty = extract_features(bare)
    write_part(tmp_path / "part.parquet", *extract_part(bare))
    back = read_features(tmp_path / "part.parquet")
    assert len(back.audio["d_F000"]) == len(back.video["d_F000"]) == 0
    assert back.skipped == empty.skipped
    names = {dialog.part_name(), make(end=3.1).part_name(), make(channel=1).part_name()}
    names.add(DialogSources("d", tmp_path, dialog.clips, False, 0.2).part_name())
    assert make().part_name() == dialog.part_name()
    faces.write_text(faces.read_text() + "\n")
    names.add(make().part_name())
    assert len(names) == 5
