"""How long a clip lasts that has its files to itself, as their headers tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mesm.corpora.shortfalls import Shortfall
from mesm.corpora.trees import is_pointer
from mesm.corpora.utterances import RawCorpus
from mesm.inputs.sound_parts import Stretch
from mesm.inputs.spectrograms import AudioError
from mesm.inputs.video import LONGEST_HOLD, Span, VideoError, read_spans
from mesm.inputs.waveforms import sound_length
from mesm.runs.ordinary import not_a_file

# Sound and pictures that share less than this part of the longer one are not of one clip.
LEAST_SHARED = 0.5


def measure_all(
    corpus: RawCorpus, clips: Sequence[tuple[str, Path | None, Path | None]]
) -> list[Stretch | None]:
    """Find the part of every clip's files in which all that it has is there, with a progress bar.

    Args:
        corpus: where a clip is noted whose files cannot be used.
        clips: the name, the sound and the video of each; see `measure`.

    Returns:
        From when to when, in seconds; None for clips that cannot be used.
    """
    parts: list[Stretch | None] = []
    for clip_id, audio, video in tqdm(clips, desc="reading headers", unit="clip", leave=False):
        found = measure(audio, video)
        if isinstance(found, Shortfall):
            # Files are named from the corpus' folder on.
            detail = found.detail.replace(f"{corpus.root}/", "")
            corpus.skip(clip_id, *found[:2], detail=detail)
        parts.append(None if isinstance(found, Shortfall) else found)
    return parts


def measure(audio: Path | None, video: Path | None) -> Stretch | Shortfall:
    """Give the part of a clip's files in which all that it has is there; nothing is decoded.

    A sound that begins late is there from the first picture on, as silence.

    Args:
        audio: the sound file, or the video's own, which may have no sound; None: there is none.
        video: the video's file; None: there is none.

    Returns:
        From when to when, in seconds from where the first stream begins; or why there is no such.
    """
    for file in dict.fromkeys((video, audio)):
        wrong = None if file is None else _wrong(file, file == video)
        if wrong:
            return wrong
    pictures: list[Span] = []
    sounds: list[Span] = []
    if video is not None:
        try:
            found = read_spans(video)
        except VideoError as error:
            return Shortfall("unreadable video", video, str(error))
        if found.pictures is None:
            return Shortfall("unreadable video", video, "it has no pictures")
        own = found.sound if audio == video else None
        for span, spans in ((found.pictures, pictures), (own, sounds)):
            if span is not None:
                end = span.end if span.end is not None else found.end
                # A length of nothing is none that is told: pictures may be there for all that.
                spans.append(Span(span.start, end if end and end > span.start else None))
    if audio is not None and audio != video:
        length = _sound_length(audio)
        if isinstance(length, Shortfall):
            return length
        sounds.append(Span(0.0, length))
    return _shared(pictures, sounds, video or audio)


def _wrong(file: Path, pictures: bool) -> Shortfall | None:
    """Why a file cannot be opened at all, as far as the system tells."""
    try:
        if not file.is_file():
            missing = not_a_file(file) if file.exists() or file.is_symlink() else ""
            if pictures:
                return Shortfall("no video file", file, missing)
            return Shortfall("no sound file", file, missing)
        if is_pointer(file):
            return Shortfall("Git LFS pointer", file)
    except OSError as error:
        detail = str(error.strerror)
        if pictures:
            return Shortfall("unreadable video", file, detail)
        return Shortfall("unreadable sound", file, detail)
    return None


def _sound_length(file: Path) -> float | Shortfall:
    try:
        length = sound_length(file)
    except AudioError as error:
        return Shortfall("unreadable sound", file, str(error))
    return length if length > 0 else Shortfall("no length in its header", file)


def _shared(
    pictures: Sequence[Span], sounds: Sequence[Span], file: Path | None
) -> Stretch | Shortfall:
    assert file is not None, "a clip without a file"
    spans = [*pictures, *sounds]
    starts = [span.start for span in spans]
    ends = [span.end for span in spans if span.end is not None]
    if not ends:
        return Shortfall("no length in its header", file)
    end = min(ends)
    longest = max(ends) - min(starts)
    if end - max(starts) < LEAST_SHARED * longest:
        detail = ", ".join(
            f"{span.start:.2f} s to {'?' if span.end is None else format(span.end, '.2f')} s"
            for span in spans
        )
        return Shortfall("sound and pictures are not of one length", file, detail)
    # Sound before its beginning is silence. Pictures may begin a little late.
    start = max(span.start for span in pictures or sounds)
    return Stretch(start if start > LONGEST_HOLD else 0.0, end)
