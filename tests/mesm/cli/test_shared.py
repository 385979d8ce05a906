"""Every expected failure is one line; a bug keeps its traceback and asks to be reported."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
import typer
from pydantic import BaseModel, Field
from tqdm import tqdm

from mesm.cli.shared import refusals_in_one_line


class Options(BaseModel):
    workers: int = Field(default=1, ge=1)


def invalid():
    try:
        Options(workers=0)
    except ValueError as error:
        return error


EXPECTED = [
    (ValueError("wanted a, got b"), "wanted a, got b"),
    (ValueError("bad:\n  line"), "bad: line"),
    (ValueError("a\x1b[31m\udcff ü, got b"), "a\\x1b[31m\\udcff ü, got b"),
    (OSError("wanted a, got b"), "wanted a, got b"),
    (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; make room"),
    (OSError(errno.ENOSPC, "No space", "out.json"), "out.json: the disk is full; make room"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), "x: permission denied"),
    (FloatingPointError("the loss is nan"), "the loss is nan"),
    (RuntimeError("Symlink loop from 'x'"), "Symlink loop from 'x': a link leads to itself"),
    (RuntimeError("[third_party/gloo/transport/tcp/pair.cc:537] x"), "another process of this"),
    (BrokenProcessPool("x"), "a worker process died"),
    (MemoryError(), "not enough memory"),
    (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory: CUDA out of memory"),
    (invalid(), "Options: workers: input should be greater than or equal to 1, got 0"),
]


def end(error, status):
    with pytest.raises(typer.Exit) as ended, refusals_in_one_line():
        raise error
    assert ended.value.exit_code == status


@pytest.mark.parametrize(("error", "told"), EXPECTED)
def test_an_expected_failure_is_one_line(error, told, capsys):
    end(error, 2)
    written = capsys.readouterr().err
    assert written.startswith(f"mesm: {told}")
    assert written.count("\n") == 1


def test_a_failure_that_another_process_tells_of_is_not_told_again(capsys):
    error = ValueError("wanted a, got b")
    error.told_by_another = True
    end(error, 2)
    assert capsys.readouterr().err == ""


def test_memory_that_torch_does_not_get_is_one_line(capsys):
    with pytest.raises(typer.Exit), refusals_in_one_line():
        torch.empty(2**60)
    written = capsys.readouterr().err
    assert written.startswith("mesm: not enough memory: ")
    assert "you tried to allocate" in written


def test_a_bug_is_shown_and_asked_for(capsys):
    end(KeyError("x"), 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2] == "KeyError: 'x'"
    assert "please report it" in lines[-1]


def test_no_bar_is_drawn_around_the_message(capsys):
    bar = tqdm(total=3)
    bar.update()
    end(ValueError("wanted a"), 2)
    bar.update()
    assert capsys.readouterr().err.splitlines()[-1] == "mesm: wanted a"


def test_an_interrupted_command_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "mesm", "miniature", tmp_path / "out", "--clips", "500"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(0.3)  # the worker processes begin, and import
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    lines = process.communicate(timeout=60)[1].splitlines()
    assert lines[-1].startswith("mesm: stopped; ")
    assert [line for line in lines[:-1] if line and not line.startswith("miniature corpus: ")] == []
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    program = "from mesm.cli import app; import typer\n"
    program += "@app.command('speak')\ndef speak(): typer.echo('x')\napp(['speak'])"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_output_is_no_error():
    program = "from mesm.cli import app; import typer\n"
    program += "@app.command('speak')\ndef speak(): print('x')\napp(['speak'])"
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_into_a_closed_pipe_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "mesm", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "status"), [("ü", 0), (b"\xff", 1)])
def test_arguments_that_the_locale_cannot_read(name, status, tmp_path):
    plain = {key: value for key, value in os.environ.items() if not key.startswith("LC_")}
    poor = plain | {"LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "mesm", "table", "splits", name, "--out", tmp_path]
    done = subprocess.run(command, env=poor, capture_output=True, check=False)
    message = done.stderr.decode()
    if status:
        assert (done.returncode, "is not UTF-8" in message) == (1, True)
    else:
        assert done.returncode == 2
        assert message.startswith("mesm: ü")
