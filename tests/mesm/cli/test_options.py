"""Numbers without sense are refused by the option itself, of every command."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.cli.tables import tables

COMMANDS: dict[tuple[str, ...], Callable[..., None]] = {
    (*group, found.name or found.callback.__name__): found.callback
    for group, commands in (((), app), (("table",), tables))
    for found in commands.registered_commands
    if found.callback is not None
}
WANTED = ("miniature", "prepare", "features", "experiment", "evaluate", "sweep", "explain", "serve")
AT_LEAST_1 = ("--clips", "--workers", "--jobs", "--threads", "--draws", "--p", "--most-megabytes")


def numeric_options() -> Iterator[tuple[tuple[str, ...], str, type]]:
    for path, callback in COMMANDS.items():
        for name, hint in typing.get_type_hints(callback).items():
            for kind in (int, float):
                if kind in (hint, *typing.get_args(hint)):
                    yield path, f"--{name.replace('_', '-')}", kind


def cases() -> Iterator[tuple[tuple[str, ...], str, str]]:
    for path, option, kind in numeric_options():
        values = ("-1", "x", "", *(("nan", "-inf", "inf") if kind is float else ("1.5",)))
        for value in (*values, *(("0",) if option in AT_LEAST_1 else ())):
            yield path, option, value


def needed(callback: Callable[..., Any]) -> list[str]:
    words = {"prepare": {"corpus": "iemocap"}, "features": {"raw": "--raw=x"}}
    parameters = inspect.signature(callback).parameters.values()
    known = words.get(callback.__name__, {})
    return [known.get(one.name, "x") for one in parameters if one.default is one.empty]


def test_all_commands_with_numbers_are_found() -> None:
    assert {path for path, _, _ in numeric_options()} == {(name,) for name in WANTED}


@pytest.mark.parametrize(("path", "option", "value"), list(cases()))
def test_refused_by_the_option(
    path: tuple[str, ...], option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*path, *needed(COMMANDS[path]), f"{option}={value}"]
    done = CliRunner().invoke(app, words, prog_name="mesm")
    assert done.exit_code == 2, done.output
    begin, end = f"mesm: invalid value for '{option}': ", f"; see mesm {' '.join(path)} --help\n"
    assert done.output.count("\n") == 1
    assert done.output.startswith(begin)
    assert done.output.endswith(end)
    if value in ("-1", "0", "nan", "inf", "-inf"):
        assert done.output.endswith(f", got {value}{end}")
    assert list(tmp_path.iterdir()) == []
