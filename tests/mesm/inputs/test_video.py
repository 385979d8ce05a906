from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from mesm.inputs.video import Span, VideoError, frames_at, read_spans

RATE = Fraction(30000, 1001)


def write_video(path, count, codec="mpeg4", times=None, b_frames=0):
    """Write grey frames; frame i has the level (i * 8) % 240."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        stream.bit_rate = 800_000
        for i in range(count):
            image = np.full((48, 64, 3), (i * 8) % 240, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.time_base = Fraction(1, 3000)
                frame.pts = round(times[i] * 3000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def shown(frame):
    return None if frame is None else round(float(frame.mean()) / 8)


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [("a.avi", "mpeg4", 0), ("b.mp4", "mpeg4", 0), ("c.mp4", "libx264", 2)],
)
def test_the_frame_shown_at_an_instant_at_29_97_per_second(tmp_path, name, codec, b_frames):
    write_video(tmp_path / name, 600, codec, b_frames=b_frames)
    instants = [0.0, 0.5, 1.0, 1.0, 5.01, 10.0, 19.5]
    wanted = [int(t * RATE + Fraction(1, 100)) for t in instants]
    # Counting 30 frames a second would be half a second late at the end of such a video.
    assert wanted[-2] == 299
    found = list(frames_at(tmp_path / name, instants))
    assert [i for i, _ in found] == list(range(len(instants)))
    assert [shown(frame) for _, frame in found] == [i % 30 for i in wanted]
    assert found[0][1].shape == (48, 64, 3)
    assert found[0][1].dtype == np.uint8


def test_uneven_rates_and_gaps(tmp_path):
    times = [0, 0.1, 0.15, 0.4, 0.5, 1.5, 1.6]
    write_video(tmp_path / "uneven.mp4", 7, times=times)
    instants = [0.05, 0.12, 0.39, 0.45, 0.7, 1.0, 1.55, 1.8, 3.0]
    # 1.0 lies half a second after the frame before it, 3.0 after the end.
    wanted = [0, 1, 2, 3, 4, None, 5, 6, None]
    assert [shown(f) for _, f in frames_at(tmp_path / "uneven.mp4", instants)] == wanted


def test_flash_video_with_uneven_times(tmp_path):
    """Sorenson's H.263 in FLV, as CREMA-D has it: milliseconds, and no length of a stream."""
    times = [0, 0.033, 0.1, 0.3, 0.333, 0.5, 0.9, 1.0]
    write_video(tmp_path / "a.flv", len(times), "flv1", times=times)
    with av.open(str(tmp_path / "a.flv")) as container:
        assert container.streams.video[0].codec_context.name == "flv"
    instants = [0.0, 0.05, 0.25, 0.32, 0.45, 0.7, 0.8, 0.95, 1.01]
    # 0.8 is more than a quarter of a second after the picture before it.
    wanted = [0, 1, 2, 3, 4, 5, None, 6, 7]
    assert [shown(f) for _, f in frames_at(tmp_path / "a.flv", instants)] == wanted
    spans = read_spans(tmp_path / "a.flv")
    assert spans.pictures == Span(0.0, None)
    assert spans.end == pytest.approx(1.0, abs=0.05)


def test_a_truncated_file_has_frames_up_to_the_cut(tmp_path):
    write_video(tmp_path / "whole.avi", 300)
    data = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: int(len(data) * 0.4)])
    found = [shown(f) for _, f in frames_at(tmp_path / "cut.avi", [0.0, 1.0, 9.0])]
    assert found == [0, 29, None]


def test_damage_in_the_middle_costs_only_what_it_touches(tmp_path):
    write_video(tmp_path / "whole.avi", 300)
    data = bytearray((tmp_path / "whole.avi").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "hurt.avi").write_bytes(data)
    found = dict(frames_at(tmp_path / "hurt.avi", [0.0, 0.5, 9.5]))
    assert [shown(found[i]) for i in (0, 1)] == [0, 14]
    assert len(found) == 3


def test_what_is_no_video_is_refused_by_name(tmp_path):
    (tmp_path / "text.avi").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.avi cannot be opened as a video"):
        list(frames_at(tmp_path / "text.avi", [0.0]))
    with pytest.raises(VideoError, match=r"none\.avi cannot be opened as a video"):
        list(frames_at(tmp_path / "none.avi", [0.0]))
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound\.wav has no video stream"):
        list(frames_at(tmp_path / "sound.wav", [0.0]))
    with pytest.raises(ValueError, match="ascending"):
        list(frames_at(tmp_path / "text.avi", [1.0, 0.0]))


def grey(level, pts, rate=30):
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
    frame.pts, frame.time_base = pts, Fraction(1, rate)
    return frame


def write_streams(path, streams):
    """Write videos side by side: (levels of the frames, first frame's place, disposition)."""
    with av.open(str(path), "w") as out:
        made = []
        for _, _, disposition in streams:
            stream = out.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.disposition = disposition
            made.append(stream)
        for stream, (levels, start, _) in zip(made, streams, strict=True):
            for i, level in enumerate(levels):
                out.mux(stream.encode(grey(level, start + i)))
            out.mux(stream.encode())


def test_of_several_videos_the_default_one_is_shown_and_covers_never(tmp_path):
    write_streams(tmp_path / "a.mkv", [([80] * 9, 0, 0), ([160] * 9, 0, Disposition.default)])
    assert [shown(f) for _, f in frames_at(tmp_path / "a.mkv", [0.1])] == [20]
    write_streams(tmp_path / "b.mkv", [([80] * 9, 0, 0), ([160] * 9, 0, 0)])
    assert [shown(f) for _, f in frames_at(tmp_path / "b.mkv", [0.1])] == [10]
    with av.open(str(tmp_path / "c.mp4"), "w") as out:
        cover = out.add_stream("mjpeg", rate=30)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = out.add_stream("aac", rate=16000)
        out.mux(cover.encode(grey(80, 0).reformat(format="yuvj420p")))
        out.mux(cover.encode())
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        tone.sample_rate = 16000
        out.mux(sound.encode(tone))
        out.mux(sound.encode())
    with pytest.raises(VideoError, match=r"c\.mp4 has no video, only a still cover"):
        list(frames_at(tmp_path / "c.mp4", [0.0]))


def test_seconds_are_counted_from_the_first_stream(tmp_path):
    """Frames that begin 0.2 s after the sound are shown 0.2 s later."""
    for name in ("a.mkv", "a.mp4"):
        with av.open(str(tmp_path / name), "w") as out:
            stream = out.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            sound = out.add_stream("pcm_s16le" if name == "a.mkv" else "aac", rate=16000)
            form, kind = ("s16", np.int16) if name == "a.mkv" else ("fltp", np.float32)
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), kind), form, "mono")
            tone.sample_rate, tone.pts = 16000, 0
            out.mux(sound.encode(tone))
            out.mux(sound.encode())
            for i in range(30):
                out.mux(stream.encode(grey(i * 8, 6 + i)))
            out.mux(stream.encode())
        found = [shown(f) for _, f in frames_at(tmp_path / name, [0.41, 0.81])]
        assert found == [6, 18], name


@pytest.mark.parametrize("name", ["talk: one.mp4", "concat:a.mp4", "http:a.mp4", "-a.mp4"])
def test_a_name_is_a_files_name_whatever_it_holds(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_video(tmp_path / name, seconds=1)
    small_video(tmp_path / "a.mp4", seconds=3)
    assert read_spans(Path(name)).end == pytest.approx(1)
    assert read_spans(tmp_path / name).end == pytest.approx(1)


def test_lists_of_other_files_are_none(tmp_path):
    small_video(tmp_path / "a.ts", seconds=1)
    small_video(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "b.m3u8").write_text(playlist)
    for name in ("b.mp4", "b.m3u8"):
        with pytest.raises(VideoError, match=f"{name} is a list of other files; name these"):
            read_spans(tmp_path / name)


def test_an_mkv_that_begins_late_is_as_long_as_its_packets(tmp_path):
    """FFmpeg writes the last time as its length, others what lies between the first and that."""
    file = small_video(tmp_path / "a.mkv", seconds=2, begins=5)
    with av.open(str(file)) as container:
        assert container.start_time == 5_000_000
        assert container.duration == pytest.approx(7_000_000, abs=100_000)
    assert read_spans(file).end == pytest.approx(2, abs=0.05)


def small_video(file, seconds, begins=0):
    with av.open(str(file.parent / f"written{file.suffix}"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for number in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8), "rgb24")
            frame.pts, frame.time_base = number + 10 * begins, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return (file.parent / f"written{file.suffix}").replace(file)


def test_pictures_that_an_edit_list_hides_have_no_length(tmp_path):
    """As `ffmpeg -ss 1.3 -i IN -c copy OUT.mp4` cuts: from the last key frame on, and not shown."""
    write_video(tmp_path / "whole.mp4", 90)
    with av.open(str(tmp_path / "whole.mp4")) as whole:
        options = {"avoid_negative_ts": "disabled"}
        with av.open(str(tmp_path / "cut.mp4"), "w", container_options=options) as cut:
            copy = cut.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(video=0):
                if packet.dts is None:
                    continue
                hidden = round(9 / RATE / packet.time_base)
                packet.pts, packet.dts, packet.stream = (
                    packet.pts - hidden,
                    packet.dts - hidden,
                    copy,
                )
                cut.mux(packet)
    spans = read_spans(tmp_path / "cut.mp4")
    assert spans.pictures.end == pytest.approx(float(81 / RATE), abs=0.01)
    assert shown(next(frames_at(tmp_path / "cut.mp4", [0.0]))[1]) == 9
