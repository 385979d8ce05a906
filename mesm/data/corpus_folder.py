"""The prepared corpus that settings name, or where it was looked for."""

from __future__ import annotations

from pathlib import Path

from mesm.corpora.manifest import MANIFEST
from mesm.corpora.prepared import PreparedCorpus


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
