"""Rules for the words of comments, docstrings and committed files."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("mesm_ops", "csrc", "benchmarks", "mesm", "tests")
CPP = (".cpp", ".h", ".cu", ".cuh", ".hpp")
# A line's first words, or those after a full stop, a question or a colon: a capital in a
# sentence's middle follows none of these.
OPENING = re.compile(r"(?m)(?:^[\s*-]*|[.?!:][\"'`)\]]*\s+)((?:Of|What|So that)\s)")
# An absolute path into a machine's own folders, which this file must not hold. After a letter, a
# digit or a bracket the slash stands inside a URL or a relative path.
HOMES = ("work", "root", "home/[a-z][a-z0-9_-]*", "Users/[A-Za-z][A-Za-z0-9_-]*", "tmp/wt")
MACHINE_PATH = re.compile(rf"(?<![\w.\-~*/)}}\]])/(?:{'|'.join(HOMES)})/".encode())

C_TOKEN = re.compile(
    r"""
    //[^\n]*                                     # a comment to the end of the line
    | /\*.*?\*/
    | R"(?P<fence>[^()\\\s]*)\(.*?\)(?P=fence)"  # a raw string
    | "(?:\\.|[^"\\\n])*"
    | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'        # a character; 1'000 holds none
    """,
    re.DOTALL | re.VERBOSE,
)


def python_comments(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, and of every comment."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#")


def c_comments(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every comment of a C++ or CUDA source; strings hold none."""
    for token in C_TOKEN.finditer(source):
        if token[0].startswith(("//", "/*")):
            yield source.count("\n", 0, token.start()) + 1, token[0].strip("/*")


def badly_opened(source: str, suffix: str) -> list[tuple[int, str]]:
    """Line and first words of every sentence in a comment that opens with Of, What or So that."""
    if not re.search(r"\b(?:Of|What|So that)\s", source):  # most sources: no comment need be found
        return []
    comments = c_comments if suffix in CPP else python_comments
    return sorted(
        (line + text.count("\n", 0, found.start(1)), text[found.start(1) :].partition("\n")[0][:60])
        for line, text in comments(source)
        for found in OPENING.finditer(text)
    )


def texts(root: Path = ROOT) -> Iterator[tuple[Path, bytes]]:
    """The committed files that hold text; a binary file holds a zero byte."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        file = root / name
        if name and file.is_file() and b"\0" not in (text := file.read_bytes()):
            yield Path(name), text


def test_no_sentence_of_a_comment_opens_with_of_what_or_so_that() -> None:
    files = [*ROOT.glob("*.py"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*"))]
    files = [file for file in files if file.suffix in (".py", *CPP)]
    assert len(files) > 100
    found = [
        f"{file.relative_to(ROOT)}:{line}: {words}"
        for file in files
        for line, words in badly_opened(file.read_text(encoding="utf-8"), file.suffix)
    ]
    assert found == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the committed files are unknown")
def test_no_committed_file_holds_a_path_of_one_machine() -> None:
    found = [
        f"{name}:{number}: {line.decode(errors='replace')[:80]}"
        for name, text in texts()
        if MACHINE_PATH.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("# Of all rows.\n", [1]),
        ("x = 1  # What x is.\n", [1]),
        ("# One. So that two\n", [1]),
        ('"""One.\n\nOf two.\n"""\n', [3]),
        ('def f():\n    """One.\n\n    Args:\n        x: What it is.\n    """\n', [5]),
        ("class A:\n    # One (see B). Of two.\n    x = 1\n", [2]),
        ('# Offsets. Whatever comes. So the end of What\nx = "# Of all"\n', []),
        ('x = """Of a string that is no docstring."""\n', []),
    ],
)
def test_bad_openings_are_found_in_python(source: str, lines: list[int]) -> None:
    assert [line for line, _ in badly_opened(source, ".py")] == lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("int x;  // Of all rows.\n", [1]),
        ("// One.\n// What two is.\n", [2]),
        ("/* One.\n * So that two.\n */\n", [2]),
        ('const char* s = "// Of a string";  // one of it\n', []),
        ('auto s = R"(// Of (a) string)"; char c = \'"\'; // Of all\n', [1]),
        ("int million = 1'000'000;  // What a number\n", [1]),
        ("int rest = a / b;\nint of = 0;  // of What\n", []),
    ],
)
def test_bad_openings_are_found_in_cpp(source: str, lines: list[int]) -> None:
    assert [line for line, _ in badly_opened(source, ".cpp")] == lines


@pytest.mark.parametrize("folder", ["work", "root", "home/user", "Users/User", "tmp/wt"])
def test_machine_paths_are_found(folder: str) -> None:
    assert MACHINE_PATH.search(f'path = "/{folder}/file"'.encode())
    assert MACHINE_PATH.search(f"/{folder}/file".encode())
    for other in (
        f"https://host/{folder}/x",
        f"frames/{folder}/x",
        f"~/{folder}/x",
        "/workshop/x",
    ):
        assert not MACHINE_PATH.search(other.encode()), other
