"""The counts of a prepared corpus, in words."""

from __future__ import annotations

from pathlib import Path

from mesm.corpora.manifest import read_manifest
from mesm.corpora.summary import summary


def test_every_count_has_its_line(tiny_corpus: Path) -> None:
    manifest = read_manifest(tiny_corpus)
    assert manifest is not None
    lines = summary(manifest).splitlines()
    assert lines[0].split() == ["words", "seconds", "train", "valid", "test"]
    assert lines[1].split() == ["angry", "7.00", "0.90", "2", "1", "2"]
    assert lines[7].split() == ["all", "7.00", "0.90", "12", "6", "7"]
    assert lines[8:] == ["faces found in 67 of 75 frames", "skipped: 1 no sound"]
    update = {"without": {"text": ["a", "b"]}, "missing": ["c"]}
    assert summary(manifest.model_copy(update=update)).splitlines()[-2:] == [
        "without text: 2 clips, see manifest.json",
        "missing: 1 clips, see manifest.json",
    ]
