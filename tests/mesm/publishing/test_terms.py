"""Licences: of each corpus there is, of generated ones, and of somebody's own."""

from __future__ import annotations

import pytest

from mesm.corpora.manifest import Manifest
from mesm.corpora.registry import CORPORA as ALL
from mesm.publishing.terms import CORPORA, GENERATED, IDENTIFIERS, licence_of, terms_of
from tests.mesm.tables.cases import manifest


def of(corpus: str = "iemocap", **facts: object) -> Manifest:
    own = {"emotions": ["glad", "sad"]} if corpus == "table" else {}
    base = manifest("iemocap") | {"corpus": corpus} | own
    return Manifest(**base | facts)


def test_every_corpus_but_ones_own_has_terms() -> None:
    assert set(CORPORA) == set(ALL) - {"table"}
    for name, terms in CORPORA.items():
        assert ALL[name].title in terms.sentence
        assert "](https://" in terms.sentence
        identifier, other, link = terms.licence
        assert (identifier in IDENTIFIERS) == (other is None) == (link is None)
        assert (identifier == "other") == (other is not None)


def test_a_generated_corpus_has_the_librarys() -> None:
    for name in ("iemocap", "table"):
        assert terms_of(of(name, synthetic=True)) is GENERATED
        assert licence_of(of(name, synthetic=True), None).identifier == "apache-2.0"
    # Where that was not noted, the corpus whose layout it has counts.
    assert terms_of(of(synthetic=None)) is CORPORA["iemocap"]


def test_of_ones_own_it_must_be_said() -> None:
    with pytest.raises(ValueError, match=r"My films is a corpus of your own.*--license cc-by-4\.0"):
        licence_of(of("table", named="My films"), None)
    assert licence_of(of("table"), "cc-by-4.0") == ("cc-by-4.0", None, None)


@pytest.mark.parametrize("asked", ["", "other", "CC-BY-4.0", "cc-by-4"])
def test_others_than_the_hubs_are_refused(asked: str) -> None:
    with pytest.raises(ValueError, match="no identifier that the hub lists, such as apache-2"):
        licence_of(of(), asked)
