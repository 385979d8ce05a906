import pytest

from mesm.tables.splits import splits_tables
from tests.mesm.tables.cases import Make, texts


def test_lengths_and_sizes_per_emotion_none_and_all_beside_the_paper(make_corpus: Make) -> None:
    (table,) = splits_tables([make_corpus()])
    assert table.name == "splits_iemocap"
    paper = ("words", "seconds", "train", "valid", "test")
    assert table.head == ("", "words", "seconds", "train", "valid", "test", *paper)
    assert table.groups == (("", 1), ("average", 2), ("clips", 3), ("the paper", 5))
    found = texts(table)
    assert found[0][:6] == ["angry", "9.50", "2.25", "13", "1", "3"]
    assert found[0][6:] == ["15.96", "4.51", "757", "112", "234"]
    assert found[5] == ["sad", "–", "–", "0", "0", "0", "14.82", "5.50", "759", "118", "207"]
    assert found[6] == ["no emotion", "–", "–", "1", "1", "1", *["–"] * 5]
    assert found[7] == ["all clips", "–", "–", "14", "2", "4", *["–"] * 5]
    for text in ("20 clips; a face was found in 90 of 100", "2 no sound", "its Table 1"):
        assert text in table.caption


def test_a_synthetic_corpus_stands_alone(make_corpus: Make) -> None:
    corpus = make_corpus(synthetic=True)
    (table,) = splits_tables([corpus])
    assert len(table.head) == 6
    assert "left out: a synthetic corpus" in table.caption
    assert len(splits_tables([corpus], synthetic=False)[0].head) == 11


def test_several_corpora_have_a_table_each_and_table_2_its_caveat(make_corpus: Make) -> None:
    lists = {"split": "lists", "lists": "0123456789abcdef"}
    folders = [make_corpus("a"), make_corpus("b", "mosei", options=lists)]
    tables = splits_tables(folders)
    assert [table.name for table in tables] == ["splits_iemocap_1", "splits_mosei_2"]
    assert "under each other's name" in tables[1].caption
    assert "published id lists (sha256 0123456789ab)" in tables[1].caption
    assert "under each other's name" not in tables[0].caption
    assert tables[1].provenance["options"] == lists


def test_what_is_no_corpus_is_refused(make_corpus: Make) -> None:
    with pytest.raises(ValueError, match="not a prepared corpus"):
        splits_tables([make_corpus(), make_corpus("x") / "data"])


def test_it_says_how_many_emotions_a_clip_may_have(make_corpus: Make) -> None:
    (table,) = splits_tables([make_corpus("one", single_label=True)])
    assert "Every clip carries exactly one emotion; averages" in table.caption
    (table,) = splits_tables([make_corpus("several")])
    assert "A clip may carry several emotions or none; averages" in table.caption
