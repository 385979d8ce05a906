import pytest

from mesm.corpora.manifest import Manifest
from mesm.tables.notes import (
    corpus_note,
    features_note,
    flops_note,
    latency_method,
    metric_notes,
    no_paper_note,
    seeds_note,
    split_method,
)
from tests.mesm.tables.cases import manifest, scores


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"split": "random", "seed": 3}, "split 70/10/20 at random, seed 3"),
        ({"split": "speaker", "seed": 3}, "split with no speaker in two parts, seed 3"),
        ({"split": "group", "seed": 3}, "split with no dialog or video in two parts, seed 3"),
        ({"split": "column"}, "split as the corpus itself says"),
        ({"split": "lists", "lists": "ab" * 32}, "published id lists (sha256 abababababab)"),
        ({}, "how it was split is not recorded"),
    ],
)
def test_how_a_corpus_was_split(options: dict[str, object], text: str) -> None:
    assert text in split_method(options)


@pytest.mark.parametrize(
    ("synthetic", "text"),
    [
        (True, "Corpus: a synthetic miniature corpus in CMU-MOSEI's layout; "),
        (False, "Corpus: CMU-MOSEI; "),
        (None, "Corpus: CMU-MOSEI, or a miniature corpus in its layout (not recorded"),
    ],
)
def test_which_corpus(synthetic: bool | None, text: str) -> None:
    assert corpus_note(Manifest(**manifest("mosei")), synthetic).startswith(text)


def test_every_metric_split_and_policy_is_named_once() -> None:
    tuned = {"threshold": {"policy": "tuned on validation F1"}}
    assert metric_notes([scores(**tuned), scores(**tuned)])[1] == (
        "Threshold per emotion: tuned on validation F1, each run its own."
    )
    wacc = {"threshold": {"policy": "tuned on validation WAcc"}}
    assert metric_notes([scores(**wacc)])[1].endswith("WAcc, each run its own.")
    notes = " ".join(metric_notes([scores(), scores("mosei", split="valid", clips=9), scores()]))
    for text in ("on the test and valid split, 4 or 9 clips", "emotion: 0.5.", "Acc: ", "WAcc: "):
        assert notes.count(text) >= 1
    assert notes.count("F1: binary") == 1


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([1, 1], "One training seed per row, so no deviation."),
        ([3, 3], "± is the sample deviation over the training seeds."),
        ([1, 3], "± is the sample deviation over the training seeds (none where there is one"),
    ],
)
def test_what_the_deviation_is_over(counts: list[int], text: str) -> None:
    assert seeds_note(counts).startswith(text)


def test_sentences_that_depend_on_what_there_is() -> None:
    assert features_note(None) is None
    assert features_note("34 columns.") == "Two-phase systems: 34 columns."
    assert features_note({"audio": 34, "text": "GloVe"}) == (
        "Two-phase systems: audio: 34; text: GloVe."
    )
    assert "doubled" in flops_note(True)
    assert "paper" not in flops_note(False)
    assert "synthetic" in no_paper_note(True)
    assert "--real" in no_paper_note(None)
    setting = {"repeats": 5, "batch_size": 8, "device": "cpu", "threads": 2, "dtype": "bfloat16"}
    assert latency_method(setting).endswith("8 clips at once, cpu, 2 threads, bfloat16")
