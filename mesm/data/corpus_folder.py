"""The prepared corpus that settings name, or where it was looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mesm.config.fold import FoldSettings
from mesm.corpora.folds import FoldedCorpus
from mesm.corpora.manifest import MANIFEST, read_manifest
from mesm.corpora.prepared import PreparedCorpus
from mesm.runs.checkpoints import MEND, read_progress
from mesm.runs.documents import Evaluation, FoldDocument
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import read_sealed, sealed
from mesm.runs.places import CorpusPlace, describe_place, places_of


def open_corpus(path: Path) -> PreparedCorpus:
    """The prepared corpus that the settings of a new training name.

    Raises:
        ValueError: there is none; says where it was looked for. Or see `PreparedCorpus.open`.
    """
    if not (path / MANIFEST).is_file():
        raise ValueError(
            f"{path} is not a prepared corpus: {_looked(path)}; name its folder as corpus=FOLDER, "
            "or make it with `mesm prepare`"
        )
    return PreparedCorpus.open(path)


def locate_corpus(folder: RunFolder, named: Path, given: Path | None = None) -> Path:
    """The folder of the corpus that a run was trained on, wherever either of them lies now.

    It is looked for where it was as seen from the run, then where it was, and known by a hash of
    its content. Where config.yaml was changed since, only the folder that it names now is right.
    An earlier run kept nothing but that name; what lies there is taken where it has the emotions,
    and the numbers of clips, that the run has.

    Args:
        folder: of the run.
        named: the corpus' folder as config.yaml has it, relative to the working directory.
        given: the folder instead, of which the content must be the same; None: none.

    Raises:
        ValueError: it is in none of these places, or they hold other corpora; says where it was
            looked for.
    """
    kept = kept_place(folder)
    if given is not None:
        places = [given]
    elif kept is None or kept["named"] != str(named):
        places = [named]
    else:
        places = places_of(kept, folder.path)
    there = [place for place in places if (place / MANIFEST).is_file()]
    found = {place: _identity(place) for place in there}
    if kept is not None:
        right = [place for place, identity in found.items() if identity == kept["identity"]]
        # One that cannot be read is told by its own error, when it is opened.
        right += [place for place, identity in found.items() if identity is None]
    else:
        right = [place for place in there if _may_be_of(folder, place)]
    if right:
        return right[0]
    mend = (
        "name it with --corpus (mesm train: as corpus=FOLDER), or for good after `corpus:` in "
        f"{folder.config}"
    )
    if there:
        raise ValueError(
            f"{folder.path}: was trained on another corpus than {_or(there)} is now; if that one "
            f"lies elsewhere {mend}; else prepare it again, or train another run"
        )
    if given is not None:
        raise ValueError(f"{folder.path}: --corpus {given} is not its corpus: {_looked(given)}")
    if kept is None and not named.is_absolute():
        mend = f"call mesm from the folder where the run was trained; if it was moved, {mend}"
    else:
        mend = f"if it was moved, {mend}"
    raise ValueError(f"{folder.path}: its corpus is not there: {_looked(*places)}; {mend}")


def corpus_to_train_on(named: Path, folder: RunFolder) -> PreparedCorpus:
    """The corpus of a training that begins, or of one that goes on after either was moved.

    Raises:
        ValueError: see `open_corpus` and `locate_corpus`.
    """
    if not folder.config.is_file():
        return open_corpus(named)
    # A run that diverged may start anew on any corpus.
    if folder.diverged.is_file() and (named / MANIFEST).is_file():
        return PreparedCorpus.open(named)
    return PreparedCorpus.open(locate_corpus(folder, named))


def kept_place(folder: RunFolder) -> CorpusPlace | None:
    """The content of a run's corpus.json; None: the run is an earlier one.

    Raises:
        ValueError: it is damaged.
    """
    kept: CorpusPlace | None = read_sealed(folder.corpus, CorpusPlace, MEND)
    return kept


def has_corpus(folder: RunFolder, identity: str) -> bool:
    """Whether a run says that its corpus has this `PreparedCorpus.content`."""
    kept = kept_place(folder)
    return kept is not None and kept["identity"] == identity


def write_place(named: Path, corpus: PreparedCorpus, folder: RunFolder) -> None:
    """Keep in a run's folder where its corpus lies and what that holds.

    Args:
        named: the corpus' folder as config.yaml has it.
        corpus: as it was found.
        folder: of the run.
    """
    place = describe_place(named, corpus.path, folder.path, corpus.content)
    folder.write_json(folder.corpus, sealed(place))


def _identity(place: Path) -> str | None:
    """The hash of the content of a prepared corpus; None: its manifest cannot be read."""
    try:
        manifest = read_manifest(place)
    except ValueError:
        return None
    return None if manifest is None else manifest.identity


def _may_be_of(folder: RunFolder, place: Path) -> bool:
    """Whether a prepared corpus fits all that an earlier run tells of its own.

    Its checkpoint has the emotions and how many clips each split had, and its scores have the
    emotions.
    """
    try:
        manifest = read_manifest(place)
    except ValueError:
        return True  # which is told by its own error, when it is opened
    assert manifest is not None
    try:
        progress, scores = read_progress(folder), read_json(folder.evaluation, Evaluation) or {}
    except ValueError:
        return True  # likewise
    facts = {} if progress is None else progress.corpus
    emotions = [facts["emotions"]] if "emotions" in facts else []
    emotions += [[*scores[split]["emotions"]] for split in manifest.counts if split in scores]
    clips = {split: counts.clips for split, counts in manifest.counts.items()}
    # A fold has other splits, and its own record of them; no other setting has keys of this name.
    folded = folder.config.is_file() and "\nfold:\n" in folder.config.read_text(encoding="utf-8")
    return (folded or facts.get("clips", clips) == clips) and all(
        names == list(manifest.emotions) for names in emotions
    )


def _looked(*places: Path) -> str:
    """Where a corpus was looked for, in words."""
    folder = Path.cwd()
    whole = " and ".join(str(place.absolute()) for place in places)
    said = f"{whole} {'has' if len(places) == 1 else 'have'} no {MANIFEST}"
    relative = [place for place in places if not place.is_absolute()]
    return said + "".join(f" ({one} was looked for from the folder {folder})" for one in relative)


def _or(places: Sequence[Path]) -> str:
    return " or ".join(str(place) for place in places)


def in_fold(corpus: PreparedCorpus, fold: FoldSettings | None, folder: RunFolder) -> PreparedCorpus:
    """A corpus with the splits that the settings of a run ask for.

    Args:
        corpus: with its own splits.
        fold: which fold; None: the corpus as it is.
        folder: of the run; if it has begun, its statistics are taken.

    Raises:
        ValueError: see `FoldedCorpus`; or the run began with other clips than the fold has now.
    """
    if fold is None:
        return corpus
    if not folder.config.is_file():
        return FoldedCorpus(corpus, fold)
    found = FoldedCorpus(corpus, fold, _kept_fold(folder)["statistics"])
    check_fold(found, folder)
    return found


def check_fold(corpus: FoldedCorpus, folder: RunFolder) -> None:
    """Refuse, with a ValueError, a fold of which the clips are others than a begun run's."""
    kept = _kept_fold(folder)
    if corpus.identity != kept["identity"]:
        same = corpus.identity["clips"] == kept["identity"]["clips"]
        what = "the same clips, prepared otherwise" if same else "other clips in its splits"
        raise ValueError(
            f"{folder.path}: was trained on another corpus than {corpus.path} is now, which has "
            f"{what}; prepare that one again, or train another run"
        )


def _kept_fold(folder: RunFolder) -> FoldDocument:
    kept: FoldDocument | None = read_json(folder.fold, FoldDocument)
    if kept is None:
        raise ValueError(
            f"{folder.path}: this run has no {folder.fold.name}, which says what it was trained "
            f"on; {MEND}"
        )
    return kept


def write_fold(corpus: PreparedCorpus, folder: RunFolder) -> None:
    """Keep in a run's folder which fold of which corpus it reads; nothing where it is none."""
    if isinstance(corpus, FoldedCorpus):
        folder.write_json(folder.fold, corpus.describe())
