"""Run folders and corpora as their commands leave them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.mesm.tables.cases import Make, manifest, scores


@pytest.fixture
def make_corpus(tmp_path: Path) -> Make:
    def make(
        name: str = "corpus", corpus: str = "iemocap", data: bytes = b"", **facts: Any
    ) -> Path:
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "train.parquet").write_bytes(data)
        content = manifest(corpus, data, **facts)
        (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    def make(
        name: str,
        corpus: Path,
        model: Mapping[str, Any] | str = "fe2e",
        seed: int = 0,
        *,
        scored: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        evaluated: bool = True,
    ) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        model = {"name": model} if isinstance(model, str) else dict(model)
        config = {"corpus": str(corpus), "model": model, "training": {"seed": seed}}
        for section, values in (settings or {}).items():
            config.setdefault(section, {}).update(values)
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        contents = dict(files or {})
        if evaluated:
            contents["evaluation.json"] = {"test": scored or scores()}
        for file, content in contents.items():
            (folder / file).write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make
