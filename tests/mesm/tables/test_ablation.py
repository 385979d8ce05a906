import pytest

from mesm.tables.ablation import ablation_tables
from tests.mesm.tables.cases import Make, scores, single_scores, texts


def test_means_per_modalities_in_the_papers_order(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    for letters in ("v", "va", "tav"):
        for seed, f1 in enumerate((0.2, 0.4)):
            model = {"name": "fe2e", "modalities": letters}
            make_run(f"{letters}{seed}", corpus, model, seed, scored=scores(f1=f1))
    make_run("m", corpus, {"name": "mesm", "p": 0.5, "modalities": "ta"})
    (table,) = ablation_tables([corpus.parent / "runs"])
    # Mean 0.3; root of (0.01 + 0.01) / 1.
    assert texts(table) == [
        ["FE2E", "TAV", "2", "75.0 ± 0.0", "30.0 ± 14.1"],
        ["FE2E", "AV", "2", "75.0 ± 0.0", "30.0 ± 14.1"],
        ["FE2E", "V", "2", "75.0 ± 0.0", "30.0 ± 14.1"],
        ["MESM (p = 0.5)", "TA", "1", "75.0", "50.0"],
    ]
    assert table.head == ("", "modalities", "seeds", "Acc", "F1")


def test_the_papers_columns_and_its_rows_that_nobody_ran(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus()
    make_run("f", corpus, {"name": "fe2e", "modalities": "t"})
    make_run("m", corpus, {"name": "mesm", "p": 0.7})
    (table,) = ablation_tables([corpus.parent / "runs"])
    assert table.groups == (("", 3), ("average", 2), ("the paper", 2))
    found = texts(table)
    assert len(found) == 10
    assert found[0] == ["FE2E", "TAV", "0", "–", "–", "84.5", "58.5"]
    assert found[4] == ["FE2E", "T", "1", "75.0", "50.0", "80.8", "50.0"]
    assert found[7] == ["MESM (p = 0.7)", "TAV", "1", "75.0", "50.0", "84.4", "57.3"]
    assert [cells[1] for cells in found[8:]] == ["TA", "TV"]
    assert "Table 5" in table.caption


def test_the_paper_has_it_for_iemocap_alone(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(corpus="mosei")
    run = make_run("f", corpus, scored=scores("mosei"))
    (table,) = ablation_tables([run])
    assert table.head == ("", "modalities", "seeds", "WAcc", "F1")
    assert "the paper" not in table.caption.lower()
    assert texts(table) == [["FE2E", "TAV", "1", "37.5", "50.0"]]


def test_rows_of_one_name_are_told_apart(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    for epochs in (3, 5):
        settings = {"training": {"epochs": epochs}}
        make_run(f"e{epochs}", corpus, {"name": "fe2e", "modalities": "t"}, settings=settings)
    (table,) = ablation_tables([corpus.parent / "runs"])
    assert [cells[:2] for cells in texts(table)] == [
        ["FE2E [epochs 3]", "T"],
        ["FE2E [epochs 5]", "T"],
    ]


def test_a_missing_evaluation_names_the_command(make_corpus: Make, make_run: Make) -> None:
    run = make_run("f", make_corpus(), evaluated=False)
    with pytest.raises(ValueError, match=f"mesm evaluate {run}"):
        ablation_tables([run])


def test_one_emotion_a_clip_stands_beside_no_paper(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=False, single_label=True)
    make_run("t", corpus, {"name": "fe2e", "modalities": "t"}, scored=single_scores())
    (table,) = ablation_tables([corpus.parent / "runs"])
    assert table.head == ("", "modalities", "seeds", "Acc", "UAR", "WF1", "MF1")
    assert table.groups == (("", 3), ("all clips", 4))
    assert texts(table) == [["FE2E", "T", "1", "75.0", "30.0", "60.0", "50.0"]]
    assert "the paper" not in table.caption
