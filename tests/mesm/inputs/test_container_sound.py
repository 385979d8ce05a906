"""Parts of a container's sound: given early and yet as if all had been decoded before."""

import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition

from mesm.inputs import container_sound as module
from mesm.inputs.container_sound import decoded_samples
from mesm.inputs.sound_parts import Stretch
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.waveforms import each_waveform, read_waveforms, stream_waveforms

RATE = 16000


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
        monkeypatch.setattr(module._Piece, "is_whole", lambda *_: False)


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


def test_a_stream_gives_parts_in_turn_and_is_as_patient_as_times_fall_back(monkeypatch):
    first, again = np.full(RATE, 0.25, np.float32), np.full(1000, 0.5, np.float32)
    places = [0, 1000, 2000, RATE + 2000, 2 * RATE + 2000]
    of_frames(monkeypatch, [frame_at(p, again if p == 1000 else first) for p in places])
    parts = [Stretch(0, 1.5), Stretch(0.01, 0.5), Stretch(0.01, 0.5), Stretch(0.5, 1)]
    streamed = list(stream_waveforms(Path("a.mkv"), parts))
    for one, other in zip(streamed, read_waveforms(Path("a.mkv"), parts), strict=True):
        assert np.array_equal(one, other)
    assert (streamed[1][840:1840] == 0.5).all()


def test_parts_that_are_far_cost_nothing(monkeypatch):
    """An hour's sound is not compared with each of its thousand parts at every frame."""
    seconds = 200
    frames = [frame_at(RATE * second, np.ones(RATE, np.float32)) for second in range(seconds)]
    of_frames(monkeypatch, frames)
    calls = 0
    before = module._Piece.add

    def counted(self, *given):
        nonlocal calls
        calls += 1
        before(self, *given)

    monkeypatch.setattr(module._Piece, "add", counted)
    parts = [Stretch(second, second + 1) for second in range(seconds)]
    found = list(stream_waveforms(Path("a.mp4"), parts, short=True))
    assert all(len(one) == 16_000 for one in found)
    assert calls < 10 * seconds


@pytest.mark.parametrize(
    ("name", "codec", "layout", "kind"),
    [
        ("a.m4a", "aac", "7.1", "fltp"),
        ("b.mka", "libopus", "24 channels", "flt"),
        ("c.mka", "flac", "7.1", "s16"),
        ("d.mka", "pcm_s24le", "7.1", "s32"),
    ],
)
def test_samples_of_many_channels(tmp_path, name, codec, layout, kind):
    """With 8 planes and more, av's own arrays read what is not theirs, and the process dies."""
    channels, rate = av.AudioLayout(layout).nb_channels, 48000
    own = np.linspace(0.2, 0.9, channels)  # how loud each is
    tone = np.sin(2 * np.pi * 60 * np.arange(rate // 2) / rate)
    packed = (tone[:, None] * own).reshape(1, -1).astype(np.float32)
    with av.open(str(tmp_path / name), "w") as out:
        options = {"mapping_family": "255"} if codec == "libopus" else {}
        stream = out.add_stream(codec, rate=rate, layout=layout, format=kind, options=options)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(kind, layout, rate, stream.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode())
    with av.open(str(tmp_path / name)) as container:
        found = np.concatenate([decoded_samples(one) for one in container.decode(audio=0)])
    assert found.shape[1] == channels
    loud = np.abs(found[4000:16000]).max(axis=0)
    np.testing.assert_allclose(np.sort(loud), own, atol=0.1)
