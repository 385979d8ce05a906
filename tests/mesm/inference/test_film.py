"""A recording with its emotions beside it: pictures, bars, sound and times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from mesm.cli import app
from mesm.inference.film import Shown, check_film, write_film
from mesm.inference.recording import InputError, open_recording
from mesm.inference.results import Prediction
from mesm.inputs.waveforms import read_waveform
from tests.mesm.corpora.tiny_media import write_video
from tests.mesm.inference.recordings import HEIGHT, WIDTH, film, voice


def shown(start: float, end: float, happy: float, boxes: bool = False) -> Shown:
    prediction = Prediction(
        *(Path("a.mp4"), start, end, "text", {"happy": happy, "sad": 0.2}, None),
        *({"happy": 0.5, "sad": 0.5}, "0.5", ("happy",) if happy > 0.5 else ()),
        *(1, 1, 1, None, (), (), "MESM", "abc"),
    )
    box = np.array([[10, 10, 58, 58]], np.float32)[: int(boxes)]
    kept = np.zeros((int(boxes), 48, 48), bool)
    kept[:, 20:30, 20:30] = True
    return Shown(prediction, box, np.array([start])[: int(boxes)], kept)


def test_the_film_has_all_frames_their_times_and_the_sound(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", 2.0)
    out = tmp_path / "out.mp4"
    pieces = [shown(0.0, 1.0, 0.9, boxes=True), shown(1.0, 2.0, 0.1)]
    write_film(out, open_recording(source), pieces)
    with av.open(str(source)) as one, av.open(str(out)) as other:
        frames = list(one.decode(video=0)), list(other.decode(video=0))
    assert [f.time for f in frames[1]] == pytest.approx([f.time for f in frames[0]], abs=0.01)
    first, last = (frames[1][place].to_ndarray(format="rgb24").astype(int) for place in (0, -1))
    assert first.shape[0] == 2 * HEIGHT
    assert first.shape[1] == 2 * WIDTH + 260
    # Red where the face is kept, and only while its piece lasts: pixels are doubled.
    red = first[70:76, 70:76].mean((0, 1)) - last[70:76, 70:76].mean((0, 1))
    assert red[0] > red[1] + 20
    bars = [frame[18, 2 * WIDTH + 90 : 2 * WIDTH + 215] for frame in (first, last)]
    filled = [(bar.mean(axis=1) < 180).mean() for bar in bars]
    assert filled[0] > 0.8
    assert filled[1] < 0.3
    # Names stand above the courses, too, and at their left alone.
    name = first[64:73, 2 * WIDTH + 8 : 2 * WIDTH + 40]
    assert name.min() < 120
    assert first[64:73, 2 * WIDTH + 150 : 2 * WIDTH + 200].min() > 200
    np.testing.assert_allclose(
        read_waveform(out, 0.2, 1.8), read_waveform(source, 0.2, 1.8), atol=1e-4
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


def test_a_sound_that_mp4_does_not_take_is_encoded(tmp_path: Path) -> None:
    source = write_video(
        tmp_path / "a.mkv", seconds=1.0, sound=1.0, codec="pcm_s16le", form="matroska"
    )
    write_film(tmp_path / "out.mp4", open_recording(source), [shown(0.0, 1.0, 0.5)])
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert heard == pytest.approx(16000, abs=2200)


def test_nothing_is_left_of_a_film_that_fails(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", voice(1.0), 16000)
    with pytest.raises(InputError, match="has no pictures"):
        write_film(tmp_path / "out.mp4", open_recording(tmp_path / "a.wav"), [])
    with pytest.raises(InputError, match=r"ends with .mp4"):
        check_film(tmp_path / "out.avi")
    with pytest.raises(InputError, match="a folder that is not there"):
        check_film(tmp_path / "none" / "out.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


def test_the_command_makes_one(own_mesm: Path, films: Path, tmp_path: Path) -> None:
    words = ["predict", own_mesm, films / "film0.mp4", "--text", "so happy"]
    words += ["--video", tmp_path / "out.mp4", "--pictures", tmp_path / "seen"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "out.mp4") in done.stdout
    assert sorted(file.name for file in (tmp_path / "seen").iterdir()) == [
        *("film0-000-faces.png", "film0-000-spectrograms.png")
    ]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == 17


def test_an_encoded_sound_keeps_its_time_where_the_file_begins_late(tmp_path: Path) -> None:
    """Broadcasts count from anywhere; a flash and a click at 1 s stay together."""
    source = tmp_path / "a.ts"
    with av.open(str(source), "w", format="mpegts") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("mp2", rate=16_000, layout="mono")
        for number in range(20):
            picture = np.full((48, 64, 3), 255 * (10 <= number < 12), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number + 50, Fraction(1, 10)
            container.mux(video.encode(frame))
        click = np.zeros((1, 32_000), np.int16)
        click[0, 16_000:17_000] = 20_000
        for place in range(0, 32_000, 1152):
            part = av.AudioFrame.from_ndarray(click[:, place : place + 1152], "s16", "mono")
            part.sample_rate, part.pts, part.time_base = 16_000, place + 80_000, Fraction(1, 16_000)
            container.mux(audio.encode(part))
        container.mux(video.encode())
        container.mux(audio.encode())
    with av.open(str(source)) as container:
        assert container.start_time > 4 * av.time_base
    out = tmp_path / "out.mp4"
    write_film(out, open_recording(source), [shown(0.0, 2.0, 0.9)])
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        bright = [f.time for f in container.decode(video=0) if f.to_ndarray()[:48, :64].mean() > 99]
    with av.open(str(out)) as container:
        loud = [f.time for f in container.decode(audio=0) if np.abs(f.to_ndarray()).max() > 0.3]
    assert bright[0] == pytest.approx(1.0, abs=0.11)
    assert loud[0] == pytest.approx(1.0, abs=0.11)


def test_a_name_with_a_colon_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(tmp_path / "a.mp4", 1.0)
    monkeypatch.chdir(tmp_path)
    write_film(Path("out: 1.mp4"), open_recording(source), [shown(0.0, 1.0, 0.9)])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "out: 1.mp4"]
