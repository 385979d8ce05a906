"""Raw RAVDESS (Livingstone and Russo, 2018), as its users have it on disk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mesm.corpora import published
from mesm.corpora.trees import below, some
from mesm.corpora.utterances import RawCorpus, Utterance

WANTED = (
    "wanted files such as 01-01-06-01-02-01-12.mp4 (sound and pictures), 02-….mp4 (pictures) or "
    "03-….wav (sound), in folders such as Actor_12, as the archives unpack"
)
# In the order of their codes, 01 to 08; whoever sings is neither disgusted nor surprised.
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SUNG = 6
# Seconds; actors say or sing one sentence.
LONGEST = 20.0
STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
ACTORS = 24
# Whose songs were lost.
SILENT_ACTOR = 18
SPEECH, SONG = 1, 2
# Endings by modality: sound and pictures, pictures, sound.
ENDINGS = {1: ".mp4", 2: ".mp4", 3: ".wav"}

# modality-channel-emotion-intensity-statement-repetition-actor
_NAME = re.compile(r"(\d\d)-((\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d))(\.mp4|\.wav)", re.I)
_FOLDER = re.compile(r"Actor_(\d\d)", re.I)

# Channel, emotion, intensity, statement, repetition, actor.
_Codes = tuple[int, int, int, int, int, int]
# The files of a clip by modality.
_Files = dict[int, Path]


def read_ravdess(raw: Path, song: bool = False) -> RawCorpus:
    """Read clips from the names of their files, and their lengths from the headers.

    A clip's sound and pictures are those of its file 01, or else of its files 02 and 03, or of
    the one that is there.

    Args:
        raw: a folder with the unpacked archives, however deep.
        song: whether songs are read, beside speech.

    Returns:
        The clips, and what was left out.

    Raises:
        ValueError: `raw` holds no file of RAVDESS, or only songs that were not asked for.
    """
    # Kept out of what commands import before they know which corpus they read.
    from mesm.corpora.whole_files import measure_all

    if not isinstance(song, bool):
        raise ValueError(f"song must be true or false, got {song!r}")
    corpus = RawCorpus("ravdess", raw, single_label=True)
    if song:
        corpus.title = "RAVDESS with songs"
    clips = _find_clips(corpus, song)
    joined = sorted(_name(codes) for codes, files in clips.items() if 1 not in files)
    media = [(_name(codes), *_media(files)) for codes, files in sorted(clips.items())]
    parts = measure_all(corpus, media)
    for codes, (clip_id, audio, video), part in zip(sorted(clips), media, parts, strict=True):
        if part is None:
            continue
        start, end = part
        if end - start > LONGEST:
            detail = f"{end - start:.0f} s, wanted at most {LONGEST:.0f} s"
            corpus.skip(clip_id, "cut too long", video or audio or corpus.root, detail=detail)
            continue
        _, emotion, _, statement, _, actor = codes
        corpus.utterances.append(
            Utterance(
                clip_id=clip_id,
                dialog=f"Actor_{actor:02d}",
                speaker=f"Actor_{actor:02d}",
                start=start,
                end=end,
                text=STATEMENTS[statement - 1],
                labels=tuple(int(emotion == code) for code in range(1, len(EMOTIONS) + 1)),
                video=video,
                audio=audio,
            )
        )
    if joined:
        corpus.notes.append(
            f"{len(joined)} clips have no file 01, and are read from 02 (pictures) and 03 (sound), "
            f"or the one of them that is there: {some(joined)}"
        )
    _note_counts(corpus, clips, song)
    corpus.sort()
    return corpus


def _find_clips(corpus: RawCorpus, song: bool) -> dict[_Codes, _Files]:
    clips: dict[_Codes, _Files] = {}
    songs, copies, others = 0, [], []
    for file in _media_files(corpus.root):
        match = _NAME.fullmatch(file.name)
        if match is None:
            others.append(corpus.relative(file))
            continue
        modality = int(match[1])
        channel, emotion, intensity, statement, repetition, actor = map(int, match.groups()[2:8])
        codes = channel, emotion, intensity, statement, repetition, actor
        wrong = _wrong(modality, codes, match[9].lower())
        folder = _FOLDER.fullmatch(file.parent.name)
        if wrong:
            corpus.skip(match[2], "unreadable name", file, detail=wrong)
        elif folder and int(folder[1]) != actor:
            corpus.skip(match[2], "in another actor's folder", file)
        elif channel == SONG and not song:
            songs += 1
        elif modality in clips.setdefault(codes, {}):
            copies.append(corpus.relative(file))
        else:
            clips[codes][modality] = file
    if not clips:
        if songs:
            raise ValueError(f"{corpus.root} holds only songs of RAVDESS: read them with --song")
        raise ValueError(f"{corpus.root} is not RAVDESS: {WANTED}")
    for what, files in (
        ("a clip's second copies, the nearest one kept", copies),
        ("no names of RAVDESS", others),
    ):
        if files:
            corpus.notes.append(f"passed over {len(files)} files, {what}: {some(files)}")
    if songs:
        corpus.notes.append(f"passed over {songs} files of songs, which --song reads")
    return clips


def _media_files(root: Path) -> Iterator[Path]:
    for folder, names in below(root):
        yield from (folder / name for name in names if name.lower().endswith((".mp4", ".wav")))


def _wrong(modality: int, codes: _Codes, ending: str) -> str:
    """Say which code of a name there is not; "" if all are right."""
    channel, emotion, intensity, statement, repetition, actor = codes
    emotions = SUNG if channel == SONG else len(EMOTIONS)
    for what, code, most in (
        ("modality", modality, len(ENDINGS)),
        ("channel", channel, SONG),
        ("emotion", emotion, emotions),
        # Nobody is neutral strongly.
        ("intensity", intensity, 1 if emotion == 1 else 2),
        ("statement", statement, len(STATEMENTS)),
        ("repetition", repetition, 2),
        ("actor", actor, ACTORS),
    ):
        if not 1 <= code <= most:
            return f"{what} {code:02d}, wanted 01 to {most:02d}"
    if ENDINGS[modality] != ending:
        return f"{ending} of modality {modality:02d}, wanted {ENDINGS[modality]}"
    return ""


def _media(files: _Files) -> tuple[Path | None, Path | None]:
    """A clip's sound and video."""
    if 1 in files:
        return files[1], files[1]
    return files.get(3), files.get(2)


def _name(codes: _Codes) -> str:
    return "-".join(f"{code:02d}" for code in codes)


def _all_codes(channel: int) -> Iterator[_Codes]:
    """The clips that were published."""
    for actor in range(1, ACTORS + 1):
        if channel == SONG and actor == SILENT_ACTOR:
            continue
        for emotion in range(1, (SUNG if channel == SONG else len(EMOTIONS)) + 1):
            for intensity in (1,) if emotion == 1 else (1, 2):
                for statement in (1, 2):
                    for repetition in (1, 2):
                        yield channel, emotion, intensity, statement, repetition, actor


def _note_counts(corpus: RawCorpus, clips: Mapping[_Codes, _Files], song: bool) -> None:
    channels = Counter(u.clip_id[:2] for u in corpus.utterances)
    usable = {"speech": channels["01"], "song": channels["02"]}
    wanted = published.RAVDESS_SPEECH | (published.RAVDESS_SONG if song else {})
    published.note_missing(corpus, usable, wanted)
    channels_read: Sequence[int] = (SPEECH, SONG) if song else (SPEECH,)
    for channel in channels_read:
        missing = [_name(codes) for codes in _all_codes(channel) if codes not in clips]
        if missing:
            what = "songs" if channel == SONG else "clips of speech"
            corpus.notes.append(f"{len(missing)} {what} are not there: {some(missing)}")
