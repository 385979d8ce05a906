"""Published counts against those that were found."""

from __future__ import annotations

from pathlib import Path

from mesm.corpora import published
from mesm.corpora.utterances import RawCorpus


def test_groups_of_another_size_are_noted() -> None:
    corpus = RawCorpus("meld", Path("x"))
    published.note_missing(corpus, {"train": 9988, "test": 2610}, published.MELD)
    assert corpus.notes == [
        "train: 9988 clips can be used, 9989 were published",
        "valid: 0 clips can be used, 1109 were published",
    ]


def test_counts_agree_with_their_corpora_s_design() -> None:
    assert sum(published.MELD.values()) == 13708
    # 24 actors, 2 statements, 2 repetitions; all emotions but neutral in 2 intensities.
    assert published.RAVDESS_SPEECH["speech"] == 24 * 4 * (1 + 7 * 2)
    assert published.RAVDESS_SONG["song"] == 23 * 4 * (1 + 5 * 2)
