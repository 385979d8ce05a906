"""A tokenizer.json from elsewhere, looked at before a tokenizer is made of the file."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mesm.publishing.contents import MEND
from mesm.runs.files import finite_json

# How many times longer, in bytes, a tokenizer may make a text. ALBERT's reaches 726: the longest
# ligature of Unicode has 33 bytes, and becomes as many once more.
_MOST_GROWTH = 1024
# Likewise by normalizers of one kind, at most of all letters of Unicode.
_GROWTHS = {
    **{"ByteLevel": 2, "Lowercase": 2, "BertNormalizer": 3},
    **{"NFC": 3, "NFD": 3, "NFKC": 11, "NFKD": 11},
}
# The end of a pattern, of those that are searched swiftly, which also finds nothing at all.
_OR_NOTHING = re.compile(r"(?:[*?]|\{0+(?:,\d*)?\}|\{\d+,0+\})$")
# One character or class, and how often: no other part of the pattern can take what it left.
_ONE_REPEATED = re.compile(
    r"(?:\.|\\[sSwWdDnrt]|\\[pP]\{\^?\w{1,40}\}|[^\\()|*+?{}\[\].^$]|\[\^?(?:\\[sSwWdDnrt\]\[\\-]"
    r"|\\[pP]\{\w{1,40}\}|[^\\\[\]&])+\])(?:[+*?]|\{\d{1,3}(?:,\d{0,3})?\})?"
)
# By which tokenizers like GPT-2's, GPT-4's and their followers' cut texts into words.
_KNOWN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)
# The most that a tokenizer may pad texts to a multiple of; more would be memory for nothing.
_MOST_MULTIPLE = 64


def check_tokenizer(file: Path) -> None:
    """Refuse, with a ValueError, a tokenizer.json that would take memory or time without end."""
    try:
        values = finite_json(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"wanted keys and values, got {type(values).__name__}")
        padding, right = values.get("padding"), True
        if padding is not None:
            multiple = padding["pad_to_multiple_of"]
            right = padding["strategy"] == "BatchLongest"
            right = right and (multiple is None or 0 < int(multiple) <= _MOST_MULTIPLE)
        growth = _growth(values.get("normalizer"))
        endless = next((one for one in _patterns(values) if not _is_swift(one)), None)
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError) as error:
        reason = str(error)[:100] or type(error).__name__
        raise ValueError(f"{file}: not a tokenizer ({reason}); {MEND}") from error
    if not right:
        raise ValueError(f"{file}: pads texts to a length of its own, wanted none; {MEND}")
    if endless is not None:
        raise ValueError(
            f"{file}: has a pattern that may search a text without end ({endless[:60]!r}), wanted "
            "one character or class, repeated or not; publish a model of another tokenizer"
        )
    if growth > _MOST_GROWTH:
        raise ValueError(
            f"{file}: may make texts more than {_MOST_GROWTH} times longer, wanted less; {MEND}"
        )


def _patterns(values: dict[str, Any]) -> Iterator[str]:
    """The regular expressions of a tokenizer.json."""
    left = [values.get(part) for part in ("normalizer", "pre_tokenizer", "post_processor")]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if isinstance(one.get("Regex"), str):
                yield one["Regex"]
            left += one.values()
        elif isinstance(one, list):
            left += one


def _is_swift(pattern: str) -> bool:
    """Whether a search takes time in proportion to the text: of few patterns this is plain."""
    return pattern in _KNOWN or _ONE_REPEATED.fullmatch(pattern) is not None


def _growth(normalizer: Any) -> int:
    """How many times longer the normalizer of a tokenizer.json may make a text, at most."""
    if normalizer is None:
        return 1
    kind = normalizer["type"]
    if kind == "Sequence":
        return math.prod(map(_growth, normalizer["normalizers"]))
    if kind == "Replace":
        length = len(normalizer["content"].encode())
        # Where nothing is found, which is between all letters, the content is added.
        return length + 1 if _finds_nothing(normalizer["pattern"]) else max(1, length)
    if kind == "Prepend":
        return 1 + len(normalizer["prepend"].encode())
    if kind == "Precompiled":
        # A table of characters, whose length comes first, and the texts that take their place.
        table = base64.b64decode(normalizer["precompiled_charsmap"])
        texts = table[4 + int.from_bytes(table[:4], "little") :]
        return max(1, *map(len, texts.split(b"\0")))
    return _GROWTHS.get(kind, 1)


def _finds_nothing(pattern: dict[str, str]) -> bool:
    """Whether a swift pattern matches the empty text, too."""
    text = pattern.get("Regex")
    return not pattern["String"] if text is None else _OR_NOTHING.search(text) is not None
