"""Runs as the legacy data has them, which cost no training, and one of them published."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesm.publishing.publish import publish

DATA = Path(__file__).parents[2] / "data" / "legacy"


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """A copy to write into, with corpora and runs."""
    return shutil.copytree(DATA, tmp_path / "legacy")


@pytest.fixture(scope="session")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A MESM, published, which no test writes into."""
    place = tmp_path_factory.mktemp("published")
    data = shutil.copytree(DATA, place / "legacy")
    folder = publish(data / "runs/iemocap_mesm", place / "model", corpus=data / "corpora/iemocap")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    yield folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.fixture
def published(published_once: Path, tmp_path: Path) -> Path:
    """A copy of it to write into."""
    return shutil.copytree(published_once, tmp_path / "published")
