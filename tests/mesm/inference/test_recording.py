"""Files that are recordings, and files that are refused in one line that says the mend."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from mesm.inference.recording import InputError, find_recordings, open_recording, printable
from tests.mesm.corpora.tiny_media import video_bytes, write_sound, write_video
from tests.mesm.inference.recordings import voice


def refused(file: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        open_recording(file)
    assert str(file) in str(told.value)
    assert "\n" not in str(told.value)


def test_what_a_file_holds(tmp_path: Path) -> None:
    both = open_recording(write_video(tmp_path / "a.mp4", seconds=2.0, sound=2.0))
    assert (both.sound, both.pictures, both.start) == (True, True, 0.0)
    assert both.end == pytest.approx(2.0, abs=0.1)
    mute = open_recording(write_video(tmp_path / "b.mp4", seconds=1.0))
    assert (mute.sound, mute.pictures, mute.seconds) == (False, True, 1.0)
    heard = open_recording(write_video(tmp_path / "c.m4a", seconds=0, sound=1.5))
    assert (heard.sound, heard.pictures) == (True, False)
    assert heard.seconds == pytest.approx(1.5, abs=0.1)
    wave = open_recording(write_sound(tmp_path / "d.wav", 0.5))
    assert (wave.sound, wave.pictures, wave.seconds) == (True, False, 0.5)
    # Sound and pictures of other lengths: all of both is looked at.
    odd = open_recording(write_video(tmp_path / "e.mp4", seconds=1.0, sound=4.0))
    assert odd.seconds == pytest.approx(4.0, abs=0.1)


def test_a_length_that_no_header_tells_is_looked_for(tmp_path: Path) -> None:
    """Browsers record WebM as a stream, whose header was written before its end."""
    file = tmp_path / "live.mkv"
    with av.open(str(file), "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(15):
            picture = np.zeros((48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    with av.open(str(file)) as container:
        assert container.duration is None
    assert open_recording(file).seconds == pytest.approx(1.5, abs=0.11)


def test_what_is_no_recording(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", "is not there; name a video")
    refused(tmp_path, "is a folder")
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    refused(empty, r"is empty \(0 bytes\); copy it again")
    text = tmp_path / "text.mp4"
    text.write_text("no video at all\n" * 40)
    refused(text, "cannot be opened as a video.*; convert it")
    sound = tmp_path / "text.wav"
    sound.write_text("no sound at all\n" * 40)
    refused(sound, "cannot be opened as a sound.*; convert it")
    pointer = tmp_path / "pointer.mp4"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused(pointer, "Git LFS pointer")
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    refused(pipe, "is a named pipe")
    subtitles = tmp_path / "words.srt"
    subtitles.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n")
    refused(subtitles, "has neither sound nor pictures")


def test_no_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16000)
    refused(tmp_path / "nothing.wav", "cannot be opened as a sound|lasts 0 s")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video_bytes(seconds=1.0)[:60])
    refused(cut, "cut.mp4 is cut short: its index.*copy it again from where it is whole$")


def grey(container: av.container.OutputContainer) -> None:
    """Write ten pictures of H.264."""
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for number in range(10):
        picture = np.full((48, 64, 3), number, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    container.mux(stream.encode())


def test_encrypted_pictures(tmp_path: Path) -> None:
    key = "00112233445566778899aabbccddeeff"
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    file = tmp_path / "locked.mp4"
    with av.open(str(file), "w", options=options) as container:
        grey(container)
    refused(file, "is encrypted; decrypt it")


def test_folders_are_looked_through(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in (
        "b.wav",
        "a.MP4",
        "deep/c.mkv",
        "deep/d.Mp2",
        "notes.txt",
        ".hidden/d.wav",
        ".e.wav",
    ):
        (tmp_path / name).touch()
    found = [str(file.relative_to(tmp_path)) for file in find_recordings([tmp_path])]
    assert found == ["a.MP4", "b.wav", "deep/c.mkv", "deep/d.Mp2"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"none holds no recording"):
        list(find_recordings([tmp_path / "none"]))
    assert list(find_recordings([tmp_path / "notes.txt"])) == [tmp_path / "notes.txt"]


def test_a_voice_is_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "v.flac", voice(1.0), 16000)
    assert open_recording(tmp_path / "v.flac").seconds == 1.0


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp", "tiff"])
def test_pictures_are_no_recordings(tmp_path: Path, ending: str) -> None:
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / f"a.{ending}")
    refused(tmp_path / f"a.{ending}", "is a (WebP )?picture( or animation)?, no recording")


def test_a_name_that_steers_a_terminal_is_shown_as_its_codes() -> None:
    assert printable("ü\x1b[31m\n.mp4") == "ü\\x1b[31m\\n.mp4"
    assert printable(os.fsdecode(b"bad\xff.mp4")) == "bad\\udcff.mp4"


def test_a_still_picture_in_a_form_of_films(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((48, 64, 3), np.uint8))
    picture.save(tmp_path / "a.gif")
    refused(tmp_path / "a.gif", "is a picture, no recording")
    picture.save(tmp_path / "a.avif")
    refused(tmp_path / "a.avif", "is a picture, no recording")
    others = [Image.fromarray(np.full((48, 64, 3), 60 * i, np.uint8)) for i in range(1, 4)]
    picture.save(tmp_path / "b.gif", save_all=True, append_images=others, duration=500)
    assert open_recording(tmp_path / "b.gif").seconds == 2.0


def test_a_bare_stream_without_times(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.h264"), "w") as container:
        grey(container)
    refused(tmp_path / "a.h264", "tells no times.*; convert it")
