"""Hand-crafted features of a whole prepared corpus: what `mesm features` does."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from mesm.corpora.parts import make_all
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.utterances import SkippedClip
from mesm.features.extraction import AUDIO_COLUMNS, DialogSources, extractor, read_features
from mesm.features.glove import read_vectors
from mesm.features.manifest import (
    FILE,
    FILES,
    FORMAT,
    Column,
    FeatureManifest,
    ModalityFeatures,
    check_features,
    features_folder,
    prepared_hash,
    read_features_manifest,
)
from mesm.features.openface import DEFAULT_STEP, VIDEO_COLUMNS
from mesm.features.parquet import WORD_DIM, RowsWriter, text_table, words_table, write_table
from mesm.features.phonet_network import load_network
from mesm.features.sound import ROW
from mesm.features.sources import ClipSources, Inputs, find_inputs, find_sources, listing
from mesm.features.sptk import load_sptk
from mesm.features.statistics import ColumnStatistics
from mesm.inputs.words import split_words
from mesm.runs.cluster import Cluster
from mesm.runs.files import owned, write_beside
from mesm.runs.hashes import check_files, sealed, sha256

WORK = ".work"
# Seconds from row to row; no face camera gives frames more often.
SHORTEST_STEP, LONGEST_STEP = 0.01, 1.0


class FeatureOptions(BaseModel):
    """The settings from which features are made.

    Attributes:
        raw: the raw corpus that was prepared.
        openface: folder of OpenFace's CSV files; None: OpenFace in `raw`.
        glove: file of word vectors; None: glove.txt or glove.txt.gz in `raw`.
        phonet: folder of Phonet's CSV files; None: posteriors are computed.
        video_step: seconds between rows of the video; 0: every frame OpenFace saw.
        workers: processes; None: one per core. Changes nothing in the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw: Path
    openface: Path | None = None
    glove: Path | None = None
    phonet: Path | None = None
    video_step: float = DEFAULT_STEP
    workers: int | None = None


def make_features(
    corpus: PreparedCorpus, options: FeatureOptions, cluster: Cluster | None = None
) -> FeatureManifest:
    """Make the features of a prepared corpus, in its folder `features`.

    A run that was stopped is taken up where it was. Features that are there and were made from the
    same things are left alone; others are replaced.

    Args:
        corpus: the prepared corpus.
        options: from what, and how.
        cluster: whose nodes do the work; changes nothing in the result.

    Returns:
        The manifest, also in the folder.

    Raises:
        ValueError: something is missing or does not fit; nothing is replaced then.
        FileNotFoundError: a package that audio features need is missing; likewise.
    """
    _check_options(options)
    inputs = find_inputs(options.raw, options.openface, options.glove, options.phonet)
    finished = read_features_manifest(corpus)
    check_files(
        corpus.path,
        corpus.manifest.files,
        f"delete {corpus.path} and run mesm prepare again",
    )
    root, clips, lacking = find_sources(corpus, inputs)
    folder = features_folder(corpus)
    fingerprint = _fingerprint(inputs, clips, options)
    if finished is not None and not (folder / WORK).exists():
        same = finished.options == fingerprint and finished.prepared == prepared_hash(corpus)
        try:
            check_features(folder, finished, "making it anew")
        except ValueError as error:
            print(error)
        else:
            if same:
                print(f"{folder} is already made: nothing to do")
                return finished
            print(f"{folder} was made from something else: making it anew")
    load_sptk()
    if inputs.phonet is None:
        load_network()
    words = _read_words(corpus, clips, inputs.glove)
    with owned(folder, "making features in"):
        for clip in lacking:
            tqdm.write(clip.line(), file=sys.stderr)
        shared = nullcontext() if cluster is None else cluster.sharing(folder, [root])
        with shared:
            parts = _make_all(root, clips, folder / WORK, inputs, options, cluster)
        fresh = folder / WORK / "new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        rows = _assemble(parts, clips, fresh)
        write_table(text_table(words.spoken, words.ids), fresh / FILES["text"])
        write_table(words_table(words.vectors), fresh / FILES["words"])
        for what, one in (("OpenFace file", rows.video), ("sound", rows.audio)):
            if one.rows == 0:
                lines = [clip.line() for clip in rows.skipped if what.split()[0] in clip.reason]
                raise ValueError(f"no {what} of any clip can be used: {'; '.join(lines[:1])}")
        manifest = _manifest(corpus, inputs, words, rows, lacking, fingerprint, fresh, options)
        # From here to the last line there are no features, rather than a mixture.
        (folder / FILE).unlink(missing_ok=True)
        for name in FILES.values():
            (fresh / name).replace(folder / name)
        write_beside(folder / FILE, manifest.model_dump_json(indent=1) + "\n")
        shutil.rmtree(folder / WORK)
    print(summary(manifest))
    return manifest


def _check_options(options: FeatureOptions) -> None:
    step = options.video_step
    if step != 0 and not SHORTEST_STEP <= step <= LONGEST_STEP:
        raise ValueError(
            f"--video-step must be 0 for every frame, or {SHORTEST_STEP:g} to {LONGEST_STEP:g} "
            f"seconds, got {step:g}: a shorter one would repeat frames"
        )
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}")


def summary(manifest: FeatureManifest) -> str:
    """Lay out what was made, and what is missing."""
    lines = [manifest.feature_set]
    for name in ("text", "audio", "video"):
        one = manifest.modality(name)
        lines.append(
            f"{name:6s}{one.dim:4d} columns, {one.rows} rows, {one.rows_measured} measured, "
            f"{len(one.clips_without_rows)} clips without"
        )
    unknown = manifest.out_of_vocabulary
    if unknown:
        first = ", ".join(f"{word} ({n})" for word, n in list(unknown.items())[:10])
        more = f" and {len(unknown) - 10} more, see {FILE}" if len(unknown) > 10 else ""
        lines.append(
            f"{sum(unknown.values())} of {manifest.tokens} words have no vector: {first}{more}"
        )
    if manifest.skipped:
        reasons = Counter(clip.reason for clip in manifest.skipped)
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
        lines.append(f"clips that lack something: {counts}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Words:
    """The clips' words and the vectors of those that have one."""

    spoken: list[tuple[str, list[str]]]
    vectors: dict[str, Any]
    ids: dict[str, int]
    unknown: dict[str, int]
    tokens: int


def _read_words(corpus: PreparedCorpus, clips: Sequence[ClipSources], glove: Path) -> _Words:
    spoken = [(clip.clip_id, split_words(clip.text)) for clip in clips]
    counts = Counter(word for _, words in spoken for word in words)
    emotions = corpus.manifest.emotions
    vectors = read_vectors(glove, sorted({*counts, *emotions}))
    for emotion in emotions:
        if emotion not in vectors:
            raise ValueError(
                f"{glove} has no vector of the emotion {emotion!r}, which EmoEmbs needs: name a "
                "larger file with --glove, such as glove.840B.300d.txt"
            )
    unknown = sorted((-n, word) for word, n in counts.items() if word not in vectors)
    return _Words(
        spoken,
        vectors,
        {word: i for i, word in enumerate(vectors)},
        {word: -n for n, word in unknown},
        counts.total(),
    )


def _fingerprint(
    inputs: Inputs, clips: Sequence[ClipSources], options: FeatureOptions
) -> dict[str, Any]:
    """Give what changes the result; files by name and size, not by their place."""
    return {
        "format": FORMAT,
        "video_step": options.video_step,
        "phonet": inputs.phonet is not None,
        "glove": [inputs.glove.name, inputs.glove.stat().st_size],
        "csv_files": hashlib.sha256(listing(clips).encode()).hexdigest(),
    }


def _make_all(
    root: Path,
    clips: Sequence[ClipSources],
    work: Path,
    inputs: Inputs,
    options: FeatureOptions,
    cluster: Cluster | None,
) -> list[Path]:
    """Make the missing part files; give all of them in the dialogs' order."""
    dialogs = [
        DialogSources(name, root, tuple(group), inputs.phonet is not None, options.video_step)
        for name, group in groupby(clips, key=lambda clip: clip.dialog)
    ]
    described = "audio and video"
    return make_all(dialogs, work / "parts", extractor, options.workers, described, cluster)


@dataclass
class _Rows:
    """One modality's figures while its file is written."""

    dim: int
    statistics: ColumnStatistics = field(init=False)
    rows: int = 0
    measured: int = 0
    without: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.statistics = ColumnStatistics(self.dim)

    def add(self, clip: ClipSources, values: np.ndarray) -> None:
        self.rows += len(values)
        self.measured += int(np.isfinite(values).any(1).sum())
        if len(values) == 0:
            self.without.append(clip.clip_id)
        if clip.split == "train":
            self.statistics.add(values)

    def describe(self, columns: list[Column], step: float | None) -> ModalityFeatures:
        mean, std = self.statistics.mean_and_std()
        return ModalityFeatures(
            columns=columns,
            step=step,
            mean=mean,
            std=std,
            rows=self.rows,
            rows_measured=self.measured,
            clips_without_rows=self.without,
        )


@dataclass
class _Assembled:
    audio: _Rows
    video: _Rows
    skipped: list[SkippedClip] = field(default_factory=list)


def _assemble(parts: Sequence[Path], clips: Sequence[ClipSources], fresh: Path) -> _Assembled:
    """Write the files of audio and video, reading one part at a time."""
    out = _Assembled(_Rows(len(AUDIO_COLUMNS)), _Rows(len(VIDEO_COLUMNS)))
    known = {clip.clip_id: clip for clip in clips}
    with (
        RowsWriter(fresh / FILES["audio"]) as audio,
        RowsWriter(fresh / FILES["video"]) as video,
        tqdm(total=len(clips), desc="writing", unit="clip") as bar,
    ):
        for part in parts:
            features = read_features(part)
            out.skipped += features.skipped
            for writer, rows, matrices in (
                (audio, out.audio, features.audio),
                (video, out.video, features.video),
            ):
                for clip_id, values in matrices.items():
                    matrix = values if len(values) else np.empty((0, rows.dim), np.float32)
                    writer.add(clip_id, matrix)
                    rows.add(known[clip_id], matrix)
            bar.update(len(features.audio))
    return out


def _manifest(
    corpus: PreparedCorpus,
    inputs: Inputs,
    words: _Words,
    rows: _Assembled,
    lacking: Sequence[SkippedClip],
    fingerprint: dict[str, Any],
    fresh: Path,
    options: FeatureOptions,
) -> FeatureManifest:
    glove = inputs.glove.name
    text = ModalityFeatures(
        columns=[
            Column(
                name=f"glove_{i:03d}",
                formula=f"number {i} after the word in {glove}; 0 for a word that is not there",
            )
            for i in range(1, WORD_DIM + 1)
        ],
        step=None,
        mean=[],
        std=[],
        rows=words.tokens,
        rows_measured=words.tokens - sum(words.unknown.values()),
        clips_without_rows=[clip_id for clip_id, spoken in words.spoken if not spoken],
    )
    notes = _notes(inputs)
    skipped = sorted([*lacking, *rows.skipped], key=lambda s: (s.clip_id, s.reason))
    manifest = FeatureManifest(
        format=FORMAT,
        prepared=prepared_hash(corpus),
        feature_set=_sentence(glove, notes, options.video_step),
        notes=notes,
        text=text,
        audio=rows.audio.describe(AUDIO_COLUMNS, ROW),
        video=rows.video.describe(VIDEO_COLUMNS, options.video_step or None),
        words=sum(word in words.vectors for word in {w for _, ws in words.spoken for w in ws}),
        tokens=words.tokens,
        out_of_vocabulary=words.unknown,
        skipped=skipped,
        options=fingerprint,
        files={name: sha256(fresh / name) for name in FILES.values()},
    )
    return FeatureManifest(**sealed(manifest.model_dump(mode="json")))


def _notes(inputs: Inputs) -> list[str]:
    notes = [] if inputs.phonet is None else ["Phonet's posteriors are read from files"]
    if "openface" in inputs.synthetic:
        notes.append("action units are not OpenFace's: the miniature corpus's planted ones, noisy")
    if "glove" in inputs.synthetic:
        notes.append("word vectors are not GloVe's: the miniature corpus's synthetic ones")
    return notes


def _sentence(glove: str, notes: Sequence[str], step: float) -> str:
    rows = f"every {step:g} s" if step else "per frame"
    sentence = (
        f"Hand-crafted features: text, 300 per word ({glove}); audio, 142 per 400 ms (DisVoice's: "
        "22 Bark-band energies, 12 MFCCs, 108 phonological statistics); video, 35 "
        f"{rows} (OpenFace action units)"
    )
    return "; ".join([sentence, *notes]) + "."
