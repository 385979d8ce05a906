"""The two JSON files and what they may say; `test_load` has what loading refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesm.config.modalities import Modality
from mesm.publishing.contents import (
    CONFIG,
    FILES,
    HASHED,
    PREPROCESSOR,
    Config,
    Preprocessor,
    check_sizes,
    fixed,
    read_content,
)


def test_the_files_are_read_as_they_were_written(published: Path) -> None:
    check_sizes(published)
    config = read_content(published / CONFIG, Config, is_sealed=True)
    written = json.loads((published / CONFIG).read_text())
    del written["digest"]
    assert config.model_dump(mode="json") == written
    assert set(config.files) == set(HASHED) < set(FILES)
    assert config.model_settings.sound == "log"
    read = read_content(published / PREPROCESSOR, Preprocessor)
    assert read.model_dump(mode="json") == json.loads((published / PREPROCESSOR).read_text())
    assert read.fixed == fixed() == json.loads(json.dumps(fixed()))


def test_the_preprocessor_says_what_can_lack() -> None:
    named = {"text", "sound", "pictures"}
    assert len(named) == len(Modality)
    schema = Preprocessor.model_json_schema()["properties"]
    assert set(schema["lacking"]["items"]["enum"]) == named


@pytest.mark.parametrize("name", ["a\nb", " ", "", "x" * 201])
def test_a_title_is_a_line(name: str, published: Path) -> None:
    file = published / PREPROCESSOR
    file.write_text(json.dumps(json.loads(file.read_text()) | {"title": name}))
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: damaged, at title"):
        read_content(file, Preprocessor)


def test_bytes_that_are_no_text_are_refused(published: Path) -> None:
    (published / CONFIG).write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"config\.json: .*utf-8"):
        read_content(published / CONFIG, Config, is_sealed=True)
