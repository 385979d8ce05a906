"""The display while trainings run."""

import io
import json
import os
from pathlib import Path

import pytest

from mesm.experiment import display as module
from mesm.experiment.display import Curve, Display
from mesm.runs.folder import RunFolder


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def write(folder: RunFolder, epochs: int, stamp: int) -> None:
    rows = [{"valid_f1": 0.1 * n, "seconds": 10.0} for n in range(1, epochs + 1)]
    folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(folder.metrics, ns=(stamp, stamp))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_curve(folder):
    curve = Curve(folder, 5)
    assert not curve.read()
    assert curve.text() == "first epoch"
    write(folder, 2, 1)
    assert curve.read()
    assert not curve.read()
    # Three epochs of 10 s are left.
    assert curve.text() == "valid F1 20.0, 00:30 left"
    write(folder, 3, 2)
    assert curve.read()
    assert curve.text() == "valid F1 30.0, 00:20 left"


def test_one_emotion_a_clip_has_a_macro_f1(folder):
    curve = Curve(folder, 5)
    row = {"valid_f1": 0.2, "f1_variant": "macro", "seconds": 10.0}
    folder.metrics.write_text(json.dumps(row) + "\n")
    assert curve.read()
    assert curve.text() == "valid macro F1 20.0, 00:40 left"
    stream = io.StringIO()
    shown = Display(total=1, finished=0, epochs=5, before=0, jobs=1, stream=stream)
    shown.started("one", 0, folder, 5, False)
    shown.ended("one")
    assert stream.getvalue().endswith("one: done in epoch 1, best valid macro F1 20.0\n")


def test_lines_where_there_is_no_terminal(folder, monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    shown = Display(total=3, finished=1, epochs=10, before=0, jobs=2, stream=stream)
    shown.started("one", 0, folder, 5, False)
    write(folder, 1, 1)
    shown.refresh()  # only 20 s later: too soon for a line
    write(folder, 2, 2)
    shown.refresh()
    write(folder, 3, 3)
    shown.ended("one")
    shown.started("two", 1, folder, 5, False)
    shown.failed("two", "no memory")
    shown.started("three", 1, folder, 5, True)
    shown.close()
    assert stream.getvalue().splitlines() == [
        "[1/3] one: 5 epochs",
        "[1/3] one: epoch 2 of 5, valid F1 20.0, 00:30 left",
        "[2/3] one: done in epoch 3, best valid F1 30.0",
        "[2/3] two: goes on after epoch 3 of 5",
        "[2/3] two: failed: no memory",
        "[2/3] three: is scored",
    ]


def test_bars_in_a_terminal(folder):
    stream = Terminal()
    shown = Display(total=2, finished=0, epochs=10, before=0, jobs=1, stream=stream)
    shown.started("one", 0, folder, 5, False)
    write(folder, 2, 1)
    shown.refresh()
    assert (shown.overall.n, shown.overall.total) == (2, 10)
    assert (shown.bars[0].n, shown.bars[0].total) == (2, 5)
    # It stops early, in epoch 3: two epochs fewer for all.
    write(folder, 3, 2)
    shown.ended("one")
    assert (shown.overall.n, shown.overall.total) == (3, 8)
    shown.started("two", 0, folder, 5, True)
    shown.failed("two", "no memory")
    shown.close()
    text = stream.getvalue()
    assert "valid F1 20.0" in text
    assert "1/2 runs" in text
    assert "two: failed: no memory" in text


def test_a_job_that_is_put_back_leaves_its_bar_and_no_epoch_is_lost_or_counted_twice(folder):
    stream = Terminal()
    shown = Display(total=2, finished=0, epochs=10, before=0, jobs=1, stream=stream)
    shown.started("one", 0, folder, 5, False)
    write(folder, 2, 1)
    shown.put_back("one")
    assert (shown.overall.n, shown.overall.total) == (2, 10)
    assert "one: its worker or node died; it waits" in stream.getvalue()
    write(folder, 1, 2)
    shown.started("two", 0, RunFolder(folder.path / "two"), 5, False)
    write(folder, 2, 3)
    shown.refresh()  # whatever is written of the first, the bar is the other's
    assert (shown.bars[0].n, shown.overall.n) == (0, 2)
    shown.failed("two", "no memory")
    shown.started("one", 0, folder, 5, False)
    write(folder, 5, 4)
    shown.ended("one")
    assert (shown.overall.n, shown.overall.total) == (5, 5)
    shown.close()
