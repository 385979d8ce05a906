from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesm.corpora.miniature.generate import generate

SEED = 5


@dataclass(frozen=True)
class Generated:
    root: Path
    truths: list[dict[str, Any]]

    @property
    def good(self) -> list[dict[str, Any]]:
        return [truth for truth in self.truths if truth["fault"] is None]

    def fault(self, name: str) -> dict[str, Any]:
        (truth,) = [truth for truth in self.truths if truth["fault"] == name]
        return truth


def read(root: Path) -> Generated:
    lines = (root / "ground_truth.jsonl").read_text(encoding="utf-8").splitlines()
    return Generated(root, [json.loads(line) for line in lines])


@pytest.fixture(scope="package")
def iemocap(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    root = tmp_path_factory.mktemp("raw") / "iemocap"
    generate(root, clips=10, seed=SEED, layout="iemocap", faults=True, workers=1)
    return read(root)


@pytest.fixture(scope="package")
def where(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """A corpus of the variant whose sentences say where to look."""
    root = tmp_path_factory.mktemp("raw") / "where"
    generate(root, clips=4, seed=SEED, layout="mosei", variant="where", workers=1)
    return read(root)


@pytest.fixture(scope="package")
def mosei(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    root = tmp_path_factory.mktemp("raw") / "mosei"
    generate(root, clips=10, seed=SEED, layout="mosei", faults=True, workers=1)
    return read(root)


@pytest.fixture(scope="package")
def meld(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    root = tmp_path_factory.mktemp("raw") / "meld"
    generate(root, clips=10, seed=SEED, layout="meld", faults=True, workers=1)
    return read(root)


@pytest.fixture(scope="package")
def ravdess(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    root = tmp_path_factory.mktemp("raw") / "ravdess"
    generate(root, clips=10, seed=SEED, layout="ravdess", faults=True, workers=1)
    return read(root)


@pytest.fixture(scope="package")
def crema_d(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    root = tmp_path_factory.mktemp("raw") / "crema_d"
    generate(root, clips=10, seed=SEED, layout="crema_d", faults=True, workers=1)
    return read(root)
