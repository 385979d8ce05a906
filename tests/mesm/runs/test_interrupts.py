import signal
import subprocess
import sys

import pytest

from mesm.runs import interrupts


def python(program, *arguments, **options):
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_a_signal_that_a_destructor_swallows_comes_again():
    program = """
import signal, sys, time
from mesm.runs import interrupts

class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

interrupts.listen()
Last()
try:
    time.sleep(30)
except KeyboardInterrupt:
    print("heard")
interrupts.ignore()
signal.raise_signal(signal.SIGINT)
print("deaf")
"""
    done = python(program)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["heard", "deaf"], "", 0)


def test_other_errors_of_destructors_are_shown():
    program = """
from mesm.runs import interrupts
class Last:
    def __del__(self):
        raise KeyError("x")
interrupts.listen()
Last()
"""
    assert "KeyError: 'x'" in python(program).stderr


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_interrupted_import_is_one_line(command, tmp_path):
    # A package that makes another exception of every one, as compiled ones may.
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\n"
        "try:\n os.kill(os.getpid(), signal.SIGINT)\n time.sleep(1)\n"
        "except BaseException:\n raise ImportError('x')\n"
    )
    program = (
        "import sys\nsys.path.insert(0, sys.argv.pop(1))\nfrom mesm.__main__ import main\nmain()"
    )
    done = python(program, str(tmp_path), command, "x")
    line = f"mesm: stopped; {interrupts.how_to_go_on(command)}\n"
    assert (done.stderr, done.stdout, done.returncode) == (line, "", 130)


def test_an_ignored_signal_stays_ignored():
    program = """
import signal
from mesm.runs import interrupts
interrupts.listen()
signal.raise_signal(signal.SIGINT)
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""
    ignoring = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    assert python(program, preexec_fn=ignoring).stdout == "True\n"


def test_a_blocked_signal_comes_afterwards():
    reached = []

    def work():
        with interrupts.blocked():
            signal.raise_signal(signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached
