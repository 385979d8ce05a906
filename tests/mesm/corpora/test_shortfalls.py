"""Sound and pictures of different lengths: what is to blame, and how it is mended."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from mesm.corpora.extraction import Dialog, extract
from mesm.corpora.shortfalls import Recording, Shortfall
from mesm.corpora.utterances import Utterance
from mesm.inputs.face_detector import Detections
from mesm.inputs.video import Span, Spans, VideoError, read_spans

RATE = 16_000
PICTURES = 10  # a second


class NoFaces:
    """A detector that finds nothing."""

    def detect(self, frames: object) -> list[Detections]:
        nothing = np.empty((0, 4), np.float32), np.empty(0, np.float32)
        return [Detections(*nothing, np.empty((0, 5, 2), np.float32))] * len(frames)  # type: ignore[arg-type]


def record(
    path: Path, pictures: tuple[float, float] | None, sound: tuple[float, float] | None
) -> None:
    """Write a video whose streams go from when to when, in seconds."""
    with av.open(str(path), "w") as container:
        if pictures is not None:
            video = container.add_stream("mpeg4", rate=PICTURES)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        if sound is not None:
            audio = container.add_stream("aac", rate=RATE, layout="mono")
        if pictures is not None:
            for place in range(round(pictures[0] * PICTURES), round(pictures[1] * PICTURES)):
                grey = np.full((48, 64, 3), place % 200, np.uint8)
                picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
                picture.pts, picture.time_base = place, Fraction(1, PICTURES)
                container.mux(video.encode(picture))
            container.mux(video.encode())
        if sound is not None:
            for start in range(round(sound[0] * RATE), round(sound[1] * RATE), 1000):
                tone = np.sin(np.arange(start, start + 1000) / 5)[None].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())


def lines(folder: Path, sound_file: float | None, *clips: tuple[float, float]) -> list[str]:
    """Prepare clips of `folder`/v.mp4 with a sound file of some seconds; give what is said."""
    if sound_file is not None:
        time = np.arange(round(sound_file * RATE))
        soundfile.write(folder / "v.wav", np.sin(time / 5), RATE)
    utterances = tuple(
        Utterance(
            clip_id=f"v_{place}",
            dialog="v",
            speaker="v",
            start=start,
            end=end,
            text="words",
            labels=(1,),
            video=folder / "v.mp4",
            audio=folder / "v.wav",
        )
        for place, (start, end) in enumerate(clips)
    )
    table, skipped = extract(Dialog("v", folder, utterances, 20), NoFaces())  # type: ignore[arg-type]
    assert len(table) + len(skipped) == len(clips)
    return [clip.line() for clip in skipped]


TIMES = "; mend the clip's times, or leave the clip out"


def test_a_recording_whose_sound_ends_first(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", (0, 6), (0, 4))
    spans = read_spans(tmp_path / "v.mp4")
    assert spans.pictures == Span(0, 6)
    assert spans.sound is not None
    assert spans.sound.end == pytest.approx(4, abs=0.1)
    said = lines(tmp_path, 4.0, (0, 2), (3.6, 4.4), (3.5, 4.6), (4, 4.5), (5, 6))
    start = "sound ends too early: v.wav (v.wav ends at 4.00 s, the clip goes from "
    end = f"; its video's sound ends at {spans.sound.end:.2f} s){TIMES}"
    assert said == [
        f"skipped v_2: {start}3.50 s to 4.60 s{end}",
        f"skipped v_3: {start}4.00 s to 4.50 s{end}",
        f"skipped v_4: {start}5.00 s to 6.00 s{end}",
    ]


def test_a_sound_file_that_lacks_what_its_video_has(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", (0, 6), (0, 6))
    (said,) = lines(tmp_path, 4.0, (0, 2), (5, 5.5))
    assert said.startswith("skipped v_1: sound shorter than its video's: v.wav (v.wav ends at 4.00")
    assert said.endswith("; its video's sound ends at 6.00 s); extract the sound anew")


def test_pictures_that_end_or_begin_elsewhere(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", (1, 4), (0, 6))
    said = lines(tmp_path, 6.0, (0, 2), (0.8, 2), (3.5, 4.2), (3.5, 4.6), (5, 6))
    assert said == [
        "skipped v_0: pictures begin too late: v.mp4 (they begin at 1.00 s, wanted one at 0.00 s)"
        + TIMES,
        "skipped v_3: pictures end too early: v.mp4 (they end at 4.00 s, wanted one at 4.50 s)"
        + TIMES,
        "skipped v_4: pictures end too early: v.mp4 (they end at 4.00 s, wanted one at 5.00 s)"
        + TIMES,
    ]


def test_a_damaged_video_is_still_one(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", (0, 6), None)
    recording = Recording(tmp_path / "v.wav", tmp_path / "v.mp4")
    wanted = Shortfall("truncated or damaged video", tmp_path / "v.mp4", "no frame at 5.90 s")
    assert recording.no_picture(5.9) == wanted
    assert recording.no_picture(6.0).reason == "pictures end too early"
    # Cut short: its header still speaks of 6 s.
    record(tmp_path / "v.avi", (0, 6), None)
    whole = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "v.avi").write_bytes(whole[: len(whole) * 2 // 3])
    recording = Recording(tmp_path / "v.wav", tmp_path / "v.avi")
    assert recording.no_picture(5.9).reason == "truncated or damaged video"
    assert recording.no_picture(6.1).reason == "pictures end too early"


def test_a_sound_that_begins_late_must_keep_its_place(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", (0, 6), (2.5, 6))
    spans = read_spans(tmp_path / "v.mp4")
    assert spans.sound is not None
    assert spans.sound.end is not None
    assert spans.sound.start == pytest.approx(2.5, abs=0.1)
    # As whoever copies only the sound has it: 2.5 s too early. With silence first, it is right.
    length = spans.sound.end - spans.sound.start
    said = lines(tmp_path, length, (0, 2), (2, 3))
    assert said == [
        f"skipped v_{clip}: sound moved to 0 s: v.wav (it lasts {length:.2f} s from 0 s on, and in "
        f"v.mp4 the same from {spans.sound.start:.2f} s on); extract the sound anew, with silence "
        "up to its beginning (ffmpeg -i VIDEO -af aresample=async=1:first_pts=0 SOUND)"
        for clip in (0, 1)
    ]
    assert lines(tmp_path, 6.0, (0, 2), (2, 3)) == []


def test_a_recording_without_sound(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", (0, 2), None)
    assert read_spans(tmp_path / "v.mp4") == Spans(None, Span(0, 2), 2)
    assert lines(tmp_path, None, (0, 1)) == [
        "skipped v_0: no sound file: v.wav (nor has v.mp4 a sound); extract the recording's sound "
        "to it"
    ]
    record(tmp_path / "v.mp4", (0, 2), (0, 2))
    assert lines(tmp_path, None, (0, 1)) == [
        "skipped v_0: no sound file: v.wav; extract the recording's sound to it"
    ]
    (tmp_path / "v.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"v\.mp4 cannot be opened as a video"):
        read_spans(tmp_path / "v.mp4")
    assert lines(tmp_path, None, (0, 1)) == [
        "skipped v_0: no sound file: v.wav; extract the recording's sound to it"
    ]


def test_a_video_without_pictures_has_none(tmp_path: Path) -> None:
    record(tmp_path / "v.mp4", None, (0, 2))
    assert read_spans(tmp_path / "v.mp4").pictures is None
    (said,) = lines(tmp_path, 2.0, (0, 1))
    assert said.startswith("skipped v_0: unreadable video: v.mp4 (v.mp4 has no video stream")
