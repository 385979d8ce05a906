"""Where a run's corpus lies, so that it is found again after either of them was moved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict


class CorpusPlace(TypedDict):
    """The content of corpus.json.

    Attributes:
        named: the corpus' folder as config.yaml had it when this was written.
        relative: ways to it from the run's folder: between the two as they are named and, where
            symbolic links make that another one, as they lie on the disk.
        absolute: its folder from the root, as it is named.
        identity: of its content, `mesm.corpora.manifest.Manifest.identity`.
        digest: of all the rest, `mesm.runs.hashes.sealed`.
    """

    named: str
    relative: list[str]
    absolute: str
    identity: str
    digest: str


def describe_place(named: Path, corpus: Path, run: Path, identity: str) -> dict[str, Any]:
    """The content of a run's corpus.json but for its digest.

    Args:
        named: the corpus' folder as config.yaml has it.
        corpus: its folder as it was found; a relative one is taken from the working directory.
        run: the run's folder, likewise.
        identity: of the corpus' content.
    """
    ways = (os.path.relpath(real(corpus), real(run)) for real in (_as_named, os.path.realpath))
    return {
        "named": str(named),
        "relative": list(dict.fromkeys(ways)),
        "absolute": str(corpus.absolute()),
        "identity": identity,
    }


def places_of(kept: Mapping[str, Any], run: Path) -> list[Path]:
    """Where a corpus may lie now: first as seen from the run, then where it was.

    Args:
        kept: the content of the run's corpus.json.
        run: the run's folder.

    Returns:
        Each place once; one to which the name in config.yaml leads too has that name.
    """
    bases = (_as_named(run), os.path.realpath(run))
    seen = [os.path.normpath(f"{base}/{way}") for base in bases for way in kept["relative"]]
    places: dict[str, str] = {}
    for place in (*seen, kept["absolute"], kept["named"]):
        places.setdefault(os.path.realpath(place), place)
    places[os.path.realpath(kept["named"])] = kept["named"]
    return [Path(place) for place in places.values()]


def _as_named(place: Path) -> str:
    return os.path.normpath(place.absolute())
