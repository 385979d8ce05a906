"""Two at once on one place: the second is told who holds it, and changes nothing.

The first is a lock as the commands take it, of a place that this process holds.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.runs.files import one_at_a_time


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("name", "doing", "command"),
    [
        ("evaluation.json", "scoring into", "evaluate RUN"),
        ("evaluation.json", "scoring into", "evaluate RUN --fresh --split valid"),
        ("sweep.json", "sweeping into", "sweep RUN --p 0.5"),
        ("retrain.json", "sweeping into", "sweep RUN --p 0.5 --retrain"),
        ("budget.json", "sweeping into", "sweep RUN --budget 0.5"),
        ("explain", "drawing into", "explain RUN"),
        ("explain", "drawing into", "explain RUN train_003"),
        ("page.html", "writing", "report RUN/page.html RUN"),
    ],
)
def test_the_second_command_is_refused(
    tiny_mesm: Path, name: str, doing: str, command: str
) -> None:
    words = command.replace("RUN", str(tiny_mesm)).split()

    @one_at_a_time(name, doing)
    def first(_run: Path) -> None:
        before = contents(tiny_mesm)
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2, done.output
        (said,) = done.output.splitlines()
        assert said.startswith(f"mesm: another process is {doing} {tiny_mesm / name} (process ")
        assert said.endswith("): wait for it")
        assert contents(tiny_mesm) == before

    before = contents(tiny_mesm)
    first(tiny_mesm)
    assert contents(tiny_mesm) == before


def test_commands_on_different_files_of_a_run_do_not_wait_for_each_other(
    tiny_mesm: Path, tmp_path: Path
) -> None:
    """Both keep the predictions, which are the same whoever writes them."""
    run = shutil.copytree(tiny_mesm, tmp_path / "run")
    scores = (run / "evaluation.json").read_bytes()

    @one_at_a_time("sweep.json", "sweeping into")
    def first(_run: Path) -> None:
        done = CliRunner().invoke(app, ["evaluate", str(run)])
        assert done.exit_code == 0, done.output

    first(run)
    assert (run / "evaluation.json").read_bytes() == scores
