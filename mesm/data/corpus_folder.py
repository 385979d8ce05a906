"""The prepared corpus that settings name, or where it was looked for."""

from __future__ import annotations

from pathlib import Path

from mesm.config.fold import FoldSettings
from mesm.corpora.folds import FoldedCorpus
from mesm.corpora.manifest import MANIFEST
from mesm.corpora.prepared import PreparedCorpus
from mesm.runs.checkpoints import MEND
from mesm.runs.documents import FoldDocument
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder


def open_corpus(path: Path, run: Path | None = None) -> PreparedCorpus:
    """The prepared corpus in a folder.

    Args:
        path: the folder, as the settings have it.
        run: the run whose settings these are; None: those of a new one.

    Raises:
        ValueError: there is none; says where it was looked for. Or see `PreparedCorpus.open`.
    """
    if (path / MANIFEST).is_file():
        return PreparedCorpus.open(path)
    looked = f"{path.absolute()} has no {MANIFEST}"
    if not path.is_absolute():
        looked += f" ({path} was looked for from the folder {Path.cwd()})"
    if run is None:
        raise ValueError(
            f"{path} is not a prepared corpus: {looked}; name its folder as corpus=FOLDER, or make "
            "it with `mesm prepare`"
        )
    mend = f"if it was moved, write its folder after `corpus:` in {run / 'config.yaml'}"
    if not path.is_absolute():
        mend = f"call mesm from the folder where the run was trained; {mend}"
    raise ValueError(f"{run}: its corpus is not there: {looked}; {mend}")


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
    kept = read_json(folder.fold, FoldDocument)
    if kept is None:
        raise ValueError(
            f"{folder.path}: this run has no {folder.fold.name}, which says what it was trained "
            f"on; {MEND}"
        )
    found = FoldedCorpus(corpus, fold, kept["statistics"])
    if found.identity != kept["identity"]:
        same = found.identity["clips"] == kept["identity"]["clips"]
        what = "the same clips, prepared otherwise" if same else "other clips in its splits"
        raise ValueError(
            f"{folder.path}: was trained on another corpus than {corpus.path} is now, which has "
            f"{what}; prepare that one again, or train another run"
        )
    return found


def write_fold(corpus: PreparedCorpus, folder: RunFolder) -> None:
    """Keep in a run's folder which fold of which corpus it reads; nothing where it is none."""
    if isinstance(corpus, FoldedCorpus):
        folder.write_json(folder.fold, corpus.describe())
