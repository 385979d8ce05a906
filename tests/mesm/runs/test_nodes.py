"""Needs of a node before it works: versions, kernels, the folders it sees."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mesm.runs import nodes as module
from mesm.runs.nodes import Place, is_token
from mesm.runs.storage import Store


@pytest.fixture
def versions(tmp_path, monkeypatch):
    """An installation whose folder of kernels is `tmp_path`: how it was built, and its versions."""
    facts = {"compiler": "gcc 12"}
    built = SimpleNamespace(
        __file__=str(tmp_path / "extension.py"),
        module=lambda: SimpleNamespace(build_info=lambda: facts) if facts else None,
    )
    monkeypatch.setattr(module, "extension", built)
    (tmp_path / "libmesm_ops.so").write_bytes(b"one build")

    def told():
        return dict(module.versions.__wrapped__())

    return facts, told


def test_the_kernels_and_what_features_and_trainings_need_are_told(versions):
    _, told = versions
    found = told()
    assert found["kernels' compiler"] == "gcc 12"
    assert {"libmesm_ops.so", "transformers", "tokenizers", "torch", "mesm"} <= found.keys()
    assert "pysptk" in module.PACKAGES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts, _: facts.update(compiler="gcc 13"), "has kernels' compiler gcc 13, this"),
        (lambda _, file: file.write_bytes(b"another"), r"has libmesm_ops.so \w{12}, this machine"),
        (lambda facts, _: facts.clear(), "has no kernels' compiler, this machine gcc 12"),
    ],
)
def test_a_node_with_other_kernels_or_none_is_refused(versions, change, said, tmp_path):
    facts, told = versions
    place = Place(str(Path.cwd()), tmp_path, "0" * 32, (), tuple(told().items()))
    change(facts, tmp_path / "libmesm_ops.so")
    module.versions.cache_clear()
    try:
        with pytest.raises(module.NodeError, match=rf"^node \S+ {said}.*: install the same"):
            module.about(place)
    finally:
        module.versions.cache_clear()


def test_tokens_are_told_from_other_files():
    place = Place("/", Path("out"), "0123456789abcdef" * 2, (), ())
    assert place.token == ".cluster-0123456789abcdef.partial"
    assert is_token(place.token)
    assert not is_token("data")


def test_a_place_on_storage_names_itself():
    assert module._shown(Store("s3://bucket/out")) == "s3://bucket/out"
    assert module._shown(Path("out")) == "out"
