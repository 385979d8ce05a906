"""The corpora there are, one row each: a new corpus is a reader's file and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mesm.corpora import crema_d, iemocap, meld, mosei, paper_figures, ravdess, table
from mesm.corpora.paper_figures import PaperFigures
from mesm.corpora.splits import SplitPolicy
from mesm.corpora.utterances import RawCorpus


@dataclass(frozen=True)
class Corpus:
    """The particulars of a corpus; everything else is the same for all.

    Attributes:
        name: in commands, manifests and names of files.
        title: in tables.
        emotions: names of the labels, in their order; none where each raw corpus has its own.
        reader: reads labels and transcripts of a raw corpus, given its own options of reading;
            ValueError if the folder is none.
        accuracy: which one tables show.
        split: which way of splitting is taken unless another is asked for.
        own_split: tells the way of splitting of a raw corpus that may bring one, in place of
            `split`; the reader is then told the way and its seed, as `split` and `seed`.
        raw: what a raw corpus is on disk, "folder" or "file".
        read_first: ends of the paths of the files that the reader opens, as `fnmatch` has them,
            where it opens no media; such a corpus may lie on object storage.
        options: names of the reader's own options of reading.
        paper: its figures in the paper; None: it is not in there.
    """

    name: str
    title: str
    emotions: tuple[str, ...]
    reader: Callable[..., RawCorpus]
    accuracy: Literal["accuracy", "weighted_accuracy"]
    split: SplitPolicy = "random"
    own_split: Callable[[Path], SplitPolicy] | None = None
    raw: Literal["folder", "file"] = "folder"
    read_first: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
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
            read_first=iemocap.READ_FIRST,
            paper=paper_figures.IEMOCAP,
        ),
        Corpus(
            name="mosei",
            title="CMU-MOSEI",
            emotions=mosei.EMOTIONS,
            reader=mosei.read_mosei,
            # It has many more negatives than positives, so the paper weighs its accuracy.
            accuracy="weighted_accuracy",
            read_first=mosei.READ_FIRST,
            paper=paper_figures.MOSEI,
        ),
        Corpus(
            name="meld",
            title="MELD",
            emotions=meld.EMOTIONS,
            reader=meld.read_meld,
            accuracy="accuracy",
            split="column",
        ),
        Corpus(
            name="ravdess",
            title="RAVDESS",
            emotions=ravdess.EMOTIONS,
            reader=ravdess.read_ravdess,
            accuracy="accuracy",
            split="speaker",
            options=("song",),
        ),
        Corpus(
            name="crema_d",
            title="CREMA-D",
            emotions=crema_d.EMOTIONS,
            reader=crema_d.read_crema_d,
            accuracy="accuracy",
            split="speaker",
            options=("labels",),
        ),
        Corpus(
            name="table",
            title="Own corpus",
            emotions=(),
            reader=table.read_table,
            # Emotions are seldom as frequent as each other.
            accuracy="weighted_accuracy",
            own_split=table.own_split,
            options=("labels", "above", "name"),
            raw="file",
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


def reader_of(corpus: str, options: Mapping[str, Any]) -> Callable[..., RawCorpus]:
    """The reader of a corpus, with its own options of reading.

    Raises:
        ValueError: the reader has no such option; names the corpora that have it.
    """
    row = find_corpus(corpus)
    for name in options:
        if name not in row.options:
            known = [other.name for other in CORPORA.values() if name in other.options]
            which = f", which is for {', '.join(known)}" if known else "; no corpus knows it"
            raise ValueError(f"{corpus} is read without --{name}{which}")
    return partial(row.reader, **options)
