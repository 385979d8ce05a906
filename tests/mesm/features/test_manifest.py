import pytest

from mesm.corpora.prepared import PreparedCorpus
from mesm.features.manifest import (
    Column,
    ModalityFeatures,
    features_folder,
    prepared_hash,
    read_features_manifest,
)
from mesm.runs.hashes import sha256


def test_no_manifest_is_none_and_the_hash_is_the_prepared_manifests(tiny_corpus):
    corpus = PreparedCorpus.open(tiny_corpus)
    assert read_features_manifest(corpus) is None
    assert prepared_hash(corpus) == sha256(tiny_corpus / "manifest.json")
    assert features_folder(corpus) == tiny_corpus / "features"


def test_a_modality_is_as_wide_as_its_columns():
    columns = [Column(name=f"c{i}", formula="x") for i in range(3)]
    fields = {"mean": [], "std": [], "rows": 0, "rows_measured": 0, "clips_without_rows": []}
    assert ModalityFeatures(columns=columns, step=None, **fields).dim == 3
    with pytest.raises(ValueError, match="extra"):
        ModalityFeatures(columns=columns, step=None, **fields, extra=1)
