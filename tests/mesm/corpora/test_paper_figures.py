"""The paper's figures agree with each other and with what its text says of them."""

import pytest

from mesm.config.modalities import parse_modalities
from mesm.corpora.paper_figures import IEMOCAP, MOSEI, PaperRow
from mesm.corpora.registry import CORPORA

ROWS = [*IEMOCAP.results, *MOSEI.results]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.model)
def test_averages_follow_from_the_emotions(row: PaperRow) -> None:
    """Each printed figure is rounded to 0.1, so a mean is off by 0.05 and its print by as much."""
    for place in (0, 1):
        mean = sum(pair[place] for pair in row.emotions) / len(row.emotions)
        assert mean == pytest.approx(row.average[place], abs=0.1)


def test_every_corpus_has_all_six_systems_and_its_own_emotions() -> None:
    assert {name: corpus.paper for name, corpus in CORPORA.items() if corpus.paper} == {
        "iemocap": IEMOCAP,
        "mosei": MOSEI,
    }
    for corpus in (CORPORA["iemocap"], CORPORA["mosei"]):
        assert corpus.paper is not None
        rows = corpus.paper.results
        systems = ["lf_lstm", "lf_transformer", "emo_embs", "mult", "fe2e", "mesm"]
        assert [row.system for row in rows] == systems
        assert {len(row.emotions) for row in rows} == {len(corpus.emotions)}
        assert list(corpus.paper.splits) == list(corpus.emotions)


def test_values_are_percent_with_one_decimal() -> None:
    values = [value for row in ROWS for pair in (*row.emotions, row.average) for value in pair]
    for value in [*values, *(value for pair in IEMOCAP.ablation.values() for value in pair)]:
        assert 20 < value < 100
        assert round(value, 1) == value


def test_both_tables_have_the_same_dense_model_and_the_sparse_one_needs_less() -> None:
    """Section 5: about the same results at 60 % and 50 % of the computation."""
    shares = []
    for *baselines, dense, sparse in (IEMOCAP.results, MOSEI.results):
        assert [row.gflops for row in baselines] == [None] * 4
        assert dense.gflops == 8.65
        assert sparse.gflops is not None
        shares.append(sparse.gflops / dense.gflops)
        for one, other in zip(dense.average, sparse.average, strict=True):
            assert 0 < one - other < 1.5
        # Section 6.1: the end-to-end model surpasses every baseline on average.
        for row in baselines:
            assert row.average[0] < dense.average[0]
            assert row.average[1] < dense.average[1]
    assert shares == pytest.approx([0.6, 0.5], abs=0.005)


def test_iemocap_has_one_label_a_clip_so_its_splits_add_up_to_the_published_lists() -> None:
    sums = [
        sum(getattr(split, part) for split in IEMOCAP.splits.values())
        for part in ("train", "valid", "test")
    ]
    assert sums == [5162, 737, 1481]
    # Section 3.1.
    assert sum(sums) == 7380


def test_mosei_has_no_more_clips_of_an_emotion_than_clips() -> None:
    for split in MOSEI.splits.values():
        assert (split.train, split.valid, split.test) < (14524, 1765, 4188)
        assert split.valid < split.test < split.train


def test_people_speak_two_to_four_words_a_second_but_for_table_2_as_printed() -> None:
    for split in IEMOCAP.splits.values():
        assert 2 < split.words / split.seconds < 4
    for split in MOSEI.splits.values():
        assert 2 < split.seconds / split.words < 4


def test_ablation_starts_from_the_models_of_table_3() -> None:
    """Accuracies agree; the F1 of Table 5 is printed 0.3 and 0.1 lower."""
    for row in IEMOCAP.results[-2:]:
        accuracy, f1 = IEMOCAP.ablation[row.system, "tav"]
        assert accuracy == row.average[0]
        assert f1 == pytest.approx(row.average[1], abs=0.31)
    for _, modalities in IEMOCAP.ablation:
        assert parse_modalities(modalities) == modalities
    assert {modalities for system, modalities in IEMOCAP.ablation if system == "mesm"} == {
        "tav",
        "ta",
        "tv",
    }
