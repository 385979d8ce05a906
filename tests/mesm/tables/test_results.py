"""Tables 3 and 4: means by hand, the paper apart from them, and no mixing."""

from pathlib import Path

import pytest

from mesm.tables.results import Line, results_tables, scores_table
from tests.mesm.tables.cases import Make, scores, single_scores, texts


def test_mean_and_deviation_over_the_seeds(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    for seed, f1 in enumerate((0.4, 0.5, 0.6)):
        scored = scores(f1=f1, accuracy=0.8)
        make_run(f"m{seed}", corpus, {"name": "mesm", "p": 0.5}, seed, scored=scored)
    make_run("f", corpus, scored=scores(f1=0.7))
    (table,) = results_tables([corpus.parent / "runs"])
    assert table.name == "results_iemocap_test"
    assert table.head[:5] == ("", "seeds", "GFLOPs", "Acc", "F1")
    assert table.groups[:2] == (("", 3), ("angry", 2))
    assert table.groups[-1] == ("average", 2)
    one, three = texts(table)
    assert one == ["FE2E", "1", "–", *["75.0", "70.0"] * 5, "75.0", "80.0", "75.0", "70.0"]
    # Squares of the differences 0.01 + 0 + 0.01, over 3 - 1: root 0.1.
    assert three[:5] == ["MESM (p = 0.5)", "3", "–", "80.0 ± 0.0", "50.0 ± 10.0"]
    assert three[-3:] == ["60.0 ± 10.0", "80.0 ± 0.0", "50.0 ± 10.0"]
    value = table.rows[1].cells[4].value
    assert value["values"] == [0.4, 0.5, 0.6]
    assert value["mean"] == pytest.approx(0.5, abs=1e-15)
    runs = table.provenance["runs"]
    assert [(run["folder"], run["seed"]) for run in runs] == [
        ("f", 0),
        ("m0", 0),
        ("m1", 1),
        ("m2", 2),
    ]
    assert {"versions", "threads", "gpu", "commit"} <= set(table.provenance["made_with"])


def test_notes_name_everything(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True, options={"split": "speaker", "seed": 7})
    make_run("l", corpus, "lf_lstm", scored=scores(features="GloVe; 34 columns of audio."))
    make_run("f", corpus)
    (table,) = results_tables([corpus.parent / "runs"])
    notes = table.caption
    for text in (
        "synthetic miniature corpus in IEMOCAP's layout",
        "no speaker in two parts, seed 7",
        "train/valid/test 14/2/4",
        "test split, 4 clips",
        "Threshold per emotion: 0.5.",
        "F1: binary",
        "One training seed per row, so no deviation.",
        "Two-phase systems: GloVe; 34 columns of audio.",
        "2 per multiply–accumulate.",
        "The paper's figures are left out: a synthetic corpus",
    ):
        assert text in notes
    assert texts(table)[0][0] == "LF-LSTM"
    assert not [row for row in table.rows if row.kind == "paper"]


@pytest.mark.parametrize(
    ("corpus_name", "number", "mesm", "average"),
    [
        ("iemocap", 3, ["MESM (p = 0.7), the paper", "–", "10.36"], ["84.4", "57.4"]),
        ("mosei", 4, ["MESM (p = 0.5), the paper", "–", "8.68"], ["66.8", "46.8"]),
    ],
)
def test_a_real_corpus_has_the_papers_lines_beside(
    make_corpus: Make,
    make_run: Make,
    corpus_name: str,
    number: int,
    mesm: list[str],
    average: list[str],
) -> None:
    corpus = make_corpus(corpus=corpus_name)
    make_run("f", corpus, scored=scores(corpus_name))
    (table,) = results_tables([corpus.parent / "runs"])
    assert [row.kind for row in table.rows] == [*["paper"] * 4, "fe2e", "paper", "paper"]
    assert texts(table)[-1][:3] == mesm
    assert texts(table)[-1][-2:] == average
    # Ours is no mean with theirs.
    accuracy = "75.0" if corpus_name == "iemocap" else "37.5"
    assert texts(table)[4][-2:] == [accuracy, "50.0"]
    assert f"what the paper prints in its Table {number}" in table.caption
    assert "the paper counts 1, so its figures are doubled here" in table.caption


def test_a_corpus_that_may_be_synthetic_has_no_papers_lines_unless_told(
    make_corpus: Make, make_run: Make
) -> None:
    corpus = make_corpus(synthetic=None)
    runs = [make_run("f", corpus)]
    assert len(results_tables(runs)[0].rows) == 1
    assert "--real says so" in results_tables(runs)[0].caption
    assert len(results_tables(runs, synthetic=False)[0].rows) == 7
    assert len(results_tables(runs, synthetic=True, paper=True)[0].rows) == 7
    assert "left out: a synthetic corpus" in results_tables(runs, synthetic=True)[0].caption


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"threshold": {"policy": "tuned on validation F1"}}, "threshold policy"),
        ({"f1_variant": "weighted"}, "F1"),
        ({"clips": 3}, "clips"),
    ],
)
def test_what_does_not_compare_is_in_tables_of_its_own(
    make_corpus: Make, make_run: Make, facts: dict[str, object], named: str
) -> None:
    corpus = make_corpus()
    make_run("a", corpus)
    make_run("b", corpus, seed=1, scored=scores(**facts))
    tables = results_tables([corpus.parent / "runs"], paper=False)
    assert [table.name for table in tables] == ["results_iemocap_test_1", "results_iemocap_test_2"]
    assert [texts(table)[0][:2] for table in tables] == [["FE2E", "1"]] * 2
    for table in tables:
        assert f"Other runs differ in {named} and have a table of their own." in table.notes


def test_corpora_are_never_mixed(make_corpus: Make, make_run: Make) -> None:
    first = make_corpus("first")
    other = make_corpus("other", data=b"other")
    mosei = make_corpus("mosei", "mosei")
    make_run("a", first)
    make_run("b", other, seed=1)
    make_run("c", mosei, scored=scores("mosei"))
    tables = results_tables([first.parent / "runs"], paper=False)
    assert [len(table.rows) for table in tables] == [1, 1, 1]
    names = ["results_iemocap_test_1", "results_iemocap_test_2", "results_mosei_test_3"]
    assert [table.name for table in tables] == names
    assert [table.head[3] for table in tables] == ["Acc", "Acc", "WAcc"]
    assert all("differ in clips, corpus" in t.caption or "in corpus" in t.caption for t in tables)


def test_feature_sets_are_never_mixed_and_end_to_end_stands_beside_each(
    make_corpus: Make, make_run: Make
) -> None:
    corpus = make_corpus(synthetic=True)
    make_run("l34", corpus, "lf_lstm", scored=scores(features="34 columns"))
    make_run("l142", corpus, "lf_lstm", seed=1, scored=scores(features="142 columns"))
    make_run("f", corpus)
    tables = results_tables([corpus.parent / "runs"])
    assert [[cells[0] for cells in texts(table)] for table in tables] == [["LF-LSTM", "FE2E"]] * 2
    assert {note for table in tables for note in table.notes if "Two-phase" in note} == {
        "Two-phase systems: 34 columns.",
        "Two-phase systems: 142 columns.",
    }
    assert "Other runs differ in features and have a table of their own." in tables[0].notes


def test_the_weighted_f1_is_shown_where_it_was_chosen(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus()
    run = make_run("a", corpus, scored=scores(f1_variant="weighted"))
    (table,) = results_tables([run], paper=False)
    assert table.head[3:5] == ("Acc", "wF1")
    assert texts(table)[0][4] == "90.0"
    assert "wF1: the F1 of presence and of absence" in table.caption


def test_flops_come_from_a_sweep(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    for seed, total in enumerate((1e9, 3e9)):
        point = {"p": 0.5, "flops_per_clip": {"total": total}}
        base = {"run": "f0", "flops_per_clip": {"total": 8e9}}
        files = {"sweep.json": {"points": [point], "baseline": base}}
        make_run(f"m{seed}", corpus, {"name": "mesm", "p": 0.5}, seed, files=files)
        make_run(f"f{seed}", corpus, seed=seed)
    (table,) = results_tables([corpus.parent / "runs"])
    # (1 + 3) / 2; root of (1 + 1) / 1.
    assert [cells[2] for cells in texts(table)] == ["8.00 ± 0.00", "2.00 ± 1.41"]


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run in it"):
        results_tables([tmp_path])


def test_one_emotion_a_clip_has_its_own_metrics(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=False, single_label=True)
    for seed, f1 in enumerate((0.4, 0.6)):
        make_run(f"f{seed}", corpus, seed=seed, scored=single_scores(f1))
    (table,) = results_tables([corpus.parent / "runs"])
    assert table.groups[1] == ("angry", 2)
    assert table.groups[-1] == ("all clips", 4)
    assert table.head[3:5] == ("Rec", "F1")
    assert table.head[-4:] == ("Acc", "UAR", "WF1", "MF1")
    (line,) = texts(table)
    assert line[3:5] == ["30.0 ± 0.0", "50.0 ± 14.1"]
    assert line[-4:] == ["75.0 ± 0.0", "30.0 ± 0.0", "60.0 ± 14.1", "50.0 ± 14.1"]
    for text in ("exactly one emotion", "there are no thresholds", "UAR: unweighted average"):
        assert text in table.caption
    # The paper's lines are of other metrics, so that a real corpus does not bring them.
    assert "the paper" not in table.caption
    assert not [row for row in table.rows if row.kind == "paper"]
    assert table.title == "Results on IEMOCAP"


def test_one_and_several_emotions_a_clip_are_never_in_one_table(
    make_corpus: Make, make_run: Make
) -> None:
    corpus = make_corpus(synthetic=True)
    make_run("several", corpus)
    asked = {"training": {"loss": "cross_entropy"}}
    make_run("one", corpus, settings=asked, scored=single_scores())
    tables = results_tables([corpus.parent / "runs"])
    assert sorted(table.head[-1] for table in tables) == ["F1", "MF1"]
    for table in tables:
        assert len(table.rows) == 1
        assert "Other runs differ in emotions a clip, threshold policy" in table.caption
    mixed = [Line("fe2e", "FE2E", [one]) for one in (scores(), single_scores())]
    with pytest.raises(ValueError, match="cannot stand in one table"):
        scores_table(mixed, name="x", title="x")
