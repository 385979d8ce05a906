"""The readers' view of raw corpora: utterances, and the clips left out."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mesm.runs.files import file_name
from mesm.runs.ordinary import ordinary

# How a user can mend a clip that was left out, by reason.
MENDS = {
    "Git LFS pointer": "fetch the file itself: git lfs pull",
    "a decoder crashed": "convert the recording to another format, or copy it anew",
    "cut too long": "cut the file to the clip, by true times where its line has others",
    "empty transcript": "write there what is said",
    "in another actor's folder": "move the file to the folder of its actor",
    "labelled twice, first label kept": "delete the line that is wrong",
    "no label": "label the clip, or delete its line",
    "no length in its header": "convert the file (ffmpeg -i IN OUT)",
    "no sound file": "extract the recording's sound to it",
    "no transcript": "transcribe the clip",
    "no video file": "copy the recording's video there",
    "not an utterance of its dialog": "the name must begin with the file's, and F or M",
    "pictures begin too late": "mend the clip's times, or leave the clip out",
    "pictures end too early": "mend the clip's times, or leave the clip out",
    "sound and pictures are not of one length": "copy the files anew, or leave the clip out",
    "sound ends too early": "mend the clip's times, or leave the clip out",
    "sound moved to 0 s": (
        "extract the sound anew, with silence up to its beginning (ffmpeg -i VIDEO "
        "-af aresample=async=1:first_pts=0 SOUND)"
    ),
    "sound shorter than its video's": "extract the sound anew",
    "tied ratings": "read the intended labels, or leave the clip out",
    "transcribed twice, first kept": "delete the line that is wrong",
    "transcript of another video": "move the line to the file of its video",
    "truncated or damaged video": "copy the video anew",
    "unknown label": "give one of the corpus' own labels",
    "unreadable label": "write the line as the others are",
    "unreadable name": "name the file as the others are",
    "unreadable sound": "copy the sound anew",
    "unreadable transcript": "write the line as the others are",
    "unreadable video": "copy the video anew",
    "unusable name": "rename it, in all files that speak of it",
    "zero length": "mend the start or the end",
}


@dataclass(frozen=True)
class Utterance:
    """One labelled utterance and where its media lie.

    Attributes:
        clip_id: its name, unique in the corpus.
        dialog: what clips belong to: IEMOCAP dialog, CMU-MOSEI video, another corpus' group.
        speaker: who speaks; in CMU-MOSEI the video stands for its speaker.
        start: seconds in the recording.
        end: seconds in the recording, after the start.
        text: what is said; empty where that is unknown.
        labels: one 0 or 1 per emotion, in the corpus's order.
        video: the recording's pictures, a file that may be missing; None: it has none.
        audio: the recording's sound, likewise; it may be the video's own file.
        half: the half of the frame the speaker is in; None: all of it.
        channel: the channel of the sound the speaker is on; None: all of them.
        channels: how many channels the sound must have; None: any number.
        split: where the corpus puts it: "train", "valid" or "test"; None: nowhere.
    """

    clip_id: str
    dialog: str
    speaker: str
    start: float
    end: float
    text: str
    labels: tuple[int, ...]
    video: Path | None
    audio: Path | None
    half: Literal["left", "right"] | None = None
    channel: int | None = None
    channels: int | None = None
    split: str | None = None

    @property
    def media(self) -> tuple[Path | None, Path | None]:
        """Sound and video; clips that share both are read together."""
        return self.audio, self.video


class SkippedClip(BaseModel):
    """One clip left out: which, why, and the file (with its line, if any) that is to blame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip_id: str
    reason: str
    file: str
    detail: str = ""

    def line(self) -> str:
        """Say it on one line, with the mend where there is one."""
        detail = f" ({self.detail})" if self.detail else ""
        mend = f"; {MENDS[self.reason]}" if self.reason in MENDS else ""
        return f"skipped {self.clip_id or 'a clip'}: {self.reason}: {self.file}{detail}{mend}"


@dataclass
class RawCorpus:
    """The utterances that a reader found.

    Attributes:
        name: which corpus.
        root: its folder; `skipped` names files relative to it.
        home: the folder that `root` came in, if it came in one; its makers may have put more there.
        utterances: by dialog, then recording, then start, then name.
        skipped: clips the labels or transcripts speak of that cannot be read.
        other_labels: how many clips carry each label outside the corpus's emotions.
        title: in tables; None: the registry's.
        emotions: names of the labels, in their order; empty: the registry's.
        single_label: whether every clip has exactly one emotion, and the corpus is meant so.
        notes: anything else a user should know.
    """

    name: str
    root: Path
    home: Path | None = None
    utterances: list[Utterance] = field(default_factory=list)
    skipped: list[SkippedClip] = field(default_factory=list)
    other_labels: Counter[str] = field(default_factory=Counter)
    title: str | None = None
    emotions: tuple[str, ...] = ()
    single_label: bool = False
    notes: list[str] = field(default_factory=list)

    def skip(
        self, clip_id: str, reason: str, file: Path, line: int | None = None, detail: str = ""
    ) -> None:
        """Note a clip that is left out."""
        where = self.relative(file) + (f":{line}" if line is not None else "")
        self.skipped.append(SkippedClip(clip_id=clip_id, reason=reason, file=where, detail=detail))

    def usable(self, clip_id: str, dialog: str, file: Path, line: int | None = None) -> bool:
        """Tell whether a clip and its dialog can name files; note the clip as left out if not."""
        try:
            file_name(dialog, "dialog")
            file_name(clip_id, "clip")
        except ValueError as error:
            self.skip(clip_id, "unusable name", file, line, str(error))
            return False
        return True

    def text_files(self, folder: Path, ending: str) -> list[Path]:
        """The files of a folder with an ending, sorted; others of that name are noted.

        Hidden files are passed over: Macs leave such files everywhere.
        """
        files = []
        for path in sorted(folder.glob(f"*{ending}")):
            if path.name.startswith("."):
                continue
            if path.is_file() and os.access(path, os.R_OK):
                files.append(path)
            else:
                kind = "not readable" if path.is_file() else "not a file"
                self.notes.append(f"passed over {self.relative(path)!r}: {kind}")
        return files

    def relative(self, file: Path) -> str:
        """Name a file as `relative` does, from the corpus's folder."""
        return relative(file, self.root)

    def sort(self) -> None:
        """Bring utterances into their fixed order."""
        self.utterances.sort(
            key=lambda u: (u.dialog, *map(str, u.media), u.start, u.clip_id),
        )
        self.skipped.sort(key=lambda s: (s.clip_id, s.file))


def relative(file: Path, root: Path) -> str:
    """Name a file as seen from a folder; whole where it lies elsewhere."""
    return (file.relative_to(root) if file.is_relative_to(root) else file).as_posix()


def read_text(file: Path) -> str:
    """Read a text file: UTF-8, or Latin-1 where it is not."""
    data = ordinary(file).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_lines(file: Path) -> list[str]:
    """Read a text file's lines; see `read_text`."""
    return re.split(r"\r\n|\r|\n", read_text(file))
