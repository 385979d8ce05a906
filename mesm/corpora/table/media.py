"""The sound and the pictures of a table, as far as headers tell; nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mesm.inputs.sound_parts import LONGEST_LACK, RATES
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.video import LONGEST_HOLD, Span, VideoError, read_spans
from mesm.inputs.waveforms import SOUND_FILES, sound_length
from mesm.runs.ordinary import not_a_file

T = TypeVar("T")


@dataclass(frozen=True)
class Media:
    """The sound and the pictures of a clip's files.

    Attributes:
        audio: the file with the sound; None: there is no sound.
        video: the file with the pictures; None: there are none.
        start: the first second that both have.
        end: when the first of both ends; None: no header tells.
        longest: when the last of both ends; None: no header tells.
    """

    audio: Path | None
    video: Path | None
    start: float
    end: float | None
    longest: float | None

    def check(self, start: float | None, end: float | None) -> tuple[str, str] | None:
        """The column that is wrong, and why; None: a clip of these times can be read."""
        if start is not None and self.end is not None and start >= self.end:
            return "start", f"{start:g} s is not before the recording's end, {self.end:.2f} s"
        if end is not None and self.end is not None and end > self.end + LONGEST_LACK:
            return "end", f"{end:g} s is after the recording's end, {self.end:.2f} s"
        if start is not None and start < self.start:
            return "start", f"{start:g} s is before the first picture, at {self.start:.2f} s"
        if end is None and self.end is None:
            mend = "write the end, or copy the file (ffmpeg -i IN -c copy OUT)"
            return "end", f"the file does not tell how long it is; {mend}"
        return None


class MediaFiles:
    """The media that a table names, each opened once.

    Args:
        folder: the table's, from which paths lead.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sounds: dict[str, Span | str] = {}
        self._videos: dict[str, tuple[Span | None, Span] | str] = {}

    def find(self, video: str, audio: str, wrong: Callable[[str, str], object]) -> Media | None:
        """The media of a clip.

        Args:
            video: path from the table; empty: there are no pictures.
            audio: likewise; empty: the sound is the video's own, where it has any.
            wrong: told the column and why a file cannot be used.

        Returns:
            None where one of them cannot be used.
        """
        pictures: Span | None = None
        sound: Span | None = None
        failed = False
        if video:
            if video not in self._videos:
                self._videos[video] = self._look(video, _read_video)
            told = self._videos[video]
            if isinstance(told, str):
                wrong("video", told)
                failed = True
            else:
                sound, pictures = told
        if audio:
            if audio not in self._sounds:
                self._sounds[audio] = self._look(audio, _read_sound)
            heard = self._sounds[audio]
            if isinstance(heard, str):
                wrong("audio", heard)
                failed = True
            else:
                sound = heard
        if failed:
            return None
        ends = [span.end for span in (sound, pictures) if span and span.end is not None]
        late = pictures.start if pictures and pictures.start > LONGEST_HOLD else 0.0
        return Media(
            audio=self.folder / (audio or video) if sound else None,
            video=self.folder / video if video else None,
            start=late,
            end=min(ends, default=None),
            longest=max(ends, default=None),
        )

    def _look(self, name: str, read: Callable[[Path], T | str]) -> T | str:
        file = self.folder / name
        name = name if name.isprintable() else ascii(name)
        try:
            if not file.exists() and not file.is_symlink():
                return f"{name} is not there; paths lead from the table's folder"
            if not file.is_file():
                return f"{name} {not_a_file(file)}"
            return read(file)
        except VideoError as error:
            return str(error)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"


def _read_video(file: Path) -> tuple[Span | None, Span] | str:
    spans = read_spans(file)
    if spans.pictures is None:
        return f"{file} has no pictures; a sound alone belongs into the column audio"
    return _whole(spans.sound, spans.end), _whole(spans.pictures, spans.end) or spans.pictures


def _read_sound(file: Path) -> Span | str:
    if file.suffix.lower() not in SOUND_FILES:
        spans = read_spans(file)
        return _whole(spans.sound, spans.end) or f"{file} has no sound"
    import soundfile

    try:
        info = soundfile.info(file)
    except (soundfile.SoundFileError, OSError) as error:
        try:
            return Span(0.0, sound_length(file))  # as FFmpeg reads it
        except AudioError:
            return f"{file} cannot be read as sound ({error})"
    if not RATES[0] <= info.samplerate <= RATES[1]:
        return f"{file} has {info.samplerate} samples per second, wanted {RATES[0]} to {RATES[1]}"
    if not info.frames:
        return f"{file} holds no sound: it is empty"
    return Span(0.0, info.frames / info.samplerate)


def _whole(span: Span | None, end: float | None) -> Span | None:
    """A stream that tells no end of its own ends with its file."""
    return span if span is None or span.end is not None else Span(span.start, end)
