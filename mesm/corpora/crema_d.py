"""Raw CREMA-D (Cao et al., 2014), as its users have it on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from mesm.corpora import published
from mesm.corpora.csv_rows import read_rows, unfit
from mesm.corpora.trees import below, is_pointer, some
from mesm.corpora.utterances import RawCorpus, Utterance, read_text

EMOTIONS = ("anger", "disgust", "fear", "happy", "neutral", "sad")
# In the order of the emotions: of the files' names, and of the raters' votes.
CODES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
VOTES = ("A", "D", "F", "H", "N", "S")
SENTENCES = {
    "DFA": "Don't forget a jacket",
    "IEO": "It's eleven o'clock",
    "IOM": "I'm on my way to the meeting",
    "ITH": "I think I have a doctor's appointment",
    "ITS": "I think I've seen this before",
    "IWL": "I would like a new alarm clock",
    "IWW": "I wonder what this is about",
    "MTI": "Maybe tomorrow it will be cold",
    "TAI": "The airplane is almost full",
    "TIE": "That is exactly what happened",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
LEVELS = ("LO", "MD", "HI", "XX")
ACTORS = range(1001, 1092)
SOUNDS = "AudioWAV"
# VideoFlash, or a folder into which somebody converted it.
VIDEOS = "Video"
ENDINGS = (".flv", ".mp4")
TABLE = "summaryTable.csv"
# Raters of sound and pictures together chose so.
COLUMNS = ("FileName", "MultiModalVote")
# Seconds; actors say one sentence. One video of a minute holds several clips.
LONGEST = 20.0
# The one recording that is digital silence, and the loudest sample that is no sound.
SILENT = "1076_MTI_SAD_XX"
LEAST_SOUND = 1e-3
WANTED = (
    f"wanted {SOUNDS}/1001_DFA_ANG_XX.wav and so on, and the same in VideoFlash as .flv (or in a "
    "folder Video… as .mp4), in it or below"
)

Labels = Literal["intended", "rated"]

_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})")


def read_crema_d(raw: Path, labels: Labels = "intended") -> RawCorpus:
    """Read clips from the names of their files, and their lengths from the headers.

    Args:
        raw: a folder with the repository's content, however deep.
        labels: the emotion that the actor meant, or the one that most raters of sound and pictures
            chose, in `processedResults/summaryTable.csv`; clips whose votes are tied are left out.

    Returns:
        The clips, and what was left out.

    Raises:
        ValueError: `raw` holds no file of CREMA-D, only pointers of Git LFS, or no table of votes
            that was asked for.
    """
    # Kept out of what commands import before they know which corpus they read.
    from mesm.corpora.whole_files import measure_all

    if labels not in get_args(Labels):
        raise ValueError(f"labels must be one of {', '.join(get_args(Labels))}, got {labels!r}")
    corpus = RawCorpus("crema_d", raw, single_label=True)
    if labels == "rated":
        corpus.title = "CREMA-D, as rated"
    sounds, videos, tables = _find(corpus)
    names = sorted({*sounds, *videos})
    votes = _read_votes(corpus, tables) if labels == "rated" else None
    clips = [(name, *_media(sounds.get(name), videos.get(name))) for name in names]
    if all(any(file and is_pointer(file) for file in files) for _, *files in clips):
        raise ValueError(f"{raw} holds only pointers of Git LFS: fetch the files with git lfs pull")
    for (name, audio, video), part in zip(clips, measure_all(corpus, clips), strict=True):
        if part is not None:
            _add(corpus, name, audio, video, part, votes)
    usable = {"clips": len(corpus.utterances)}
    published.note_missing(corpus, usable, published.CREMA_D)
    actors = len({utterance.speaker for utterance in corpus.utterances})
    if actors != len(ACTORS):
        corpus.notes.append(f"{actors} of {len(ACTORS)} actors have clips that can be used")
    corpus.sort()
    return corpus


def _find(corpus: RawCorpus) -> tuple[dict[str, Path], dict[str, dict[str, Path]], list[Path]]:
    """Sounds and videos by the clip's name, videos also by ending, and tables of votes."""
    sounds: dict[str, Path] = {}
    videos: dict[str, dict[str, Path]] = {}
    tables, copies, others = [], [], []
    for folder, names in below(corpus.root):
        if TABLE in names:
            tables.append(folder / TABLE)
        for name in names:
            file = folder / name
            ending = file.suffix.lower()
            if folder.name == SOUNDS and ending == ".wav":
                kind = "sound"
            elif folder.name.startswith(VIDEOS) and ending in ENDINGS:
                kind = "video"
            else:
                continue
            match = _NAME.fullmatch(file.stem)
            if match is None:
                others.append(corpus.relative(file))
                continue
            # One file of AudioWAV has had a level of one letter.
            clip = f"{match[1]}_{match[2]}_{match[3]}_{'XX' if match[4] == 'X' else match[4]}"
            wrong = _wrong(clip)
            if wrong:
                corpus.skip(clip, "unreadable name", file, detail=wrong)
                continue
            known, key = (
                (sounds, clip) if kind == "sound" else (videos.setdefault(clip, {}), ending)
            )
            if key in known:
                copies.append(corpus.relative(file))
            else:
                known[key] = file
    if not sounds and not videos:
        raise ValueError(f"{corpus.root} is not CREMA-D: {WANTED}")
    for what, files in (
        ("second copies, the nearest one kept", copies),
        ("no names of CREMA-D", others),
    ):
        if files:
            corpus.notes.append(f"passed over {len(files)} files, {what}: {some(files)}")
    return sounds, videos, tables


def _wrong(clip: str) -> str:
    """Say which part of a name there is not; "" if all are right."""
    actor, sentence, emotion, level = clip.split("_")
    for what, part, known in (
        ("actor", int(actor), ACTORS),
        ("sentence", sentence, SENTENCES),
        ("emotion", emotion, CODES),
        ("level", level, LEVELS),
    ):
        if part not in known:
            return f"{what} {part}"
    return ""


def _media(
    sound: Path | None, videos: Mapping[str, Path] | None
) -> tuple[Path | None, Path | None]:
    """A clip's sound, else its video; and its video: FLV before MP4, files before pointers."""
    choices = [videos[ending] for ending in ENDINGS if videos and ending in videos]
    fetched = [file for file in choices if not is_pointer(file)]
    video = next(iter(fetched or choices), None)
    return sound or video, video


def _add(
    corpus: RawCorpus,
    name: str,
    audio: Path | None,
    video: Path | None,
    part: tuple[float, float],
    votes: Mapping[str, tuple[str, Path, int]] | None,
) -> None:
    start, end = part
    actor, sentence, code, _ = name.split("_")
    file = video or audio
    assert file is not None, "a clip has a file"
    emotion = CODES.index(code)
    if end - start > LONGEST:
        detail = f"{end - start:.0f} s, wanted at most {LONGEST:.0f} s"
        corpus.skip(name, "cut too long", file, detail=detail)
        return
    if votes is not None:
        if name not in votes:
            corpus.skip(name, "no label", file, detail=f"no line of {TABLE}")
            return
        vote, table, line = votes[name]
        if ":" in vote:
            corpus.skip(name, "tied ratings", table, line, vote)
            return
        if vote not in VOTES:
            corpus.skip(name, "unknown label", table, line, vote[:80])
            return
        emotion = VOTES.index(vote)
    if name == SILENT and audio is not None and _is_silent(audio, start, end):
        if video is None:
            corpus.skip(name, "unreadable sound", file, detail="it is silent")
            return
        corpus.notes.append(f"{corpus.relative(audio)} is silent: the clip has no sound")
        audio = None
    corpus.utterances.append(
        Utterance(
            clip_id=name,
            dialog=actor,
            speaker=actor,
            start=start,
            end=end,
            text=SENTENCES[sentence],
            labels=tuple(int(emotion == place) for place in range(len(EMOTIONS))),
            video=video,
            audio=audio,
        )
    )


def _is_silent(audio: Path, start: float, end: float) -> bool:
    from mesm.inputs.spectrograms import AudioError
    from mesm.inputs.waveforms import read_waveform

    try:
        return float(abs(read_waveform(audio, start, end)).max()) < LEAST_SOUND
    except AudioError:
        # The video has none, or extraction says why it cannot be read.
        return False


def _read_votes(corpus: RawCorpus, tables: list[Path]) -> dict[str, tuple[str, Path, int]]:
    """The raters' choice by clip, with the file and the line that tells it."""
    if not tables:
        raise ValueError(f"{corpus.root} has no {TABLE} (in processedResults), wanted for --labels")
    table, *others = tables
    differing = [corpus.relative(other) for other in others if read_text(other) != read_text(table)]
    if differing:
        corpus.notes.append(
            f"{corpus.relative(table)} is read, {some(differing)} says something else"
        )
    header, rows = read_rows(read_text(table))
    lower = [name.strip().lower() for name in header]
    columns = [column.lower() for column in COLUMNS]
    problem = unfit(lower, columns)
    if problem:
        raise ValueError(f"{table} is no table of votes: {problem}; wanted {', '.join(COLUMNS)}")
    places = [lower.index(column) for column in columns]
    votes: dict[str, tuple[str, Path, int]] = {}
    for number, cells, wrong in rows:
        if wrong:
            corpus.skip("", "unreadable label", table, number, wrong)
            continue
        name, vote = (cells[place].strip() for place in places)
        name = f"{name}X" if name.endswith("_X") else name
        if name in votes:
            corpus.skip(name, "labelled twice, first label kept", table, number)
        else:
            votes[name] = (vote, table, number)
    return votes
