"""Sound files, and the sound of videos: against what was written, sample by sample."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from mesm.inputs.sound_parts import ShortSoundError, Stretch
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.waveforms import (
    heard_until,
    read_waveform,
    read_waveforms,
    sound_length,
    stream_waveforms,
)
from tests.mesm.corpora.tiny_media import write_sound, write_video


@pytest.fixture(scope="module")
def sound():
    rng = np.random.default_rng(0)
    t = np.arange(20000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * t * (1 + 0.2 * t))
    return (tone + 0.01 * rng.standard_normal(t.size)).astype(np.float32)


def test_a_part_of_one_channel_is_read(tmp_path, sound):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([sound, sound * 0], 1), 16000, subtype="FLOAT")
    assert np.array_equal(read_waveform(path, 0.25, 0.75, 0), sound[4000:12000])
    assert not read_waveform(path, 0.25, 0.75, 1).any()
    np.testing.assert_allclose(read_waveform(path, 0.25, 0.75), sound[4000:12000] / 2, atol=1e-7)


def test_other_rates_are_resampled(tmp_path):
    path = tmp_path / "tone.wav"
    t = np.arange(44100) / 44100
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 1000 * t), 44100)
    waveform = read_waveform(path, 0.2, 0.7)
    assert waveform.shape == (8000,)
    peak = np.abs(np.fft.rfft(waveform)).argmax() * 16000 / 8000
    assert peak == pytest.approx(1000, abs=2)


def test_unusable_sound_is_refused_by_name(tmp_path, sound):
    path = tmp_path / "short.wav"
    soundfile.write(path, sound, 16000)
    assert len(read_waveform(path, 1.0, 1.4)) == 4000
    for start, end in ((1.0, 1.8), (1.25, 1.3), (7.0, 9.0)):
        said = rf"short\.wav ends at 1\.25 s, the clip goes from {start:.2f} s to {end:.2f} s"
        with pytest.raises(ShortSoundError, match=said):
            read_waveform(path, start, end)
    with pytest.raises(AudioError, match=r"short\.wav has 1 channel\(s\), none at index 1"):
        read_waveform(path, 0, 1, 1)
    with pytest.raises(AudioError, match=r"short\.wav has no sound from"):
        read_waveform(path, 1.0, 1.00001)
    (tmp_path / "text.wav").write_text("not sound")
    with pytest.raises(AudioError, match=r"text\.wav cannot be read as sound"):
        read_waveform(tmp_path / "text.wav", 0, 1)


def write_container(
    path,
    samples,
    *,
    codec="pcm_s16le",
    rate=16000,
    layout="mono",
    late=0.0,
    lost=(),
    pictures=False,
):
    """Write samples (n, channels), 16 kHz, in packets of 400; those that begin in `lost` go."""
    with av.open(str(path), "w") as container:
        rate = 16000
        sound = container.add_stream(codec, rate=rate, layout=layout)
        if pictures:
            video = container.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for _ in range(10):
                frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode())
        kind = {"pcm_s16le": "s16", "pcm_f32le": "flt"}.get(codec, "fltp")
        for first in range(0, len(samples), 400):
            if any(low <= first / rate < high for low, high in lost):
                continue
            values = samples[first : first + 400]
            if kind == "s16":
                values = np.round(values * 32767).astype(np.int16).reshape(1, -1)
            else:
                packed = values.reshape(1, -1) if kind == "flt" else values.T
                values = np.ascontiguousarray(packed)
            frame = av.AudioFrame.from_ndarray(values, format=kind, layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = first + round(late * rate)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())


@pytest.mark.parametrize(
    ("name", "codec", "tolerance"),
    # 16 bits; AAC keeps a sweep with noise to some hundredths.
    [("a.mkv", "pcm_s16le", 1e-4), ("a.mov", "pcm_s16le", 1e-4), ("a.mp4", "aac", 0.1)],
)
def test_a_container_gives_the_samples_that_were_written(tmp_path, sound, name, codec, tolerance):
    path = tmp_path / name
    write_container(path, sound[:, None], codec=codec, pictures=True)
    parts = [Stretch(0.0, 1.2), Stretch(0.25, 0.75), Stretch(0.5, 1.0)]
    found = read_waveforms(path, parts)
    for part, waveform in zip(parts, found, strict=True):
        wanted = sound[round(part.start * 16000) : round(part.end * 16000)]
        assert waveform.shape == wanted.shape
        assert np.abs(waveform - wanted).max() < tolerance
        assert np.array_equal(waveform, read_waveform(path, *part))


def test_channels_of_a_container(tmp_path, sound):
    path = tmp_path / "a.mkv"
    write_container(path, np.stack([sound, 0 * sound], axis=1), layout="stereo")
    assert np.abs(read_waveform(path, 0.25, 0.75, 0) - sound[4000:12000]).max() < 1e-4
    assert not read_waveform(path, 0.25, 0.75, 1).any()
    assert np.abs(read_waveform(path, 0.25, 0.75) - sound[4000:12000] / 2).max() < 1e-4
    with pytest.raises(AudioError, match=r"has 2 channel\(s\), wanted 1"):
        read_waveform(path, 0, 1, channels=1)
    with pytest.raises(AudioError, match="none at index 2"):
        read_waveform(path, 0, 1, 2)


def test_sound_that_begins_late_is_silent_until_then(tmp_path, sound):
    path = tmp_path / "late.mkv"
    write_container(path, sound[:16000, None], late=0.3, pictures=True)
    waveform = read_waveform(path, 0.0, 1.3)
    assert not waveform[:4800].any()
    assert np.abs(waveform[4800:] - sound[:16000]).max() < 1e-4


def test_lost_sound_is_refused_and_short_gaps_are_silent(tmp_path, sound):
    path = tmp_path / "gaps.mkv"
    samples = np.tile(sound, 3)[:, None]
    write_container(path, samples, lost=[(0.5, 0.7), (2.0, 3.0)])
    waveform = read_waveform(path, 0.0, 1.5)
    assert not waveform[8000:11200].any()
    assert np.abs(waveform[11200:] - samples[11200:24000, 0]).max() < 1e-4
    with pytest.raises(AudioError, match=r"no sound for 1\.00 s within the clip from 1\.80 s"):
        read_waveform(path, 1.8, 3.4)


def test_sound_that_is_lost_at_a_clips_edge_is_refused(tmp_path, sound):
    path = tmp_path / "gaps.mkv"
    samples = np.tile(sound, 6)[:, None]
    write_container(path, samples, lost=[(2.0, 4.0)])
    found = read_waveforms(path, [Stretch(1.0, 3.5), Stretch(3.0, 5.0), Stretch(4.2, 5.0)])
    for error, gap, start in ((found[0], "1.50", "1.00"), (found[1], "1.00", "3.00")):
        assert f"no sound for {gap} s within the clip from {start} s" in str(error)
    assert len(found[2]) == 12800


def test_samples_that_are_none_cost_their_own_clip_alone(tmp_path, sound):
    path = tmp_path / "odd.mkv"
    samples = np.tile(sound, 2)[:, None].astype(np.float32)
    samples[24000:24400] = np.nan
    write_container(path, samples, codec="pcm_f32le")
    found = read_waveforms(path, [Stretch(0.0, 1.0), Stretch(1.2, 2.0)])
    assert len(found[0]) == 16000
    assert "holds NaN" in str(found[1])


def test_unusable_containers_are_refused_by_name(tmp_path, sound):
    path = tmp_path / "a.mkv"
    write_container(path, sound[:, None])
    with pytest.raises(ShortSoundError, match=r"a\.mkv ends at 1\.25 s, the clip goes from 0\.00"):
        read_waveform(path, 0.0, 2.0)
    assert len(read_waveform(path, 1.0, 1.6)) == 4000
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
        container.mux(video.encode(frame))
        container.mux(video.encode())
    with pytest.raises(AudioError, match=r"mute\.mp4 has no sound"):
        read_waveform(tmp_path / "mute.mp4", 0.0, 1.0)
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(AudioError, match=r"text\.mp4 cannot be read as sound"):
        read_waveform(tmp_path / "text.mp4", 0.0, 1.0)
    with pytest.raises(AudioError, match=r"wanted a part from 0 s on"):
        read_waveform(path, 1.0, 0.5)


@pytest.mark.parametrize("name", ["a.wav", "a.mkv", "a.mp4"])
def test_streamed_parts_are_those_read_at_once(tmp_path, name):
    file = tmp_path / name
    if name == "a.wav":
        write_sound(file, 9.0)
    else:
        write_video(file, seconds=1.0, sound=9.0, form="matroska" if name == "a.mkv" else "mp4")
    parts = [Stretch(0, 3), Stretch(0.5, 0.7), Stretch(2.9, 3.4), Stretch(5, 8), Stretch(8, 9)]
    streamed = list(stream_waveforms(file, parts))
    for one, other in zip(streamed, read_waveforms(file, parts), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["a.wav", "a.mp4"])
def test_streamed_parts_may_end_with_their_recording(tmp_path, name):
    file = tmp_path / name
    if name == "a.wav":
        write_sound(file, 2.0)
    else:
        write_video(file, seconds=1.0, sound=2.0)
    parts = [Stretch(0, 1), Stretch(1, 4), Stretch(5, 6)]
    whole, cut, none = stream_waveforms(file, parts, short=True)
    assert len(whole) == 16000
    assert len(cut) == pytest.approx(16000, abs=2000)
    assert isinstance(none, ShortSoundError)
    refused = list(stream_waveforms(file, parts))
    assert [type(one) for one in refused[1:]] == [ShortSoundError] * 2


def test_a_stream_of_what_is_no_sound(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    for file in (tmp_path / "a.mp4", write_video(tmp_path / "b.mp4", seconds=1.0)):
        found = list(stream_waveforms(file, [Stretch(0, 1), Stretch(1, 2)]))
        assert len(found) == 2
        assert all(isinstance(one, AudioError) and file.name in str(one) for one in found)


def test_a_clips_end_is_clamped_to_a_sound_that_ends_long_before():
    assert heard_until(Stretch(1.0, 3.0), 2 * 16000 - 4000) == 3.0
    assert heard_until(Stretch(1.0, 3.0), 16000) == 2.0


@pytest.mark.parametrize("ending", ["wav", "ogg", "flac"])
def test_what_libsndfile_refuses_ffmpeg_reads(tmp_path, ending):
    """Phones and portals name AAC as they like."""
    right = write_video(tmp_path / "a.m4a", seconds=0, sound=1.0)
    named = tmp_path / f"a.{ending}"
    named.write_bytes(right.read_bytes())
    assert sound_length(named) == pytest.approx(1.0, abs=0.1)
    parts = [Stretch(0.1, 0.5), Stretch(0.4, 0.8)]
    for reading in (read_waveforms, stream_waveforms):
        for wanted, found in zip(reading(right, parts), reading(named, parts), strict=True):
            np.testing.assert_array_equal(wanted, found)
    named.write_text("no sound\n" * 99)
    with pytest.raises(AudioError, match="Format not recognised"):
        sound_length(named)
    with pytest.raises(AudioError, match="cannot be read as sound"):
        read_waveform(named, 0, 1)
