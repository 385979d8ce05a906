"""Pieces of recordings of all kinds: depths, rates, channels, uneven frames, several people."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from mesm.inference.cutting import Span
from mesm.inference.pieces import Piece, read_pieces
from mesm.inference.recording import open_recording
from mesm.inputs.face_detector import Detections
from mesm.inputs.spectrograms import log_mel
from mesm.inputs.waveforms import read_waveform
from tests.mesm.corpora.tiny_media import write_video
from tests.mesm.inference.recordings import film, voice


class Detector:
    """Finds faces of 20 pixels at these left edges, and another in every fifth frame."""

    def __init__(self, *corners: int) -> None:
        self.corners, self.seen = corners, 0

    def detect(self, frames):
        found = []
        for _ in frames:
            here = [*self.corners, 0][: len(self.corners) + (self.seen % 5 == 4)]
            box = np.array([[x, 5, x + 20, 25] for x in here], np.float32).reshape(-1, 4)
            n = len(box)
            found.append(Detections(box, np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32)))
            self.seen += 1
        return found


def read(file: Path, *spans: Span, detector: Detector | None = None, **options) -> list[Piece]:
    recording = open_recording(file)
    whole = spans or (Span(recording.start, recording.end),)
    return list(read_pieces(recording, whole, detector or Detector(), threads=1, **options))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_sound_files_of_every_depth(tmp_path: Path, subtype: str, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", voice(1.0, rate=rate), rate, subtype=subtype)
    (piece,) = read(tmp_path / "a.wav")
    assert piece.spectrogram.shape == (128, 81)
    assert piece.missing == ("text", "pictures")
    # The loudest band of a second of 180 Hz.
    assert piece.spectrogram.mean(1).argmax() == log_mel(voice(1.0)).mean(1).argmax()


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s32le", "flac"])
def test_containers_with_any_number_of_channels(tmp_path: Path, layout: str, codec: str) -> None:
    rate, file = 22050, tmp_path / "a.mkv"
    count = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        kind = stream.codec_context.codec.audio_formats[0].name
        samples = np.repeat(voice(1.0, rate=rate)[None], count, axis=0)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(kind, layout, rate, stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    (piece,) = read(file)
    wanted = log_mel(voice(1.0))
    assert piece.spectrogram.shape[1] == pytest.approx(81, abs=1)
    assert piece.spectrogram.mean(1).argmax() == wanted.mean(1).argmax()
    assert piece.notes == ()


def test_uneven_frame_rates(tmp_path: Path) -> None:
    """A phone's recording: frames come when they come."""
    file = tmp_path / "uneven.mkv"
    times = [0, 40, 70, 300, 340, 420, 700, 760, 990, 1010, 1200, 1420, 1600, 1770, 1980]
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            grey = np.full((48, 64, 3), time // 10, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (piece,) = read(file, Span(0.0, 2.0))
    assert piece.face_times.tolist() == [0.0, 0.5, 1.0, 1.5]
    shown = [max(t for t in times if t <= 1000 * instant) // 10 for instant in piece.face_times]
    np.testing.assert_allclose(piece.faces.mean((1, 2, 3)), shown, atol=6)


def test_pieces_that_overlap_have_their_own_faces(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", seconds=4.0, sound=4.0)
    spans = [Span(0.0, 3.0), Span(0.2, 0.9), Span(1.0, 2.0, "said"), Span(3.6, 4.0)]
    pieces = read(file, *spans)
    alone = [read(file, span)[0] for span in spans]
    for together, apart in zip(pieces, alone, strict=True):
        np.testing.assert_array_equal(together.faces, apart.faces)
        np.testing.assert_array_equal(together.spectrogram, apart.spectrogram)
        assert together.face_times.tolist() == apart.face_times.tolist()
    assert [piece.text for piece in pieces] == [None, None, "said", None]


def test_sound_and_pictures_that_end_early_are_noted(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", seconds=4.0, sound=1.5)
    first, second, third = read(file, Span(0, 1), Span(1, 3), Span(3, 4))
    assert first.notes == ()
    assert second.notes[0].startswith("its sound ends 1.")
    assert len(second.faces) == 4
    assert third.missing == ("text", "sound")
    file = write_video(tmp_path / "b.mp4", seconds=1.0, sound=4.0)
    first, second = read(file, Span(0, 2), Span(2, 4))
    assert (len(first.faces), first.notes) == (3, ("3 of 4 pictures",))
    assert second.missing == ("text", "pictures")


def test_who_is_followed_and_counted(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", seconds=3.0)
    (piece,) = read(file, detector=Detector(4, 40))
    assert (piece.people, piece.person, piece.face_found.all()) == (2, None, True)
    both = read(file, detector=Detector(4, 40), person="all")
    assert [one.person for one in both] == [1, 2]
    assert {tuple(box) for box in both[1].face_boxes[:, :1]} != {
        tuple(box) for box in both[0].face_boxes[:, :1]
    }
    (nobody,) = read(file, detector=Detector(), person="all")
    assert (nobody.people, nobody.person) == (0, None)  # a face that is seen once is nobody
    (third,) = read(file, detector=Detector(4, 40), person=3)
    assert third.missing == ("text", "sound", "pictures")
    assert third.notes == ("there is no person 3: 2 seen",)


def test_pieces_come_while_the_rest_is_not_decoded(tmp_path: Path) -> None:
    file = write_video(tmp_path / "long.mp4", seconds=60.0)
    detector = Detector()
    recording = open_recording(file)
    spans = [Span(5.0 * i, 5.0 * i + 5) for i in range(12)]
    pieces = read_pieces(recording, spans, detector, threads=1)
    next(pieces)
    assert detector.seen == 16
    assert len(list(pieces)) == 11
    assert detector.seen == 120


def test_what_is_lost_of_a_recording_is_told(tmp_path: Path) -> None:
    late = film(tmp_path / "late.mkv", 2.0, sound=voice(1.2), late=0.8)
    (piece,) = read(late)
    assert (piece.start, len(piece.faces)) == (0.0, 5)
    assert piece.notes == ("its sound begins 0.8 s late, and before that is silence",)
    wanted = log_mel(read_waveform(late, 0.0, piece.end))
    np.testing.assert_array_equal(piece.spectrogram, wanted)
    tail = film(tmp_path / "tail.mp4", 3.0, sound=voice(2.0))
    (piece,) = read(tail)
    assert piece.end == pytest.approx(2.0, abs=0.1)
    (note,) = piece.notes
    assert re.fullmatch(r"the (0.9|1.0) s after its sound ends are left out", note)
    (piece,) = read(tail, Span(0.0, 1.0))  # who names a part loses nothing
    assert piece.notes == ()
    quiet = film(tmp_path / "quiet.mkv", 1.0, sound=0 * voice(1.0))
    assert read(quiet)[0].notes == ("its sound is silent",)
