"""The paper's figures agree with each other and with what its text says of them."""

import pytest

from mesm.corpora.utterances import EMOTIONS
from mesm.paper_figures import IEMOCAP, MOSEI, PAPER_TABLES, PaperRow

ROWS = [*IEMOCAP, *MOSEI]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.model)
def test_averages_follow_from_the_emotions(row: PaperRow) -> None:
    """Each printed figure is rounded to 0.1, so a mean is off by 0.05 and its print by as much."""
    for place in (0, 1):
        mean = sum(pair[place] for pair in row.emotions) / len(row.emotions)
        assert mean == pytest.approx(row.average[place], abs=0.1)


def test_every_corpus_has_both_models_and_its_own_emotions() -> None:
    assert PAPER_TABLES == {"iemocap": IEMOCAP, "mosei": MOSEI}
    for corpus, names in EMOTIONS.items():
        dense, sparse = PAPER_TABLES[corpus]
        assert dense.model == "FE2E"
        assert sparse.model.startswith("MESM, p = ")
        assert {len(dense.emotions), len(sparse.emotions)} == {len(names)}


def test_values_are_percent_with_one_decimal() -> None:
    for row in ROWS:
        for value in [value for pair in (*row.emotions, row.average) for value in pair]:
            assert 20 < value < 100
            assert round(value, 1) == value


def test_both_tables_have_the_same_dense_model_and_the_sparse_one_needs_less() -> None:
    """Section 5: about the same results at 60 % and 50 % of the computation."""
    shares = []
    for dense, sparse in PAPER_TABLES.values():
        assert dense.gflops == 8.65
        assert sparse.gflops is not None
        shares.append(sparse.gflops / dense.gflops)
        for one, other in zip(dense.average, sparse.average, strict=True):
            assert 0 < one - other < 1.5
    assert shares == pytest.approx([0.6, 0.5], abs=0.005)
