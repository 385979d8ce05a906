"""Whether a prepared corpus is whole, looked at clip by clip; nothing is mended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from tqdm import tqdm

from mesm.corpora.manifest import MANIFEST, Manifest, read_manifest
from mesm.corpora.prepared import MEL_BINS, MEND, Clip, ClipList, PreparedCorpus
from mesm.corpora.splits import SPLITS
from mesm.data.batch import FACE_SHAPE
from mesm.features.manifest import FILE, FILES, FOLDER, prepared_hash, read_features_manifest
from mesm.features.store import FeatureStore
from mesm.runs.hashes import check_files

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Examined:
    """The result of looking at a corpus or a run.

    Attributes:
        findings: one line each: the file, what is wrong, what to do; empty: all is whole.
        checked: what was looked at, in a few words each.
    """

    findings: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    def add(self, finding: str) -> None:
        """Note what is wrong, once, as one line."""
        line = " ".join(finding.split())
        if line not in self.findings:
            self.findings.append(line)

    def attempt(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result of some work; None: it failed for a reason outside, which is noted."""
        try:
            return work(*args, **kwargs)
        except OSError as error:
            told = error.filename is not None and error.strerror is not None
            reason = f"{error.filename}: {str(error.strerror).lower()}" if told else str(error)
            self.add(f"{reason}; make it readable, or copy it again from where it is whole")
        except ValueError as error:
            self.add(str(error))
        return None


def examine_corpus(path: Path, found: Examined) -> PreparedCorpus | None:
    """Look at a prepared corpus; None: it has no manifest that can be read."""
    if not (path / MANIFEST).is_file():
        found.add(f"{path / MANIFEST}: missing, so the corpus is not whole; {MEND}")
        return None
    manifest = found.attempt(read_manifest, path)
    if manifest is None:
        return None
    hashes = manifest.files
    whole = {name for name in hashes if found.attempt(_check_file, path, name, hashes, MEND)}
    found.checked.append(f"{len(hashes)} Parquet files by their hashes")
    clips = _examine_clips(path, manifest, whole, found)
    found.checked.append(f"{len(clips)} clips decoded")
    corpus = PreparedCorpus(path, manifest)
    if (path / FOLDER).exists():
        _examine_features(corpus, clips, found)
    return corpus


def _check_file(folder: Path, name: str, hashes: Mapping[str, str], mend: str) -> bool:
    check_files(folder, {name: hashes[name]}, mend, anew=True)
    return True


def _examine_clips(path: Path, manifest: Manifest, whole: set[str], found: Examined) -> list[str]:
    """Decode every clip of the files that are whole; the names of these clips."""
    opened: list[tuple[str, Path, ClipList]] = []
    incomplete = set()
    for split in SPLITS:
        for name in sorted(n for n in manifest.files if Path(n).name.startswith(f"{split}-")):
            clips = found.attempt(ClipList, [path / name], split) if name in whole else None
            if clips is None:
                incomplete.add(split)
            else:
                opened.append((split, path / name, clips))
    lacks: dict[str, set[str]] = defaultdict(set)
    for what, without in manifest.without.items():
        for clip_id in without:
            lacks[clip_id].add(what)
    names: list[str] = []
    tallies = {split: Counter[str]() for split in SPLITS}
    total = sum(len(clips) for _, _, clips in opened)
    with tqdm(total=total, desc="clips", unit="clip", leave=False) as bar:
        for split, file, clips in opened:
            for place in range(len(clips)):
                clip = found.attempt(_decoded, clips, place)
                wrong = None if clip is None else _wrong_with(clip, manifest, lacks[clip.clip_id])
                bar.update()
                if clip is None or wrong is not None:
                    incomplete.add(split)
                    if clip is not None:
                        found.add(f"{file}, clip {clip.clip_id}: {wrong}; {MEND}")
                    continue
                names.append(clip.clip_id)
                tallies[split]["clips"] += 1
                tallies[split].update(np.array(manifest.emotions)[clip.labels == 1].tolist())
    for split, tally in tallies.items():
        if split not in incomplete:
            _compare_counts(path, manifest, split, tally, found)
    for name, times in Counter(names).items():
        if times > 1:
            found.add(f"{path}: clip {name} is there {times} times; {MEND}")
    return names


def _decoded(clips: Sequence[Clip], place: int) -> Clip:
    return clips[place]


def _wrong_with(clip: Clip, manifest: Manifest, lacks: Collection[str]) -> str | None:
    """The first thing that a prepared clip never is, given what it lacks; None: all is right."""
    frames, emotions = len(clip.faces), len(manifest.emotions)
    if clip.faces.shape != (frames, *FACE_SHAPE[1:], 3):
        return f"faces of shape {clip.faces.shape}"
    lengths = {len(clip.face_found), len(clip.face_boxes), len(clip.face_times)}
    if lengths != {frames}:
        return f"{frames} faces, but {lengths} entries about them"
    if len(clip.labels) != emotions or not set(clip.labels.tolist()) <= {0, 1}:
        return f"labels {clip.labels.tolist()} for {emotions} emotions"
    if not (np.isfinite(clip.face_boxes).all() and np.isfinite(clip.face_times).all()):
        return "boxes or times of faces that are not finite"
    bins, columns = clip.spectrogram.shape
    if bins != MEL_BINS or (columns == 0) != ("sound" in lacks):
        return f"a spectrogram of shape {clip.spectrogram.shape}"
    if (not clip.text.strip()) != ("text" in lacks):
        return f"the text {clip.text[:40]!r}"
    if (frames == 0) != ("pictures" in lacks):
        return f"{frames} faces"
    if manifest.single_label and clip.labels.sum() != 1:
        return f"labels {clip.labels.tolist()} where every clip has exactly one emotion"
    return None


def _compare_counts(
    path: Path, manifest: Manifest, split: str, tally: Counter[str], found: Examined
) -> None:
    wanted = manifest.counts.get(split)
    figures = {} if wanted is None else {"clips": wanted.clips, **wanted.labels}
    for name in {"clips": 0, **figures}:
        if figures.get(name, 0) != tally[name]:
            found.add(
                f"{path / MANIFEST}: counts {figures.get(name, 0)} {name} in the {split} split, "
                f"whose files hold {tally[name]}; {MEND}"
            )


def _examine_features(corpus: PreparedCorpus, clips: Iterable[str], found: Examined) -> None:
    folder = corpus.path / FOLDER
    mend = f"delete {folder} and run mesm features {corpus.path} --raw RAW"
    if not (folder / FILE).is_file():
        found.add(f"{folder / FILE}: missing, so the features are not whole; {mend}")
        return
    manifest = found.attempt(read_features_manifest, corpus)
    if manifest is None:
        return
    if manifest.prepared != prepared_hash(corpus):
        found.add(f"{folder / FILE}: made for another preparation of the corpus; {mend}")
        return
    files = FILES.values()
    unnamed = [name for name in files if name not in manifest.files]
    if unnamed:
        found.add(f"{folder / FILE}: has no hash of {', '.join(unnamed)}; {mend}")
        return
    whole = [found.attempt(_check_file, folder, name, manifest.files, mend) for name in files]
    if not all(whole):
        return
    store = FeatureStore(folder, manifest, corpus.manifest.emotions)

    def read(name: str) -> None:
        try:
            features = store.clip(name)
        except (ValueError, OSError, LookupError) as error:
            raise ValueError(f"{folder}: clip {name} cannot be read ({error}); {mend}") from error
        for stream in ("text", "audio", "video"):
            if not np.isfinite(getattr(features, stream)).all():
                file = folder / FILES[stream]
                raise ValueError(f"{file}: clip {name} has values that are not finite; {mend}")

    with np.errstate(over="ignore", invalid="ignore"):
        for name in tqdm(list(clips), desc="features", unit="clip", leave=False):
            found.attempt(read, name)
    found.checked.append("hand-crafted features")
