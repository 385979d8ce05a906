"""Files are read back with PyAV and soundfile: size, rate, codec, and which picture is when."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from mesm.corpora.miniature.media import (
    CREMA_D_VIDEO,
    IEMOCAP_VIDEO,
    MOSEI_VIDEO,
    STEREO,
    SURROUND,
    VideoFormat,
    copy_pictures,
    drawn_time,
    write_video,
    write_wav,
)
from mesm.inputs.video import ROUNDING, frames_at
from mesm.inputs.waveforms import read_waveform

AVI = VideoFormat(64, 32, 2, Fraction(30000, 1001), "mpeg4", "DIVX", {"flags": "+bitexact"})
MP4 = VideoFormat(32, 32, 1, Fraction(30), "libx264", None, {"preset": "ultrafast", "crf": "23"})
FORMATS = {"avi": AVI, "mp4": MP4}
# At the rates of the corpora.
SLOW = {
    "avi": replace(AVI, rate=IEMOCAP_VIDEO.rate, options=IEMOCAP_VIDEO.options),
    "mp4": replace(MP4, rate=MOSEI_VIDEO.rate, options=MOSEI_VIDEO.options),
}


class Clock:
    """Stands for a person: a grey panel that says how often it was drawn, and when."""

    def __init__(self, speaks=lambda time: False, shade=60, step=4):
        self.drawn, self._speaks, self._shade, self._step = [], speaks, shade, step

    def is_speaking(self, time):
        return self._speaks(time)

    def picture(self, time):
        self.drawn.append(time)
        level = self._shade + self._step * (len(self.drawn) - 1)
        return np.full((32, 32, 3), level, np.uint8)


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(stream)]
        return stream, frames


@pytest.mark.parametrize("ending", FORMATS)
def test_files_have_the_size_rate_codec_and_length_asked_for(tmp_path, ending):
    video, path = FORMATS[ending], tmp_path / f"video.{ending}"
    write_video(path, [Clock() for _ in range(video.panels)], 1.0, video)
    stream, frames = decode(path)
    assert (stream.width, stream.height) == (video.width, video.height)
    assert stream.average_rate == video.rate
    assert stream.codec_context.name == {"avi": "mpeg4", "mp4": "h264"}[ending]
    if video.tag is not None:
        assert stream.codec_context.codec_tag == video.tag
    times = [time for time, _ in frames]
    assert times == pytest.approx([float(i / video.rate) for i in range(30)], abs=2e-3)


@pytest.mark.parametrize("duration", [0.5, 0.51, 0.52, 0.99])
def test_a_video_is_as_long_as_asked_for_to_half_a_frame(tmp_path, duration):
    write_video(tmp_path / "video.mp4", [Clock()], duration, MP4)
    assert abs(len(decode(tmp_path / "video.mp4")[1]) / 30 - duration) <= 0.5 / 30 + 1e-9


def test_people_stand_side_by_side_in_their_order(tmp_path):
    people = [Clock(shade=40, step=0), Clock(shade=200, step=0)]
    write_video(tmp_path / "video.avi", people, 0.2, AVI)
    for _, picture in decode(tmp_path / "video.avi")[1]:
        assert abs(picture[:, :28].mean() - 40) < 8
        assert abs(picture[:, 36:].mean() - 200) < 8


def test_a_speaker_is_drawn_in_every_frame_and_a_listener_in_every_third(tmp_path):
    """Each time at the middle of the frame."""
    listener, speaker = Clock(), Clock(lambda time: True)
    write_video(tmp_path / "video.avi", [listener, speaker], 1.0, AVI)
    rate = 30000 / 1001
    assert speaker.drawn == pytest.approx([(i + 0.5) / rate for i in range(30)])
    assert listener.drawn == pytest.approx([(i + 0.5) / rate for i in range(0, 30, 3)])


@pytest.mark.parametrize("formats", [FORMATS, SLOW])
@pytest.mark.parametrize("ending", FORMATS)
def test_drawn_time_names_the_picture_that_the_preparation_reads(tmp_path, ending, formats):
    """Also just before a frame starts: what is read there has the level of the picture drawn."""
    video, path = formats[ending], tmp_path / f"video.{ending}"
    people = [Clock(lambda time: True, shade=20, step=12) for _ in range(video.panels)]
    write_video(path, people, 18 / float(video.rate), video)
    drawn = people[0].drawn
    assert len(drawn) == 18
    starts = [time - 0.5 / float(video.rate) for time in drawn]
    edges = [time - gap for time in starts[1:] for gap in (0.00005, 0.0002, 0.0005, 0.002)]
    anywhere = np.random.default_rng(0).uniform(0, starts[-1], 40).tolist()
    instants = sorted([*anywhere, *starts, *edges])
    for index, picture in frames_at(path, instants):
        place = round((picture[:, :28].mean() - 20) / 12)
        assert drawn_time(instants[index], video) == pytest.approx(drawn[place])


@pytest.mark.parametrize("video", [IEMOCAP_VIDEO, MOSEI_VIDEO])
def test_drawn_time_is_the_middle_of_the_frame_that_is_shown(video):
    interval = 1 / float(video.rate)
    for time in np.random.default_rng(0).uniform(0, 60, 200):
        start = drawn_time(float(time), video) - interval / 2
        assert start / interval == pytest.approx(round(start / interval), abs=1e-9)
        assert -ROUNDING <= time - start < interval


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_performance_gives_the_same_bytes(tmp_path, ending):
    video, files = FORMATS[ending], [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        write_video(file, [Clock() for _ in range(video.panels)], 0.5, video)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_late_pictures_come_as_told_and_each_third_in_time(tmp_path):
    """The picture that is read where a face is looked at is the one drawn for it."""
    video, path = replace(CREMA_D_VIDEO, width=32, height=32, sensor=None), tmp_path / "video.flv"
    person = Clock(lambda time: True, shade=20, step=12)
    write_video(path, [person], 3.0, video)
    stream, frames = decode(path)
    assert stream.codec_context.name == "flv"
    late = [0.0, 0.023, -0.017]
    assert [time for time, _ in frames] == pytest.approx(
        [i / 6 + late[i % 3] for i in range(18)], abs=6e-4
    )
    instants = [0.5 * i for i in range(6)]
    for index, picture in frames_at(path, instants):
        place = round((picture[:, :28].mean() - 20) / 12)
        assert drawn_time(instants[index], video) == pytest.approx(person.drawn[place])


def tone(hertz=440.0):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)


@pytest.mark.parametrize(("sound", "codec"), [(STEREO, "aac"), (SURROUND, "ac3")])
def test_a_container_has_the_sound_in_its_channels(tmp_path, sound, codec):
    path = tmp_path / "video.mp4"
    write_video(path, [Clock()], 1.0, MP4, (sound, tone()))
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.rate) == (codec, 48_000)
        assert stream.channels == len(sound.gains)
    for channel, gain in enumerate(sound.gains):
        heard = read_waveform(path, 0.1, 0.9, channel=channel)
        assert heard.std() == pytest.approx(gain * 0.3 / 2**0.5, abs=0.01)
        if gain:
            # In time, too: a tenth of a period is 0.2 ms.
            assert np.corrcoef(heard, tone()[1600:14_400])[0, 1] > 0.95
    assert len(decode(path)[1]) == 30


def test_pictures_are_copied_as_they_are_and_the_sound_is_not(tmp_path):
    whole, copy = tmp_path / "whole.mp4", tmp_path / "copy.mp4"
    write_video(whole, [Clock(lambda time: True)], 1.0, MP4, (STEREO, tone()))
    copy_pictures(whole, copy)
    with av.open(str(copy)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    for (time, picture), (other, same) in zip(decode(whole)[1], decode(copy)[1], strict=True):
        assert time == other
        np.testing.assert_array_equal(picture, same)


def test_studio_sound_is_the_same_at_three_times_the_rate(tmp_path):
    write_wav(tmp_path / "sound.wav", tone(), studio=True)
    found, rate = soundfile.read(tmp_path / "sound.wav")
    assert (rate, len(found)) == (48_000, 48_000)
    np.testing.assert_allclose(found[300:-300:3], tone()[100:-100], atol=2e-3)


def test_panels_share_the_picture():
    assert (IEMOCAP_VIDEO.panel_width, IEMOCAP_VIDEO.panels) == (240, 2)
    assert (MOSEI_VIDEO.panel_width, MOSEI_VIDEO.panels) == (480, 1)
    # Chroma is stored at half the resolution, so no panel may begin between two samples.
    assert all(v.panel_width % 2 == v.height % 2 == 0 for v in (IEMOCAP_VIDEO, MOSEI_VIDEO))


@pytest.mark.parametrize("shape", [(1600,), (1600, 1), (1600, 2)])
def test_sound_is_16_bit_pcm_at_16_khz_to_the_nearest_level(tmp_path, shape):
    samples = np.random.default_rng(0).uniform(-0.99, 0.99, shape)
    write_wav(tmp_path / "sound.wav", samples)
    info = soundfile.info(tmp_path / "sound.wav")
    assert (info.format, info.subtype, info.samplerate) == ("WAV", "PCM_16", 16_000)
    found, _ = soundfile.read(tmp_path / "sound.wav", always_2d=True)
    assert found.shape == (1600, shape[1] if len(shape) == 2 else 1)
    assert np.abs(found - samples.reshape(found.shape)).max() <= 1 / 32768


def test_sound_that_is_too_loud_is_clipped_and_does_not_wrap(tmp_path):
    write_wav(tmp_path / "sound.wav", np.array([-3.0, -1.0, 1.0, 3.0]))
    found, _ = soundfile.read(tmp_path / "sound.wav")
    np.testing.assert_allclose(found, [-1, -1, 1, 1], atol=1 / 32768)
