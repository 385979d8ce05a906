"""The corpora there are, one row each: a new corpus is a reader's file and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mesm.corpora import iemocap, mosei, paper_figures
from mesm.corpora.paper_figures import PaperFigures
from mesm.corpora.utterances import RawCorpus


@dataclass(frozen=True)
class Corpus:
    """The particulars of a corpus; everything else is the same for all.

    Attributes:
        name: in commands, manifests and names of files.
        title: in tables.
        emotions: names of the labels, in their order.
        reader: reads labels and transcripts of a raw corpus; ValueError if the folder is none.
        accuracy: which one tables show.
        paper: its figures in the paper; None: it is not in there.
    """

    name: str
    title: str
    emotions: tuple[str, ...]
    reader: Callable[[Path], RawCorpus]
    accuracy: Literal["accuracy", "weighted_accuracy"]
    paper: PaperFigures | None = None


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="iemocap",
            title="IEMOCAP",
            emotions=iemocap.EMOTIONS,
            reader=iemocap.read_iemocap,
            accuracy="accuracy",
            paper=paper_figures.IEMOCAP,
        ),
        Corpus(
            name="mosei",
            title="CMU-MOSEI",
            emotions=mosei.EMOTIONS,
            reader=mosei.read_mosei,
            # It has many more negatives than positives, so the paper weighs its accuracy.
            accuracy="weighted_accuracy",
            paper=paper_figures.MOSEI,
        ),
    )
}


def find_corpus(name: str) -> Corpus:
    """The row of a corpus.

    Raises:
        ValueError: there is none; names those there are.
    """
    if name not in CORPORA:
        raise ValueError(f"corpus must be one of {', '.join(CORPORA)}, got {name!r}")
    return CORPORA[name]
