"""The paper's figures agree with each other and with what its text says of them."""

import pytest

from mesm.config.modalities import parse_modalities
from mesm.corpora.paper_figures import (
    ABLATION,
    IEMOCAP,
    IEMOCAP_SPLITS,
    MOSEI,
    MOSEI_SPLITS,
    PAPER_SPLITS,
    PAPER_TABLES,
    PaperRow,
)
from mesm.corpora.utterances import EMOTIONS

ROWS = [*IEMOCAP, *MOSEI]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.model)
def test_averages_follow_from_the_emotions(row: PaperRow) -> None:
    """Each printed figure is rounded to 0.1, so a mean is off by 0.05 and its print by as much."""
    for place in (0, 1):
        mean = sum(pair[place] for pair in row.emotions) / len(row.emotions)
        assert mean == pytest.approx(row.average[place], abs=0.1)


def test_every_corpus_has_all_six_systems_and_its_own_emotions() -> None:
    assert PAPER_TABLES == {"iemocap": IEMOCAP, "mosei": MOSEI}
    assert PAPER_SPLITS == {"iemocap": IEMOCAP_SPLITS, "mosei": MOSEI_SPLITS}
    for corpus, names in EMOTIONS.items():
        rows = PAPER_TABLES[corpus]
        systems = ["lf_lstm", "lf_transformer", "emo_embs", "mult", "fe2e", "mesm"]
        assert [row.system for row in rows] == systems
        assert {len(row.emotions) for row in rows} == {len(names)}
        assert list(PAPER_SPLITS[corpus]) == list(names)


def test_values_are_percent_with_one_decimal() -> None:
    values = [value for row in ROWS for pair in (*row.emotions, row.average) for value in pair]
    for value in [*values, *(value for pair in ABLATION.values() for value in pair)]:
        assert 20 < value < 100
        assert round(value, 1) == value


def test_both_tables_have_the_same_dense_model_and_the_sparse_one_needs_less() -> None:
    """Section 5: about the same results at 60 % and 50 % of the computation."""
    shares = []
    for *baselines, dense, sparse in PAPER_TABLES.values():
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
        sum(getattr(split, part) for split in IEMOCAP_SPLITS.values())
        for part in ("train", "valid", "test")
    ]
    assert sums == [5162, 737, 1481]
    # Section 3.1.
    assert sum(sums) == 7380


def test_mosei_has_no_more_clips_of_an_emotion_than_clips() -> None:
    for split in MOSEI_SPLITS.values():
        assert (split.train, split.valid, split.test) < (14524, 1765, 4188)
        assert split.valid < split.test < split.train


def test_people_speak_two_to_four_words_a_second_but_for_table_2_as_printed() -> None:
    for split in IEMOCAP_SPLITS.values():
        assert 2 < split.words / split.seconds < 4
    for split in MOSEI_SPLITS.values():
        assert 2 < split.seconds / split.words < 4


def test_ablation_starts_from_the_models_of_table_3() -> None:
    """Accuracies agree; the F1 of Table 5 is printed 0.3 and 0.1 lower."""
    for row in IEMOCAP[-2:]:
        accuracy, f1 = ABLATION[row.system, "tav"]
        assert accuracy == row.average[0]
        assert f1 == pytest.approx(row.average[1], abs=0.31)
    for _, modalities in ABLATION:
        assert parse_modalities(modalities) == modalities
    assert {modalities for system, modalities in ABLATION if system == "mesm"} == {
        "tav",
        "ta",
        "tv",
    }
