"""Tokenizers from anybody, which could make long texts of short ones, or search without end."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mesm.inference.loading import DEMO_MODEL
from mesm.publishing.contents import TOKENIZER
from mesm.publishing.tokenizers import _KNOWN, _is_swift, check_tokenizer


def checked(folder: Path, *normalizers: dict[str, Any]) -> None:
    """Check the demo model's tokenizer with other normalizers."""
    values = json.loads((DEMO_MODEL / TOKENIZER).read_text())
    values["normalizer"] = {"type": "Sequence", "normalizers": [*normalizers]}
    (folder / TOKENIZER).write_text(json.dumps(values))
    check_tokenizer(folder / TOKENIZER)


def _replaced(content: str, pattern: str = ".") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _table(text: bytes) -> dict[str, Any]:
    table = (0).to_bytes(4, "little") + text
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


@pytest.mark.parametrize(
    "normalizers",
    [
        [_replaced("a" * 40)] * 6,
        [_table(b"a\0" + b"b" * 1100 + b"\0")],
        [{"type": "ByteLevel"}] * 11,
        # These put a letter between all letters.
        *([_replaced("a", f"z{often}")] * 11 for often in ("*", "?", "{0}", "{0,2}", "{3,0}")),
        [{"type": "Replace", "pattern": {"String": ""}, "content": "a"}] * 11,
        # One letter that becomes 18.
        [_replaced("\ufdfa"), {"type": "NFKD"}] * 3,
        [{"type": "Prepend", "prepend": "a" * 1100}],
    ],
)
def test_texts_that_grow_are_refused(normalizers: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="may make texts more than 1024 times longer"):
        checked(tmp_path, *normalizers)


def test_usual_normalizers_are_taken(tmp_path: Path) -> None:
    check_tokenizer(DEMO_MODEL / TOKENIZER)
    # As ALBERT's.
    quotes = {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
    spaces = _replaced(" ", " {2,}")
    table = _table(b"a\0" + b"b" * 33 + b"\0")
    checked(tmp_path, quotes, {"type": "NFKD"}, {"type": "Lowercase"}, table, spaces)


def test_a_pattern_that_may_search_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a pattern that may search a text without end"):
        checked(tmp_path, _replaced("b", "(a+)+$"))


@pytest.mark.parametrize(
    ("pattern", "swift"),
    [
        *((r"\s+", True), (" {2,}", True), (".", True), (r"[^\s\]]", True), (r"\p{P}", True)),
        *((_KNOWN[0], True), (_KNOWN[1], True), ("(a+)+$", False), (r"\s*\s*x", False)),
        *(("(a|a)*b", False), (r"\s+$", False), (r"(x)\1", False), ("a{9999}", False)),
    ],
)
def test_patterns_that_may_search_without_end(pattern: str, swift: bool) -> None:
    assert _is_swift(pattern) == swift
