"""A recording's pieces as a model's inputs, read while the recording is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mesm.inference.cutting import Span
from mesm.inference.recording import InputError, Recording
from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.face_stream import Look, faces_at
from mesm.inputs.face_tracks import Track, faces_of, follow, longest_track
from mesm.inputs.faces import IMAGE_SIZE, FaceCrop, FaceRule, FrameFaces, sampling_instants
from mesm.inputs.sound_parts import LONGEST_LACK, Stretch
from mesm.inputs.spectrograms import MEL_BINS, SAMPLE_RATE, AudioError, log_mel
from mesm.inputs.video import LONGEST_HOLD, VideoError
from mesm.inputs.waveforms import heard_until, stream_waveforms

# A face that is seen in fewer of a piece's frames is no person, where there are so many frames.
LEAST_SIGHTINGS = 2
# The loudest sample of a sound that nobody hears; full scale is 1.
SILENT = 1e-4
# Which person of a piece: 1 is seen longest; "all": each in turn.
Person = int | str | None


@dataclass(frozen=True)
class Piece:
    """A piece of a recording, as `mesm prepare` makes a clip of it.

    Attributes:
        file: the recording.
        start: seconds from where the first of its streams begins.
        end: likewise.
        text: what is said; None: nothing is known of it.
        faces: (S, 48, 48, 3) uint8, RGB, one every 0.5 s.
        face_found: (S,) bool; where False the image is the centre of the frame.
        face_boxes: (S, 4) float32, x0, y0, x1, y1 in the frame, in pixels.
        face_times: (S,) float64, seconds.
        spectrogram: (128, T) float32, natural logarithm of the mel power.
        people: how many were seen.
        person: which of them the faces are of; None: the run's own rule.
        notes: what was not as it should be, in words.
    """

    file: Path
    start: float
    end: float
    text: str | None
    faces: npt.NDArray[np.uint8]
    face_found: npt.NDArray[np.bool_]
    face_boxes: npt.NDArray[np.float32]
    face_times: npt.NDArray[np.float64]
    spectrogram: npt.NDArray[np.float32]
    people: int
    person: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of "text", "sound" and "pictures" that it has none of."""
        there = {
            "text": bool(self.text and self.text.strip()),
            "sound": self.spectrogram.shape[1] > 0,
            "pictures": len(self.faces) > 0,
        }
        return tuple(name for name, found in there.items() if not found)


def check_chosen(person: Person) -> None:
    """Refuse, with an InputError, what names no person: see `read_pieces`."""
    number = isinstance(person, int) and not isinstance(person, bool) and person >= 1
    if not (number or person is None or person == "all"):
        raise InputError(f"person: wanted a number from 1 on, 'all' or None, got {person!r}")


def read_pieces(
    recording: Recording,
    spans: Sequence[Span],
    detector: FaceDetector,
    *,
    rule: FaceRule = "largest",
    person: Person = None,
    transcribe: Callable[[npt.NDArray[np.float32]], str] | None = None,
    threads: int = 0,
) -> Iterator[Piece]:
    """Decode a recording once and give its pieces as soon as they are decoded.

    No more is in memory than the pieces that overlap, however long the recording is.

    Args:
        recording: what is read.
        spans: by rising starts.
        detector: finds the faces.
        rule: whose faces, where no person is asked for.
        person: 1 for the person whose face is seen longest in a piece, and so on; "all": a piece
            for each of them; None: by the rule.
        transcribe: gives the words of a waveform at 16 kHz, for pieces without any; None: they
            stay without.
        threads: that decode pictures; 0: as many as there are cores.

    Yields:
        The pieces in the order of the spans. Sound or pictures that cannot be decoded are missing
        in them, and noted.
    """
    sounds = _sounds(recording, spans)
    seen = _Faces(recording, spans, detector, rule == "track" or person is not None, threads)
    for number, span in enumerate(spans):
        notes = _left_out(recording, spans, number)
        heard = next(sounds)
        spectrogram = np.empty((MEL_BINS, 0), np.float32)
        end = span.end
        if isinstance(heard, AudioError):
            notes.append(str(heard))
        elif heard is not None:
            spectrogram = log_mel(heard)
            late = recording.heard - span.start
            if np.abs(heard).max() < SILENT:
                notes.append("its sound is silent")
            elif late > LONGEST_HOLD:
                notes.append(f"its sound begins {late:.1f} s late, and before that is silence")
            lack = span.end - (span.start + len(heard) / SAMPLE_RATE)
            if lack > LONGEST_LACK:
                notes.append(f"its sound ends {lack:.1f} s before it")
            else:
                end = heard_until(Stretch(span.start, span.end), len(heard))
            if transcribe is not None and span.text is None:
                span = span._replace(text=transcribe(heard))
        times, frames = seen.of(number, end)
        if seen.failure is not None:
            notes.append(seen.failure)
        elif recording.pictures and len(frames) < len(sampling_instants(span.start, end)):
            notes.append(f"{len(frames)} of {len(sampling_instants(span.start, end))} pictures")
        tracks = _people(frames)
        piece = Piece(
            *(recording.path, span.start, span.end, span.text),
            **_arrays([], []),
            spectrogram=spectrogram,
            people=len(tracks),
            notes=tuple(notes),
        )
        yield from _with_faces(piece, times, frames, tracks, rule, person)


def _left_out(recording: Recording, spans: Sequence[Span], number: int) -> list[str]:
    """Note what is lost before a recording's first piece and after its last, as notes of these."""
    before, after = recording.lost
    notes = []
    if before and number == 0 and spans[0].start <= recording.start:
        notes.append(before)
    if after and number == len(spans) - 1 and spans[-1].end >= recording.end:
        notes.append(after)
    return notes


def _sounds(
    recording: Recording, spans: Sequence[Span]
) -> Iterator[npt.NDArray[np.float32] | AudioError | None]:
    if not recording.sound:
        for _ in spans:
            yield None
        return
    parts = [Stretch(span.start, span.end) for span in spans]
    yield from stream_waveforms(recording.path, parts, short=True)


class _Faces:
    """The faces of pieces, decoded as far as they are asked for."""

    def __init__(
        self,
        recording: Recording,
        spans: Sequence[Span],
        detector: FaceDetector,
        every: bool,
        threads: int,
    ) -> None:
        self.spans = spans
        self.failure: str | None = None
        # Instants of pieces that overlap come in turns.
        self.wanted: list[tuple[float, int]] = []
        if recording.pictures:
            self.wanted = sorted(
                (instant, number)
                for number, span in enumerate(spans)
                for instant in sampling_instants(span.start, span.end)
            )
        self.left = [0] * len(spans)
        for _, number in self.wanted:
            self.left[number] += 1
        self.kept: dict[int, list[tuple[float, FrameFaces]]] = {}
        looks = [Look(instant) for instant, _ in self.wanted]
        self.stream = faces_at(*(recording.path, looks, detector), every=every, threads=threads)

    def of(self, number: int, end: float) -> tuple[list[float], list[FrameFaces]]:
        """The instants of a piece that ends then, and the faces of those that have a frame."""
        try:
            while self.left[number] and self.failure is None:
                index, faces = next(self.stream)
                instant, owner = self.wanted[index]
                self.left[owner] -= 1
                if faces is not None:
                    self.kept.setdefault(owner, []).append((instant, faces))
        except VideoError as error:
            self.failure = str(error)
        start = self.spans[number].start
        looked_at = set(sampling_instants(start, end))
        found = [(t, f) for t, f in sorted(self.kept.pop(number, []), key=lambda one: one[0])]
        there = [(instant, faces) for instant, faces in found if instant in looked_at]
        return [instant for instant, _ in there], [faces for _, faces in there]


def _people(frames: Sequence[FrameFaces]) -> list[Track]:
    """The tracks that are long enough to be somebody, the longest first."""
    least = min(LEAST_SIGHTINGS, len(frames))
    return [track for track in follow([f.boxes for f in frames]) if len(track) >= least]


def _with_faces(
    piece: Piece,
    times: Sequence[float],
    frames: Sequence[FrameFaces],
    tracks: Sequence[Track],
    rule: FaceRule,
    person: Person,
) -> Iterator[Piece]:
    """The piece with the faces of those who are asked for."""
    if person is None or (person == "all" and not tracks):
        faces = longest_track(frames) if rule == "track" else [f.largest for f in frames]
        yield replace(piece, **_arrays(faces, times))
        return
    for number in range(1, len(tracks) + 1) if person == "all" else [int(person)]:
        if number <= len(tracks):
            faces = faces_of(tracks[number - 1], frames)
            yield replace(piece, **_arrays(faces, times), person=number)
        else:
            note = f"there is no person {number}: {len(tracks)} seen"
            yield replace(piece, notes=(*piece.notes, note), person=number)


def _arrays(faces: Sequence[FaceCrop], times: Sequence[float]) -> dict[str, Any]:
    size = (0, IMAGE_SIZE, IMAGE_SIZE, 3)
    return {
        "faces": np.stack([f.image for f in faces]) if faces else np.empty(size, np.uint8),
        "face_found": np.array([face.found for face in faces], np.bool_),
        "face_boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),
        "face_times": np.array(times, np.float64),
    }
