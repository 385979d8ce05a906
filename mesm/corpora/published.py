"""How many clips corpora have by what their makers published."""

from __future__ import annotations

from collections.abc import Mapping

from mesm.corpora.utterances import RawCorpus

# MELD: Poria et al., 2019, Table 2, as in the label files.
MELD = {"train": 9989, "valid": 1109, "test": 2610}
# RAVDESS: Livingstone and Russo, 2018; 24 actors speak, and all but actor 18 sing.
RAVDESS_SPEECH = {"speech": 1440}
RAVDESS_SONG = {"song": 1012}
# CREMA-D: Cao et al., 2014; 91 actors.
CREMA_D = {"clips": 7442}


def note_missing(corpus: RawCorpus, usable: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Note of which groups a raw corpus has fewer or more usable clips than its makers published.

    Args:
        corpus: where the note goes.
        usable: clips that can be used, per group; a group that is not there has none.
        wanted: clips that were published, per group.
    """
    for name, count in wanted.items():
        found = usable.get(name, 0)
        if found != count:
            corpus.notes.append(f"{name}: {found} clips can be used, {count} were published")
