import json
import shutil

import pytest

from mesm.analysis.verify_corpus import Examined, examine_corpus


@pytest.fixture
def corpus(tiny_corpus, tmp_path):
    copy = tmp_path / "corpus"
    copy.mkdir()
    for name in ("manifest.json", "data"):
        source = tiny_corpus / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    return copy


def examine(path):
    found = Examined()
    return examine_corpus(path, found), found


def test_a_whole_corpus_has_no_findings(corpus):
    opened, found = examine(corpus)
    assert found.findings == []
    assert opened.path == corpus
    assert found.checked == ["3 Parquet files by their hashes", "25 clips decoded"]


def test_counts_that_are_not_those_of_the_files_are_told(corpus):
    file = corpus / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["counts"]["test"]["clips"] += 1
    file.write_text(json.dumps(manifest))
    _, found = examine(corpus)
    (finding,) = found.findings
    assert finding.startswith(f"{file}: counts 8 clips in the test split, whose files hold 7; ")


def test_one_damaged_file_is_named_and_the_others_are_decoded(corpus):
    file = next((corpus / "data").glob("valid-*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    _, found = examine(corpus)
    (finding,) = found.findings
    assert finding.startswith(f"{file} is not as it was written: its hash differs; ")
    assert found.checked[1] == "19 clips decoded"


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_without_a_manifest_there_is_nothing_to_examine(content, corpus):
    file = corpus / "manifest.json"
    file.unlink() if content is None else file.write_text(content)
    opened, found = examine(corpus)
    assert opened is None
    (finding,) = found.findings
    assert finding.startswith(str(file))
    assert "mesm prepare" in finding


def test_a_finding_is_one_line_and_stands_once():
    found = Examined()

    def fail(error):
        raise error

    for error in (ValueError("a\nb"), ValueError("a b"), PermissionError(13, "Denied", "f")):
        assert found.attempt(fail, error) is None
    assert found.attempt(abs, -1) == 1
    assert found.findings[0] == "a b"
    assert found.findings[1].startswith("f: denied; make it readable")
    assert len(found.findings) == 2
    with pytest.raises(KeyError):  # a bug is no finding
        found.attempt(fail, KeyError("x"))
