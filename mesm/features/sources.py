"""Which files the features of each clip come from; found and checked before any work."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from tqdm import tqdm

from mesm.config.modalities import ALL, Modality
from mesm.corpora.manifest import Manifest
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.registry import find_corpus
from mesm.corpora.splits import SPLITS
from mesm.corpora.utterances import SkippedClip, Utterance
from mesm.features.csv_files import find_csv
from mesm.features.openface import check_openface
from mesm.features.phonet import check_phonet
from mesm.runs.ordinary import not_a_file

OPENFACE, GLOVES = "OpenFace", ("glove.txt", "glove.txt.gz")
# A miniature corpus can be told by this file; its OpenFace files and word vectors are synthetic.
GROUND_TRUTH = "ground_truth.jsonl"
# Times went through text and back.
_SAME_TIME = 1e-3


@dataclass(frozen=True)
class CsvSource:
    """A CSV file, and whether it is the clip's own: its time then begins at the clip's start."""

    file: Path
    own: bool


@dataclass(frozen=True)
class ClipSources:
    """The sources of one clip's features.

    Attributes:
        clip_id, split, text, dialog: as prepared.
        start, end: seconds in the dialog.
        audio: the dialog's sound; None: there is none.
        channel: the speaker's; None: all.
        half: the speaker's half of the picture; None: all of it.
        openface, phonet: CSV files; None: there is none.
    """

    clip_id: str
    split: str
    text: str
    dialog: str
    start: float
    end: float
    audio: Path | None
    channel: int | None
    half: Literal["left", "right"] | None
    openface: CsvSource | None
    phonet: CsvSource | None


@dataclass(frozen=True)
class Inputs:
    """The user's folders and files.

    Attributes:
        raw: the raw corpus.
        openface: folder of OpenFace's CSV files.
        glove: file of word vectors.
        phonet: folder of Phonet's CSV files; None: there are none.
        synthetic: which of "openface" and "glove" the miniature corpus's generator wrote.
    """

    raw: Path
    openface: Path
    glove: Path
    phonet: Path | None
    synthetic: tuple[str, ...]


def find_inputs(
    raw: Path, openface: Path | None, glove: Path | None, phonet: Path | None
) -> Inputs:
    """Complete the paths that a user gave with those beside the raw corpus.

    Raises:
        ValueError: one is missing; names the option and how to get the files.
    """
    if not raw.exists():
        raise ValueError(f"{raw} is not there; --raw wants the raw corpus that was prepared")
    # A corpus may be a table beside its media.
    folder = raw if raw.is_dir() else raw.parent
    miniature = (folder / GROUND_TRUTH).is_file()
    synthetic = []
    if openface is None:
        openface = folder / OPENFACE
        if not openface.is_dir():
            raise ValueError(
                f"{openface} does not exist: name the folder of OpenFace's CSV files with "
                "--openface; to make them, run OpenFace's FeatureExtraction -aus on each clip's "
                "video (https://github.com/TadasBaltrusaitis/OpenFace)"
            )
        synthetic += ["openface"] * miniature
    elif not openface.is_dir():
        raise ValueError(f"--openface {openface} is not a folder; wanted one with <clip id>.csv")
    if glove is None:
        glove = next((folder / name for name in GLOVES if (folder / name).is_file()), None)
        if glove is None:
            raise ValueError(
                f"{folder} holds no {' or '.join(GLOVES)}: name the file of word vectors with "
                "--glove; the paper's is glove.840B.300d.txt (https://nlp.stanford.edu/projects/glove)"
            )
        synthetic += ["glove"] * miniature
    elif not glove.is_file():
        raise ValueError(f"--glove {glove} {not_a_file(glove)}, such as glove.840B.300d.txt")
    if phonet is not None and not phonet.is_dir():
        raise ValueError(f"--phonet {phonet} is not a folder; wanted one with <clip id>.csv")
    return Inputs(raw, openface, glove, phonet, tuple(synthetic))


def find_sources(
    corpus: PreparedCorpus, inputs: Inputs
) -> tuple[Path, list[ClipSources], list[SkippedClip]]:
    """Find the files of every prepared clip and check their headers.

    Returns:
        The raw corpus's folder, the clips by dialog and start, and what some of them lack.

    Raises:
        ValueError: `inputs.raw` is not the corpus that was prepared, no clip has a file of a kind
            that is wanted, or a file lacks a column; names the file.
    """
    manifest = corpus.manifest
    if manifest.modalities != ALL or "text" in manifest.without:
        lacking = ", ".join(f"{len(ids)} without {what}" for what, ids in manifest.without.items())
        raise ValueError(
            f"{corpus.path}: clips lack what these features are of ({lacking}); leave them out of "
            "the raw corpus and prepare it anew, or train FE2E or MESM, which read no features"
        )
    found = find_corpus(manifest.corpus).reader(inputs.raw, **manifest.options.get("reading", {}))
    utterances = {utterance.clip_id: utterance for utterance in found.utterances}
    recordings: dict[str, set[object]] = {}
    for utterance in found.utterances:
        recordings.setdefault(utterance.dialog, set()).add(utterance.media)
    several = {dialog for dialog, media in recordings.items() if len(media) > 1}
    clips = [_locate(row, utterances, corpus, inputs, several) for row in _prepared_clips(corpus)]
    clips.sort(key=lambda clip: (clip.dialog, clip.start, clip.clip_id))
    openface, phonet = ([one.openface for one in clips], [one.phonet for one in clips])
    skipped = _lacking(clips, inputs.openface, "OpenFace", openface, manifest, Modality.VIDEO)
    if inputs.phonet is not None:
        skipped += _lacking(clips, inputs.phonet, "Phonet", phonet, manifest, Modality.AUDIO)
    _check_headers(clips)
    return found.root, clips, skipped


@dataclass(frozen=True)
class _PreparedClip:
    clip_id: str
    split: str
    text: str
    dialog: str
    start: float
    end: float


def _prepared_clips(corpus: PreparedCorpus) -> list[_PreparedClip]:
    columns = ["clip_id", "text", "dialog", "start", "end"]
    clips = []
    for name in sorted(corpus.manifest.files):
        split = next(split for split in SPLITS if Path(name).name.startswith(f"{split}-"))
        table = pq.read_table(corpus.path / name, columns=columns, partitioning=None)
        clips += [_PreparedClip(split=split, **row) for row in table.to_pylist()]
    if not clips:
        raise ValueError(f"{corpus.path} holds no clip")
    return clips


def _locate(
    clip: _PreparedClip,
    utterances: dict[str, Utterance],
    corpus: PreparedCorpus,
    inputs: Inputs,
    several: Container[str],
) -> ClipSources:
    utterance = utterances.get(clip.clip_id)
    if utterance is None or (
        abs(utterance.start - clip.start) + abs(utterance.end - clip.end) > _SAME_TIME
    ):
        what = "has no" if utterance is None else "has other times for"
        raise ValueError(
            f"{inputs.raw} {what} clip {clip.clip_id} of {corpus.path}: name with --raw the corpus "
            "that it was prepared from"
        )

    recording = clip.dialog
    if recording in several:  # whose times all begin at 0 s: only a recording's own file fits
        recording = next((file.stem for file in utterance.media if file), clip.clip_id)

    def source(folder: Path | None) -> CsvSource | None:
        place = None if folder is None else find_csv(folder, clip.clip_id, recording)
        return None if place is None else CsvSource(*place)

    return ClipSources(
        clip_id=clip.clip_id,
        split=clip.split,
        text=clip.text,
        dialog=clip.dialog,
        start=clip.start,
        end=clip.end,
        audio=None if clip.clip_id in corpus.manifest.without.get("sound", ()) else utterance.audio,
        channel=utterance.channel,
        half=utterance.half,
        openface=source(inputs.openface),
        phonet=source(inputs.phonet),
    )


def _lacking(
    clips: Sequence[ClipSources],
    folder: Path,
    program: str,
    sources: Sequence[CsvSource | None],
    manifest: Manifest,
    modality: Modality,
) -> list[SkippedClip]:
    if not any(sources):
        first = clips[0]
        raise ValueError(
            f"{folder} holds no {program} file of any clip: wanted {first.clip_id}.csv or "
            f"{first.dialog}.csv, and so on"
        )
    without = manifest.without.get(modality.content, ())
    return [
        SkippedClip(
            clip_id=clip.clip_id,
            reason=f"no {program} file",
            file=f"{clip.clip_id}.csv",
            detail=f"its recording has no {modality.content}"
            if clip.clip_id in without
            else f"run {program} on it",
        )
        for clip, source in zip(clips, sources, strict=True)
        if source is None
    ]


def _check_headers(clips: Sequence[ClipSources]) -> None:
    faces, sounds = {}, set()
    for clip in clips:
        if clip.openface is not None:
            faces[clip.openface.file] = clip.half is not None and not clip.openface.own
        if clip.phonet is not None:
            sounds.add(clip.phonet.file)
    with tqdm(total=len(faces) + len(sounds), desc="headers", unit="file", delay=3) as bar:
        for file, two_people in sorted(faces.items()):
            check_openface(file, two_people=two_people)
            bar.update()
        for file in sorted(sounds):
            check_phonet(file)
            bar.update()


def listing(clips: Sequence[ClipSources]) -> str:
    """Name every clip's CSV files with their sizes, to notice files that came or changed."""
    lines = []
    for clip in clips:
        files = [
            None if source is None else (source.file.name, source.file.stat().st_size)
            for source in (clip.openface, clip.phonet)
        ]
        lines.append([clip.clip_id, *files])
    return json.dumps(lines)
