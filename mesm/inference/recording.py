"""A recording that is to be predicted: what its file holds and how long it lasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer

from mesm.corpora.shortfalls import Shortfall
from mesm.corpora.trees import is_pointer
from mesm.corpora.whole_files import measure
from mesm.inputs.sound_parts import LONGEST_LACK
from mesm.inputs.video import (
    DECODING,
    CutShortError,
    Spans,
    VideoError,
    opened,
    origin_of,
    read_spans,
)
from mesm.inputs.waveforms import SOUND_FILES
from mesm.runs.ordinary import not_a_file

# Endings of files in a folder that are taken for recordings, besides those of sound files.
CONTAINERS = {
    *(".3g2", ".3gp", ".aac", ".ac3", ".amr", ".asf", ".avi", ".divx", ".dv", ".eac3", ".f4v"),
    *(".flv", ".gif", ".m2t", ".m2ts", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2"),
    *(".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".ogx", ".qt", ".rm"),
    *(".rmvb", ".ts", ".tta", ".vob", ".weba", ".webm", ".wma", ".wmv", ".wv"),
}
CONVERT = "convert it (ffmpeg -i IN OUT.mp4), or leave it out"
# Packets that are looked at for a sign of encryption.
_FIRST_PACKETS = 8
# Kinds of files of one picture that FFmpeg reads as it does videos.
_STILL_BRANDS = ("avif", "heic", "heim", "heis", "heix", "mif1")


def printable(text: str) -> str:
    """A line that may be shown: what steers a terminal, and what is no text, as its code."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class InputError(ValueError):
    """A recording, or what was said about it, that cannot be used; names it and the mend."""


@dataclass(frozen=True)
class Recording:
    """A file that can be opened.

    Attributes:
        path: the file.
        sound: whether it has a sound.
        pictures: whether it has pictures, and not only a cover.
        start: seconds from where the first of its streams begins, from which on all is there.
        end: seconds at which it ends.
        heard: second at which its sound begins.
        lost: in words, what is left out before its start and after its end; "" for nothing.
    """

    path: Path
    sound: bool
    pictures: bool
    start: float
    end: float
    heard: float = 0.0
    lost: tuple[str, str] = ("", "")

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.end - self.start


def find_recordings(inputs: Iterable[Path]) -> Iterator[Path]:
    """Give the files that are named, and those in folders and below that end as recordings do.

    Raises:
        InputError: a folder holds none; names it.
    """
    for place in inputs:
        if not place.is_dir():
            yield place
            continue
        found = [
            file
            for file in sorted(place.rglob("*"))
            if file.suffix.lower() in SOUND_FILES | CONTAINERS
            and not any(part.startswith(".") for part in file.relative_to(place).parts)
            and not file.is_dir()
        ]
        if not found:
            raise InputError(
                f"{place} holds no recording; wanted files that end with .mp4, .wav and the like: "
                "name another folder, or the files themselves"
            )
        yield from found


def open_recording(path: Path) -> Recording:
    """Look at a file's header.

    Raises:
        InputError: there is no such file, it is empty, no recording, encrypted, or has no length.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} {not_a_file(path)}; name a video, a sound file or a folder")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy it again from where it is whole")
        if is_pointer(path):
            raise InputError(f"{path} is a Git LFS pointer; fetch the file with git lfs pull")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); see who may read it"
        ) from error
    if path.suffix.lower() in SOUND_FILES:
        found = measure(path, None)
        if isinstance(found, Shortfall):
            reason = found.detail or found.reason
            raise InputError(f"{path} cannot be opened as a sound ({reason}); {CONVERT}")
        return _lasting(Recording(path, True, False, *found))
    try:
        spans = read_spans(path)
        _check_readable(path)
        return _lasting(_of_container(path, spans))
    except CutShortError as error:
        raise InputError(str(error)) from error
    except VideoError as error:
        raise InputError(f"{error}; {CONVERT}") from error


def _lasting(recording: Recording) -> Recording:
    if not recording.seconds > 0:
        raise InputError(f"{recording.path} lasts 0 s: there is nothing to predict; leave it out")
    return recording


def _of_container(path: Path, spans: Spans) -> Recording:
    sound, pictures = spans.sound is not None, spans.pictures is not None
    if not sound and not pictures:
        raise InputError(f"{path} has neither sound nor pictures; {CONVERT}")
    heard = 0.0 if spans.sound is None else spans.sound.start
    if pictures:
        # As `mesm prepare table` takes a file that is one clip.
        found = measure(path, path)
        if not isinstance(found, Shortfall):
            return Recording(path, sound, True, *found, heard, _lost(spans, *found))
    there = [span for span in (spans.sound, spans.pictures) if span is not None]
    ends = [span.end for span in there if span.end]
    end = max(ends) if ends else spans.end or _end_of_packets(path)
    if not end:
        raise InputError(
            f"{path} tells no times, or has nothing but its head; convert it (ffmpeg -i IN "
            "OUT.mp4), or leave it out"
        )
    return Recording(path, sound, pictures, 0.0, end, heard)


def _lost(spans: Spans, start: float, end: float) -> tuple[str, str]:
    """Name what is left out of a recording before its start and after its end, in words."""
    before = after = ""
    if start > 0:
        before = f"the {start:.1f} s before its pictures begin are left out"
    ends = [span.end for span in (spans.sound, spans.pictures) if span is not None and span.end]
    if len(ends) > 1 and max(ends) - end > LONGEST_LACK:
        which = "sound ends" if ends[0] < ends[1] else "pictures end"
        after = f"the {max(ends) - end:.1f} s after its {which} are left out"
    return before, after


def _check_readable(path: Path) -> None:
    """Refuse what FFmpeg opens and nobody meant as a recording, and what is encrypted."""
    with opened(path) as container:
        kind = container.format.name
        if kind == "tty":
            raise InputError(f"{path} is a text; name the recording that it belongs to")
        if kind == "webp_pipe":
            raise InputError(
                f"{path} is a WebP picture or animation, no recording; convert an animation (to "
                "GIF or MP4), or name a video or a sound file"
            )
        still = kind == "image2" or kind.endswith("_pipe")
        still |= container.metadata.get("major_brand", "").strip() in _STILL_BRANDS
        count = 0
        for packet in islice(packets(container), _FIRST_PACKETS):
            count += packet.size > 0
            if packet.has_sidedata("encryption_info"):
                raise InputError(
                    f"{path} is encrypted; decrypt it (ffmpeg -decryption_key KEY -i IN -c copy "
                    "OUT), or leave it out"
                )
        if still or (kind in ("apng", "gif") and count < 2):
            raise InputError(f"{path} is a picture, no recording; name a video or a sound file")


def _end_of_packets(path: Path) -> float:
    """At which second the last packet ends, where no header tells; nothing is decoded."""
    end = 0.0
    with opened(path) as container:
        origin = origin_of(container)
        for packet in packets(container):
            if packet.pts is None or packet.time_base is None:
                continue
            until = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            end = max(end, until - origin)
    return end


def packets(
    container: InputContainer, streams: Sequence[av.stream.Stream] = ()
) -> Iterator[av.Packet]:
    """Give packets until no more can be read.

    Args:
        container: that is read.
        streams: whose packets; none: all pictures' and sounds'.
    """
    wanted = streams or [*container.streams.video, *container.streams.audio]
    try:
        yield from container.demux(wanted)
    except DECODING:
        return
