"""YAML as settings need it: values mean what a reader takes them for, the rest is refused.

YAML 1.1 reads `010` as 8, `1:30` as 90, `no` as false and `5e-5` as a text, and the last of two
equal keys wins. Here a plain number is decimal, `true` and `false` are the only booleans, and keys
stand once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mesm.runs.ordinary import ordinary

DEEPEST = 20  # brackets in brackets; a config has 4
MOST_VALUES = 10_000  # with aliases written out; a config has 70
LONGEST_NUMBER = 40
SHOWN = 60  # characters of a value in a message

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
# Other ways in which YAML 1.1 or Python would read a number.
_ODD_NUMBER = re.compile(
    r"[-+]?(0[0-9_]+|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*\.[0-9]*_[0-9_]*([eE][-+]?[0-9]+)?)"
)
_NULLS = ("", "~", "null", "Null", "NULL")
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class _Loader(yaml.SafeLoader):
    """Composes nodes with their places; `_value` makes values of them."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise _refusal(event, f"the tag {event.tag} is not taken; leave it out")
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refusal(event, f"more than {DEEPEST} values in each other")
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text.

    Args:
        text: one document.
        source: for messages, e.g. the file's name.

    Raises:
        ValueError: it is not YAML, has a key twice, or a number that readers and YAML take for
            different ones; one line with source, place and mend.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Values().of(node)
    except yaml.reader.ReaderError as error:
        raise ValueError(
            f"{source}: not YAML (character {error.position + 1} is "
            f"{_shown(chr(error.character))}, which no text has); write it anew as UTF-8 text"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        hint = "; indent with spaces" if "'\\t'" in problem else ""
        raise ValueError(f"{source}: not YAML ({place}{problem}{hint})") from None
    finally:
        if loader is not None:
            loader.dispose()


def read_text(file: Path) -> str:
    """The text of a UTF-8 file; ValueError, with the file's name, if it is not UTF-8 or no file."""
    ordinary(file)
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{file}: not UTF-8 (byte 0x{error.object[error.start]:02x} in line {line}); "
            "save it as UTF-8"
        ) from None


class _Values:
    """Makes values of nodes; aliases are written out, up to a limit."""

    def __init__(self) -> None:
        self.made = self.depth = 0

    def of(self, node: Node) -> Any:
        """The value of a node."""
        self.made += 1
        self.depth += 1
        if self.made > MOST_VALUES or self.depth > DEEPEST:
            raise _refusal(node, "an alias (*) stands for too much, or for itself; write it out")
        value: Any
        if isinstance(node, SequenceNode):
            value = [self.of(item) for item in node.value]
        elif isinstance(node, MappingNode):
            value = self._mapping(node)
        else:
            value = _scalar(node)
        self.depth -= 1
        return value

    def _mapping(self, node: MappingNode) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise _refusal(key_node, "a key must be a word")
            key = key_node.value
            if key == "<<" and key_node.style is None:
                merged = self._merged(value_node) | merged
                continue
            if key in values:
                raise _refusal(key_node, f"the key {_shown(key)} stands twice; remove one")
            values[key] = self.of(value_node)
        return merged | values

    def _merged(self, node: Node) -> dict[Any, Any]:
        """The keys that `<<` takes from other mappings, of which earlier ones win."""
        found = self.of(node)
        taken: dict[Any, Any] = {}
        for mapping in found if isinstance(found, list) else [found]:
            if not isinstance(mapping, dict):
                raise _refusal(node, "<< takes the keys of a mapping, this is none")
            taken = mapping | taken
        return taken


def _scalar(node: Node) -> Any:
    assert isinstance(node, ScalarNode)
    text: str = node.value
    if node.style is not None:  # in quotes, or a block: a text
        return text
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    whole, real = _INT.fullmatch(text), _FLOAT.fullmatch(text)
    if (whole or real) and len(text) > LONGEST_NUMBER:
        raise _refusal(node, f"a number of {len(text)} characters, {_shown(text)}")
    if whole:
        return int(text)
    if real:
        special = text.lower().lstrip("+-") in (".inf", ".nan")
        return float(text.replace(".", "")) if special else float(text)
    if _ODD_NUMBER.fullmatch(text):
        raise _refusal(
            node,
            f"{_shown(text)} may be read as several numbers; write a decimal one without leading "
            "zeros, or quotes around a text",
        )
    return text


def _refusal(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
