"""Sound files, and the sound of videos: against what was written, sample by sample."""

import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from mesm.inputs import waveforms as module
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.waveforms import (
    ShortSoundError,
    Stretch,
    each_waveform,
    read_waveform,
    read_waveforms,
)

RATE = 16000


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


class Frames:
    """A container of made-up frames, whose times may go back, jump, or change their format."""

    def __init__(self, frames, rate=RATE):
        self.frames = frames
        stream = SimpleNamespace(
            codec_context=object(), rate=rate, channels=1, disposition=Disposition.default
        )
        self.streams = SimpleNamespace(audio=[stream])
        self.start_time = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def frame_at(place, samples, rate=RATE):
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), place
    return frame


def of_frames(monkeypatch, frames, *, hold=False):
    """See that a container has these frames; with `hold` nothing is given before the end."""
    monkeypatch.setattr(module, "opened", lambda path: Frames(frames))
    monkeypatch.setattr(module, "decode", lambda container, stream: iter(container.frames))
    if hold:
        monkeypatch.setattr(module._Piece, "ends_before", lambda *_: False)


def damaged_frames(rng):
    """Frames of noise that mostly follow each other."""
    frames, place = [], int(rng.integers(0, 3000))
    for _ in range(int(rng.integers(5, 60))):
        size = int(rng.integers(200, 1500))
        samples = rng.uniform(-1, 1, size).astype(np.float32)
        if rng.random() < 0.02:
            samples[0] = np.nan
        jump = rng.random()
        if jump < 0.1:
            place = max(0, place + int(rng.integers(-12000, 12000)))
        elif jump < 0.2:
            place += int(rng.integers(-700, 700))
        rate = 2 * RATE if rng.random() < 0.01 else RATE
        frames.append(frame_at(place * rate // RATE, samples, rate))
        place += size
    return frames


@pytest.mark.parametrize("seed", range(60))
def test_parts_given_early_are_those_of_the_whole(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    frames = damaged_frames(rng)
    ends = rng.uniform(0, 2.5, (12, 2))
    parts = [Stretch(min(pair), max(pair) + 0.01) for pair in ends] + [Stretch(0.5, 0.4)]
    with monkeypatch.context() as patch:
        of_frames(patch, frames, hold=True)
        wanted = read_waveforms(Path("a.mkv"), parts)
    of_frames(monkeypatch, frames)
    for one, other in zip(read_waveforms(Path("a.mkv"), parts), wanted, strict=True):
        if isinstance(other, AudioError):
            assert (type(one), str(one)) == (type(other), str(other))
        else:
            assert np.array_equal(one, other)


def test_times_that_go_back_give_a_part_again(monkeypatch):
    first, again = np.full(4000, 0.25, np.float32), np.full(1000, 0.5, np.float32)
    of_frames(monkeypatch, [frame_at(0, first), frame_at(4000, first), frame_at(1000, again)])
    found = list(each_waveform(Path("a.mkv"), [Stretch(0, 0.25), Stretch(0.25, 0.5)]))
    assert [number for number, _ in found] == [0, 1, 0]
    assert np.array_equal(found[0][1], first)
    assert np.array_equal(found[2][1], np.concatenate([first[:1000], again, first[:2000]]))


def test_the_memory_does_not_grow_with_the_length(monkeypatch):
    samples = np.zeros(RATE, np.float32)

    def peak(seconds):
        class Stream:
            def __iter__(self):
                return (frame_at(place * RATE, samples) for place in range(seconds))

        of_frames(monkeypatch, Stream())
        parts = [Stretch(place, place + 1) for place in range(seconds)]
        tracemalloc.start()
        count = sum(len(found) for _, found in each_waveform(Path("a.mkv"), parts))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == seconds * RATE
        return most

    peak(2)  # what is imported on the way does not count
    # A second is 64 kB; a hundred of them would be 6.4 MB.
    assert peak(200) - peak(20) < 3 * samples.nbytes
