"""The working directory of the exports' tests, with runs and corpora."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "data" / "legacy"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory, with runs and corpora."""
    folder = shutil.copytree(DATA, tmp_path_factory.mktemp("exporting") / "here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
