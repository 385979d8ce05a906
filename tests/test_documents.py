"""Files that the documents for developers name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE = re.compile(r"`([\w./-]+(?:\.(?:cpp|cuh?|h|json|py|yaml)|/))`")


def exists(name: str) -> bool:
    """A path from the root, or from a folder at most three below."""
    return any(any(ROOT.glob(above + name.rstrip("/"))) for above in ("", "*/", "*/*/", "*/*/*/"))


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/building.md", "CONTRIBUTING.md"])
def test_the_files_it_names_are_there(page: str) -> None:
    named = set(FILE.findall((ROOT / page).read_text()))
    built = {"op_schemas.h"}
    assert named
    assert [name for name in sorted(named - built) if not exists(name)] == []


def test_a_file_that_is_not_there_is_found_out() -> None:
    assert FILE.findall("`mesm/models/nowhere.py` and `mesm/models/`") == [
        "mesm/models/nowhere.py",
        "mesm/models/",
    ]
    assert exists("mesm/models/")
    assert exists("models/late_fusion.py")
    assert not exists("mesm/models/nowhere.py")
