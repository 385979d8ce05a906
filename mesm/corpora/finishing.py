"""From all part files to a finished corpus: its files, and the manifest, which comes last."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mesm.corpora.assembly import (
    CLIPS_PER_FILE,
    Each,
    Shard,
    Written,
    assemble,
    collect,
    one_by_one,
)
from mesm.corpora.figures import Figures
from mesm.corpora.manifest import FORMAT, LEAST_STD, MANIFEST, Manifest
from mesm.corpora.miniature import ground_truth
from mesm.corpora.registry import find_corpus
from mesm.corpora.utterances import RawCorpus, SkippedClip, Utterance
from mesm.runs.cluster import Cluster
from mesm.runs.files import write_beside
from mesm.runs.hashes import sealed
from mesm.runs.processes import side_by_side

# One process writes so many files before others, which take seconds to start, would be done.
FEW_FILES = 8


def finish(
    parts: Sequence[Path],
    found: RawCorpus,
    lists: dict[str, str] | None,
    out: Path,
    work: Path,
    fingerprint: dict[str, Any],
    seen: str,
    *,
    split: Callable[[Sequence[Utterance]], dict[str, str]],
    workers: int | None,
    cluster: Cluster | None,
) -> Manifest:
    """Write the files and the manifest; whatever was there before is replaced in the end.

    Args:
        parts: all part files, in the dialogs' order.
        found: the raw corpus.
        lists: clip to split, of published lists; None: there are none.
        out: the prepared corpus' folder.
        work: folder of what is unfinished, in `out`.
        fingerprint: the options that change the result.
        seen: hash of all that the result depends on.
        split: splits clips where there are no lists.
        workers: processes that write; None: one per core.
        cluster: whose nodes write, and see the parts; None: this machine does.

    Raises:
        ValueError: no clip can be used, none that trains, or the sound is all the same.
        ChildProcessError: a process died.
    """
    rows, left_out = collect(parts)
    clips = {clip for _, names in rows for clip in names}
    if not clips:
        reasons = ", ".join(f"{number} {reason}" for reason, number in _reasons(left_out).items())
        raise ValueError(
            f"no clip of {found.root} can be used ({reasons}): mend what the lines above name"
        )
    if lists is not None:
        splits = {clip: lists[clip] for clip in clips}
    else:
        usable = [u for u in found.utterances if u.clip_id in clips]
        splits = split(usable)
    if "train" not in splits.values():
        raise ValueError("no clip of the training split can be used")
    fresh = work / "data"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    each = _each(len(clips) // CLIPS_PER_FILE, workers, cluster)
    with tqdm(total=len(clips), desc="writing", unit="clip") as bar:
        files, figures = assemble(rows, splits, _emotions(found), fresh, bar.update, each)
    hashes = {f"data/{file.name}": files[file] for file in files}
    skipped = sorted([*found.skipped, *left_out], key=lambda s: (s.clip_id, s.file))
    # Before anything is replaced: figures that are not finite are refused here.
    manifest = _manifest(found, figures, skipped, lists, fingerprint, hashes, seen)
    (out / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(out / "data", ignore_errors=True)
    fresh.rename(out / "data")
    write_beside(out / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _each(files: int, workers: int | None, cluster: Cluster | None) -> Each:
    """Choose who writes the files: a cluster's nodes, this process, or several on this machine."""
    if cluster is not None:
        return partial(cluster.each, gave_up=_gave_up, at_once=workers)
    workers = min(workers or os.cpu_count() or 1, files)
    return (
        one_by_one if workers < 2 or files <= FEW_FILES else partial(side_by_side, workers=workers)
    )


def _gave_up(shard: Shard, why: str) -> Written:
    raise ChildProcessError(f"{shard.file.name} cannot be written: {why}; run again to go on")


def _manifest(
    found: RawCorpus,
    figures: Figures,
    skipped: Sequence[SkippedClip],
    lists: dict[str, str] | None,
    fingerprint: dict[str, Any],
    files: dict[str, str],
    seen: str,
) -> Manifest:
    mean, std = figures.mean_and_std()
    if not std >= LEAST_STD:
        raise ValueError(
            f"{found.root}: the sound of the training split is all the same, as digital silence "
            "is, and nothing can be learnt of it; extract the recordings' sound anew"
        )
    reasons = _reasons(skipped)
    if found.other_labels:
        reasons["label"] = found.other_labels.total()
    on_disk = {u.clip_id for u in found.utterances}
    known = on_disk | {clip.clip_id for clip in skipped}
    manifest = Manifest(
        format=FORMAT,
        corpus=found.name,
        emotions=list(_emotions(found)),
        counts=figures.counts(),
        averages=figures.averages(),
        spectrogram_mean=mean,
        spectrogram_std=std,
        faces=figures.faces(),
        skipped=list(skipped),
        skipped_by_reason=reasons,
        other_labels=dict(sorted(found.other_labels.items())),
        unlisted=[] if lists is None else sorted(on_disk - lists.keys()),
        missing=[] if lists is None else sorted(lists.keys() - known),
        notes=found.notes,
        options=fingerprint,
        files=files,
        synthetic=is_generated(found),
        single_label=found.single_label,
        named=found.title,
        modalities=figures.modalities,
        without=figures.without,
        raw=seen,
    )
    return Manifest(**sealed(manifest.model_dump(mode="json")))


def _emotions(found: RawCorpus) -> tuple[str, ...]:
    return found.emotions or find_corpus(found.name).emotions


def is_generated(corpus: RawCorpus) -> bool:
    """Only a generated corpus comes with the truth about itself, in its folder or beside it."""
    places = (corpus.root, corpus.home or corpus.root)
    return any((place / ground_truth.FILE_NAME).is_file() for place in places)


def _reasons(skipped: Sequence[SkippedClip]) -> dict[str, int]:
    return dict(sorted(Counter(clip.reason for clip in skipped).items()))
