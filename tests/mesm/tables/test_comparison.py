import pytest

from mesm.tables.comparison import comparison_tables
from tests.mesm.tables.cases import Make, scores, single_scores, texts


def test_hard_against_weighted_at_every_p(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    for p in (0.9, 0.1):
        for selection in ("weighted", "hard"):
            for seed in (0, 1):
                f1 = p + 0.02 * seed - (0.1 if selection == "hard" else 0)
                model = {"name": "mesm", "p": p, "selection": selection}
                name = f"{p}{selection}{seed}"
                make_run(name, corpus, model, seed, scored=scores(f1=max(f1, 0)))
    (table,) = comparison_tables([corpus.parent / "runs"], ["model.p", "model.selection"])
    assert table.head == ("model.p", "model.selection", "seeds", "Acc", "F1", "GFLOPs")
    # Two values 0.02 apart deviate by 0.02 / root 2 = 0.0141 from their mean.
    assert texts(table) == [
        ["0.1", "hard", "2", "75.0 ± 0.0", "1.0 ± 1.4", "–"],
        ["0.1", "weighted", "2", "75.0 ± 0.0", "11.0 ± 1.4", "–"],
        ["0.9", "hard", "2", "75.0 ± 0.0", "81.0 ± 1.4", "–"],
        ["0.9", "weighted", "2", "75.0 ± 0.0", "91.0 ± 1.4", "–"],
    ]
    assert table.name == "runs_by_p_selection_iemocap_test"


def test_p_of_any_form_and_runs_without_the_setting(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    make_run("a", corpus, {"name": "mesm", "p": [0.7, 0.5, 0.5]})
    make_run("b", corpus, {"name": "mesm", "p": 0.5})
    make_run("c", corpus)
    (table,) = comparison_tables([corpus.parent / "runs"], ["model.name", "model.p"])
    assert [cells[:2] for cells in texts(table)] == [
        ["fe2e", "–"],
        ["mesm", "0.5"],
        ["mesm", "0.7/0.5/0.5"],
    ]


def test_runs_that_differ_in_something_else_are_not_averaged(
    make_corpus: Make, make_run: Make
) -> None:
    corpus = make_corpus()
    make_run("a", corpus, {"name": "mesm", "p": 0.5})
    make_run("b", corpus, {"name": "mesm", "p": 0.7}, 1, settings={"training": {"epochs": 3}})
    with pytest.raises(ValueError, match=r"differ in model.p, training.epochs: add --by model.p"):
        comparison_tables([corpus.parent / "runs"], ["model.name"])


def test_the_same_seed_twice_is_refused(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus()
    make_run("a", corpus)
    make_run("b", corpus)
    with pytest.raises(ValueError, match="the same seed 0"):
        comparison_tables([corpus.parent / "runs"], ["model.name"])


def test_unknown_settings_are_refused_with_those_that_are_known(
    make_corpus: Make, make_run: Make
) -> None:
    run = make_run("a", make_corpus())
    with pytest.raises(ValueError, match=r"--by model.q: no run has it; known are .*model.name"):
        comparison_tables([run], ["model.q"])
    with pytest.raises(ValueError, match="at least one setting"):
        comparison_tables([run], [])


def test_one_emotion_a_clip_shows_all_its_metrics(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True, single_label=True)
    for p in (0.1, 0.9):
        make_run(f"m{p}", corpus, {"name": "mesm", "p": p}, scored=single_scores(f1=p))
    (table,) = comparison_tables([corpus.parent / "runs"], ["model.p"])
    assert table.head == ("model.p", "seeds", "Acc", "UAR", "WF1", "MF1", "GFLOPs")
    assert table.groups == (("", 2), ("all clips", 4), ("", 1))
    assert texts(table)[1] == ["0.9", "1", "75.0", "30.0", "100.0", "90.0", "–"]


def test_the_losses_have_a_table_each(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    for loss, scored in (("binary", scores()), ("cross_entropy", single_scores())):
        make_run(loss, corpus, settings={"training": {"loss": loss}}, scored=scored)
    tables = comparison_tables([corpus.parent / "runs"], ["training.loss"])
    assert [texts(table)[0][0] for table in tables] == ["binary", "cross_entropy"]
    assert all("emotions a clip" in table.caption for table in tables)
