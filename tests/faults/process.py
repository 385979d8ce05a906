"""Runs `mesm` commands: forked from this warmed process, or as a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent.parent
MEMORY = 6 << 30  # bytes; a command here takes less than 1 GiB
PATIENCE = 150.0  # seconds; every command on these corpora takes less than 15


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Args:
        arguments: after `mesm`.
        code: exit status; None: it hung and was killed.
        signal: that ended it, or 0.
        out: standard output.
        err: standard error, with the carriage returns of progress bars.
    """

    arguments: tuple[str, ...]
    code: int | None
    signal: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The command as typed."""
        return " ".join(["mesm", *self.arguments])


def warm() -> None:
    """Import what commands import, so that a fork need not."""
    import mesm.analysis.explain
    import mesm.analysis.sweep
    import mesm.cli
    import mesm.corpora.miniature
    import mesm.corpora.prepare
    import mesm.evaluation.evaluate
    import mesm.features.make
    import mesm.report.page
    import mesm.tables.results
    import mesm.training.loop  # noqa: F401


def run(arguments: Sequence[str], folder: Path, patience: float = PATIENCE) -> Result:
    """Run a command in a fork of this process and wait for it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become(arguments, folder, out, err)
        status = _wait(pid, patience)
        hung = status is None
        end_group(pid)
        if status is None:
            _, status = os.waitpid(pid, 0)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = None if hung else os.WEXITSTATUS(status) if not killed else -killed
        return Result(tuple(arguments), code, 0 if hung else killed, _text(out), _text(err))


def _become(arguments: Sequence[str], folder: Path, out: IO[bytes], err: IO[bytes]) -> None:
    code = 70
    try:
        os.setsid()
        end_with_parent()
        tempfile.tempdir = None
        # A command that asks for all memory must not end the machine's other processes.
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(folder)
        sys.argv = ["mesm", *arguments]
        from mesm.__main__ import main

        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            code = 1
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


def start(
    arguments: Sequence[str],
    folder: Path,
    out: IO[bytes] | int,
    err: IO[bytes] | int,
    prefix: Sequence[str] = (),
    **variables: str,
) -> subprocess.Popen[bytes]:
    """Start a command as a process of its own, in a session of its own."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | variables
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "mesm", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=environment,
        start_new_session=True,
        preexec_fn=_hear,
    )


def _hear() -> None:
    # A campaign that `nohup` or a shell's & started hands on that these are ignored.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def finish(
    process: subprocess.Popen[bytes],
    arguments: Sequence[str],
    out: IO[bytes],
    err: IO[bytes],
    patience: float = PATIENCE,
) -> Result:
    """Wait for a started command."""
    try:
        code: int | None = process.wait(patience)
    except subprocess.TimeoutExpired:
        end_group(process.pid)
        process.wait()
        code = None
    killed = -code if code is not None and code < 0 else 0
    return Result(tuple(arguments), code, killed, _text(out), _text(err))


def fresh(arguments: Sequence[str], folder: Path, **options: object) -> Result:
    """Run a command as a process of its own and wait for it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(arguments, folder, out, err, **options)  # type: ignore[arg-type]
        result = finish(process, arguments, out, err)
        end_group(process.pid)
        return result


def end_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def members(session: int) -> list[int]:
    """The processes of a session that still run; zombies do not."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def end_group(pid: int) -> None:
    """Kill all that is left of a command that was started in a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _wait(pid: int, patience: float) -> int | None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        # Not reaped yet, so that its number still names its group.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return os.waitpid(pid, 0)[1]
        time.sleep(0.01)
    return None


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="backslashreplace")
