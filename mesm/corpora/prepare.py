"""From a raw corpus to the prepared one: resumable, and whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from tqdm import tqdm

from mesm.corpora.extraction import Dialog, extractor
from mesm.corpora.finishing import finish
from mesm.corpora.manifest import FORMAT, MANIFEST, Manifest, read_manifest
from mesm.corpora.parts import Carrier, Places, make_all
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.registry import find_corpus, reader_of
from mesm.corpora.splits import SplitPolicy, read_split_lists, split_clips
from mesm.corpora.summary import lacks, summary
from mesm.corpora.utterances import RawCorpus, Utterance
from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.faces import FaceRule
from mesm.inputs.mtcnn import other_weights
from mesm.runs.cluster import Cluster
from mesm.runs.files import owned, read_json, write_beside
from mesm.runs.hashes import MEMORY
from mesm.runs.nodes import is_token
from mesm.runs.ordinary import not_a_file

WORK = ".work"
# Options that a manifest names only where they are others.
UNTOLD = {"device": "cpu", "faces": "largest", "mtcnn": "facenet-pytorch's"}


class PrepareOptions(BaseModel):
    """How to prepare a corpus.

    Attributes:
        split: 70/10/20 at random, or with no speaker or no group (dialog, video) in two splits; or
            "column", as the corpus itself says; None: the corpus' own way.
        splits: folder with published id lists; takes the place of `split`.
        seed: of the split.
        min_face_size: side in pixels of the smallest face looked for; larger is faster.
        workers: processes; None: one per core. Changes nothing in the result.
        reading: options of the corpus' own reader, such as {"song": True}; JSON values.
        device: where faces are looked for: "cpu", "cuda" or "cuda:N". A GPU finds the same boxes
            to a hundredth of a pixel, not to the last bit.
        faces: whose face a clip shows: the largest of each frame, or the one seen longest.
        mtcnn: folder of the face detector's weights; None: those of the installed facenet-pytorch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: SplitPolicy | None = None
    splits: Path | None = None
    seed: int = Field(default=0, ge=0)
    min_face_size: int = Field(default=20, ge=12)
    workers: int | None = Field(default=None, ge=1)
    reading: dict[str, Any] = {}
    device: str = "cpu"
    faces: FaceRule = "largest"
    mtcnn: Path | None = None

    def policy(self, corpus: str) -> SplitPolicy:
        """The way of splitting that was asked for, or the corpus' own."""
        return self.split or find_corpus(corpus).split

    @property
    def kind_of_device(self) -> str:
        """The device without its number, which changes nothing in the result."""
        return self.device.partition(":")[0]


def prepare(
    corpus: str,
    raw: Path,
    out: Path,
    options: PrepareOptions | None = None,
    cluster: Cluster | None = None,
    carrier: Carrier | None = None,
) -> Manifest:
    """Prepare a raw corpus.

    A run that was stopped, at any moment and in any way, is taken up where it was; the files are
    then the same, byte for byte, as those of a run that was not.

    Args:
        corpus: whose layout `raw` has.
        raw: the corpus on disk.
        out: the folder to make.
        options: how; None: the defaults.
        cluster: whose nodes do the work; changes nothing in the result.
        carrier: where the corpus lies elsewhere; `mesm.corpora.remote` makes one.

    Returns:
        The manifest, also in `out`.

    Raises:
        ValueError: `raw` is not the corpus, its reader has no such options, `out` holds something
            else or was begun with other options, the id lists do not fit, or there is no such
            device: nothing is written then. Or, in the end, no clip could be used.
        FileNotFoundError: the face detector's weights are missing; says how to install them.
    """
    options = options or PrepareOptions()
    kind = find_corpus(corpus)
    if kind.raw == "folder" and not raw.is_dir():
        raise ValueError(f"{raw} is not a folder")
    if kind.raw == "file" and not raw.is_file():
        raise ValueError(f"{raw} {not_a_file(raw)}")
    reader = reader_of(corpus, options.reading)
    if kind.own_split is not None:
        options = options.model_copy(update={"split": options.split or kind.own_split(raw)})
        split = None if options.splits else options.split
        reader = partial(reader, split=split, seed=options.seed)
    if raw.resolve() == out.resolve():
        raise ValueError(f"the prepared corpus cannot go into the raw one, {raw}")
    lists = None if options.splits is None else read_split_lists(options.splits, corpus)
    FaceDetector(options.min_face_size, weights=options.mtcnn, device=options.device)
    fingerprint = _fingerprint(corpus, options, lists)
    _look_at(out, fingerprint)
    with owned(out, "preparing"):
        return _prepare(raw, out, reader, fingerprint, lists, options, cluster, carrier)


def _prepare(
    raw: Path,
    out: Path,
    reader: Callable[[Path], RawCorpus],
    fingerprint: dict[str, Any],
    lists: dict[str, str] | None,
    options: PrepareOptions,
    cluster: Cluster | None,
    carrier: Carrier | None,
) -> Manifest:
    """Prepare into a folder that nobody else writes to; errors as in `prepare`."""
    finished = _look_at(out, fingerprint)
    found = reader(raw)
    utterances = found.utterances
    if lists is not None:
        utterances = [u for u in utterances if u.clip_id in lists]
    if not utterances:
        raise ValueError(f"{raw} has no utterance to prepare" + (" in the lists" * bool(lists)))
    if lists is None:
        # Refuses too few speakers before the work, not after it.
        split_clips(utterances, options.policy(found.name), options.seed)
    dialogs = _dialogs(found, utterances, options)
    if lists is not None and all(lists[u.clip_id] != "train" for u in utterances):
        raise ValueError(f"{raw} has no clip of the training list, {found.name}_train.txt")
    seen = _seen(found, dialogs)
    whole = finished is not None and _still_holds(out, finished, seen)
    if finished is not None and whole and not (out / WORK).exists():
        place = out if carrier is None else carrier.places(out, raw)[0]
        said = [f"{place} is already prepared: nothing to do", *lacks(finished, utterances)]
        print("\n".join(said))
        return finished
    if finished is None or not whole:
        places: Places = (out, [raw]) if carrier is None else carrier.places(out, raw)
        with nullcontext() if cluster is None else cluster.sharing(*places):
            parts = _extract_all(dialogs, out / WORK, fingerprint, found, options, cluster, carrier)
            # Nodes see the parts unless these were brought from object storage.
            nodes = cluster if isinstance(places[0], Path) else None
            finished = finish(
                *(parts, found, lists, out, out / WORK, fingerprint, seen),
                split=partial(split_clips, policy=options.policy(found.name), seed=options.seed),
                workers=options.workers,
                cluster=nodes,
            )
    shutil.rmtree(out / WORK, ignore_errors=True)
    print("\n".join([summary(finished), *lacks(finished, utterances)]))
    return finished


def _dialogs(
    found: RawCorpus, utterances: Sequence[Utterance], options: PrepareOptions
) -> list[Dialog]:
    """The units of work: what shares a dialog and its media."""
    groups = [
        (name, tuple(group))
        for (name, _), group in groupby(utterances, key=lambda u: (u.dialog, u.media))
    ]
    several = Counter(name for name, _ in groups)
    places = {name: count(1) for name in several}
    return [
        Dialog(
            name if several[name] == 1 else f"{name}.{next(places[name])}",
            *(found.root, group, options.min_face_size, options.kind_of_device, options.faces),
        )
        for name, group in groups
    ]


def _fingerprint(
    corpus: str, options: PrepareOptions, lists: dict[str, str] | None
) -> dict[str, Any]:
    """Give the options that change the result; `lists` by their content, not their place."""
    fingerprint: dict[str, Any] = {
        "format": FORMAT,
        "corpus": corpus,
        "split": options.policy(corpus) if lists is None else "lists",
        "seed": options.seed,
        "min_face_size": options.min_face_size,
    }
    if options.reading:
        fingerprint["reading"] = options.reading
    if options.kind_of_device != "cpu":
        fingerprint["device"] = options.kind_of_device
    if options.faces != "largest":
        fingerprint["faces"] = options.faces
    weights = other_weights(options.mtcnn)
    if weights is not None:
        fingerprint["mtcnn"] = weights
    if lists is not None:
        # Published lists leave nothing to a seed.
        del fingerprint["seed"]
        content = json.dumps(sorted(lists.items())).encode()
        fingerprint["lists"] = hashlib.sha256(content).hexdigest()
    return fingerprint


def _look_at(out: Path, fingerprint: dict[str, Any]) -> Manifest | None:
    """Give the manifest if `out` is finished; refuse a folder that is something else.

    Raises:
        ValueError: `out` holds other files, or was prepared with other options.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise ValueError(f"{out} is not a folder")
    manifest = read_manifest(out)
    begun = out / WORK / "options.json"
    if manifest is not None:
        before, state = manifest.options, "prepared"
    elif begun.is_file():
        before, state = read_json(begun), "begun"
        if not isinstance(before, dict):
            raise ValueError(f"{begun} is damaged: wanted the options; delete {out / WORK}")
    else:
        others = sorted(
            path.name
            for path in out.iterdir()
            if path.name not in (WORK, MEMORY) and not is_token(path.name)
        )
        if others:
            raise ValueError(f"{out} is not empty ({others[0]}): name a new folder")
        return None
    if before != fingerprint:
        keys = sorted(set(before) | set(fingerprint))
        changed = ", ".join(
            f"{key} {_shown(before, key)} then, {_shown(fingerprint, key)} now"
            for key in keys
            if before.get(key) != fingerprint.get(key)
        )
        raise ValueError(
            f"{out} was {state} with other options ({changed}): use those, name another folder, "
            "or delete it"
        )
    return manifest


def _shown(fingerprint: Mapping[str, Any], key: str) -> Any:
    return fingerprint.get(key, UNTOLD.get(key))


def _seen(found: RawCorpus, dialogs: Sequence[Dialog]) -> str:
    """Hash all that the result depends on: texts, labels, what was left out, stamps of media."""
    skipped = [clip.model_dump() for clip in found.skipped]
    others = sorted(found.other_labels.items())
    key: list[Any] = [[dialog.part_name() for dialog in dialogs], skipped, others, found.notes]
    if found.emotions:
        key.append([found.emotions, found.single_label, found.title])
    return hashlib.sha256(json.dumps(key, ensure_ascii=True).encode()).hexdigest()


def _still_holds(out: Path, manifest: Manifest, seen: str) -> bool:
    """Tell whether a finished corpus is whole, and its raw corpus as it was; say what is not."""
    try:
        PreparedCorpus(out, manifest).check()
    except ValueError as error:
        tqdm.write(f"{error}: preparing anew", file=sys.stderr)
        return False
    if manifest.raw is None:
        if manifest.skipped:
            tqdm.write(
                f"{len(manifest.skipped)} clips were left out of {out}, see {MANIFEST}; if the raw "
                f"corpus was mended since, delete {out} to prepare it anew",
                file=sys.stderr,
            )
        return True
    if manifest.raw != seen:
        tqdm.write(
            f"the raw corpus has changed since {out} was made: preparing anew", file=sys.stderr
        )
        return False
    return True


def _extract_all(
    dialogs: Sequence[Dialog],
    work: Path,
    fingerprint: dict[str, Any],
    found: RawCorpus,
    options: PrepareOptions,
    cluster: Cluster | None,
    carrier: Carrier | None,
) -> list[Path]:
    """Make the missing part files; give all of them in the dialogs' order."""
    work.mkdir(exist_ok=True)
    write_beside(work / "options.json", json.dumps(fingerprint))
    for note in found.notes:
        tqdm.write(note, file=sys.stderr)
    for clip in found.skipped:
        tqdm.write(clip.line(), file=sys.stderr)
    opened = partial(extractor, options.min_face_size, options.device, options.mtcnn)
    return make_all(dialogs, work / "parts", opened, options.workers, "clips", cluster, carrier)
