"""Why sound or pictures are not there where a clip wants them, as far as headers tell."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mesm.inputs.sound_parts import LONGEST_LACK
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.video import LONGEST_HOLD, Spans, VideoError, read_spans
from mesm.inputs.waveforms import sound_length

# Codecs add or cut this many seconds at the ends of a sound.
CODEC = 0.2


class Shortfall(NamedTuple):
    """A reason of `utterances.MENDS`, the file that is to blame, and what was found."""

    reason: str
    file: Path
    detail: str = ""


class Recording:
    """The sound and the video of a dialog's clips; headers are read once, when they are asked for.

    Args:
        audio: the sound's file; None: there is none.
        video: the video's file, with a sound of its own or without; None: there is none.
    """

    def __init__(self, audio: Path | None, video: Path | None) -> None:
        self.audio, self.video = audio, video

    @cached_property
    def spans(self) -> Spans | None:
        """How long the video's streams last; None: it cannot be opened."""
        try:
            return None if self.video is None else read_spans(self.video)
        except VideoError:
            return None

    @cached_property
    def is_mute(self) -> bool:
        """Whether the sound should be in the video's own file, which has none."""
        if self.audio is None or self.audio != self.video:
            return False
        return self.spans is not None and self.spans.sound is None

    @cached_property
    def moved(self) -> Shortfall | None:
        """Tells whether the file's sound begins at 0 s, and its video's later.

        Whoever copies a sound that begins late without its times makes a file as long as that
        sound alone; whoever minds them, one that begins with silence.
        """
        # A sound that is read from the video's own file is where it should be.
        if self.audio is None or self.audio == self.video:
            return None
        sound = self.spans and self.spans.sound
        if not sound or sound.end is None or sound.start <= LONGEST_HOLD:
            return None
        length = _seconds(self.audio)
        if length is None or abs(length - (sound.end - sound.start)) > CODEC:
            return None
        detail = (
            f"it lasts {length:.2f} s from 0 s on, and in {self.video} the same from "
            f"{sound.start:.2f} s on"
        )
        return Shortfall("sound moved to 0 s", self.audio, detail)

    def no_sound_file(self, detail: str) -> Shortfall:
        """Tell whether a sound that is not there is in the video."""
        assert self.audio is not None
        if self.spans is not None and self.spans.sound is None and not detail:
            detail = f"nor has {self.video} a sound"
        return Shortfall("no sound file", self.audio, detail)

    def short_sound(self, detail: str, end: float) -> Shortfall:
        """Tell whether the video has the sound that is missing up to a clip's end, in seconds."""
        assert self.audio is not None
        sound = self.spans and self.spans.sound
        if self.audio != self.video and sound and sound.end is not None:
            detail += f"; its video's sound ends at {sound.end:.2f} s"
            if sound.end >= end - LONGEST_LACK and sound.end > (_seconds(self.audio) or 0) + CODEC:
                return Shortfall("sound shorter than its video's", self.audio, detail)
        return Shortfall("sound ends too early", self.audio, detail)

    def no_picture(self, instant: float) -> Shortfall:
        """Tell whether a picture that is not there was ever promised."""
        assert self.video is not None
        pictures = self.spans and self.spans.pictures
        wanted = f"wanted one at {instant:.2f} s"
        if pictures and instant < pictures.start:
            detail = f"they begin at {pictures.start:.2f} s, {wanted}"
            return Shortfall("pictures begin too late", self.video, detail)
        if pictures and pictures.end is not None and instant >= pictures.end:
            detail = f"they end at {pictures.end:.2f} s, {wanted}"
            return Shortfall("pictures end too early", self.video, detail)
        detail = f"no frame at {instant:.2f} s"
        return Shortfall("truncated or damaged video", self.video, detail)


def _seconds(file: Path) -> float | None:
    if not file.is_file():
        return None
    try:
        return sound_length(file)
    except AudioError:
        return None
