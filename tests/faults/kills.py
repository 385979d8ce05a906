"""Kills, signals, full disks, two of a kind, closed pipes and odd locales, by real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.faults.base import Base, scratch
from tests.faults.jobs import JOBS, Job, difference, furnish, job_sandbox, state, undisturbed
from tests.faults.judge import ended
from tests.faults.outcome import Outcome, one_line
from tests.faults.process import Result, end_group, finish, fresh, members, start

ORPHANS_END = 8.0  # seconds within which the workers of a killed command must be gone


def kill(base: Base, seed: int) -> Outcome:
    """SIGKILL at a random moment, once or twice, and the same command again."""
    rng = random.Random(f"kill {seed}")
    name = list(JOBS)[seed % len(JOBS)]
    return _stopped(base, name, rng, [signal.SIGKILL] * rng.choice((1, 1, 2)))


def stop(base: Base, seed: int) -> Outcome:
    """SIGINT, SIGTERM or SIGHUP at a random moment, and the same command again."""
    rng = random.Random(f"stop {seed}")
    name = list(JOBS)[seed % len(JOBS)]
    return _stopped(base, name, rng, [rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))])


def _stopped(base: Base, name: str, rng: random.Random, signals: list[signal.Signals]) -> Outcome:
    job = JOBS[name]
    seconds, wanted = undisturbed(base, name)
    with job_sandbox(base, job) as folder:
        what = f"{name}:"
        for number in signals:
            # Most of the first seconds are imports.
            moment = rng.uniform(min(1.5, seconds / 2), seconds * 1.05)
            what += f" {number.name} after {moment:.2f} s of {seconds:.1f},"
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                process = start(job.arguments, folder, out, err)
                time.sleep(moment)
                had_ended = process.poll() is not None
                if not had_ended:
                    # A terminal sends to all processes of a command, `kill` to one.
                    to = os.killpg if rng.random() < 0.5 else os.kill
                    to(process.pid, number)
                result = finish(process, job.arguments, out, err, 60)
                left = _orphans(process.pid)
                end_group(process.pid)
            if left:
                return Outcome("lost", f"{what} left processes {left} that go on")
            told = not had_ended and number != signal.SIGKILL
            if told and (problem := _signalled(result, number, job)):
                return Outcome(problem.verdict, f"{what} {problem.what}")
        again = fresh(job.arguments, folder)
        if bad := ended(again):
            if _may_refuse(name, bad):
                return Outcome("refused", f"{what} {bad.what}")
            return Outcome("lost", f"{what} then {bad.what}")
        if problem := difference(wanted, state(folder)):
            return Outcome("lost", f"{what} then {problem}")
        return Outcome("right", what)


def _may_refuse(name: str, bad: Outcome) -> bool:
    """A miniature corpus that was done before the signal came is not made again."""
    return name == "miniature" and bad.verdict == "refused"


def _orphans(session: int) -> list[int]:
    end = time.monotonic() + ORPHANS_END
    while (left := members(session)) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def _signalled(result: Result, number: signal.Signals, job: Job) -> Outcome | None:
    if result.code is None:
        return Outcome("crashed", "does not end")
    if "Traceback" in result.err or "Exception ignored" in result.err:
        return Outcome("traceback", one_line(result.err[-300:]))
    if result.code not in (0, 128 + number, -number):
        return Outcome("wrong", f"status {result.code}: {one_line(result.err[-200:])}")
    # Without a word on standard error it had not yet begun.
    if number == signal.SIGINT and job.goes_on and result.code != 0 and result.err.strip():
        said = result.err.lower()
        if not any(word in said for word in ("same command", "goes on", "go on", "again")):
            return Outcome("traceback", f"no word how to go on: {one_line(result.err[-200:])}")
    return None


def full_disk(base: Base, seed: int) -> Outcome:
    """A disk that fills at a random place, then the same command with room."""
    rng = random.Random(f"disk {seed}")
    name = list(JOBS)[seed % len(JOBS)]
    job = JOBS[name]
    _, wanted = undisturbed(base, name)
    room = int(10 ** rng.uniform(3.5, 6.3))
    with _disk() as disk:
        folder = disk.folder / "here"
        folder.mkdir()
        for need in job.needs:
            base.take(need, folder)
        furnish(folder, job)
        disk.limit(room)
        what = f"{name}, {disk.name}, {room} bytes left"
        first = fresh(job.arguments, folder, prefix=disk.prefix)
        disk.lift()
        if first.code == 0:
            return Outcome("right", f"{what}: enough")
        bad = ended(first, allowed=(1, 2))
        again = fresh(job.arguments, folder)
        if refusal := ended(again):
            return Outcome("lost", f"{what}: then {refusal.what}")
        if problem := difference(wanted, state(folder)):
            return Outcome("lost", f"{what}: then {problem}")
        if bad is not None and bad.is_bad:
            return Outcome(bad.verdict, f"{what}: {bad.what}")
        return Outcome("refused", what)


class _Disk:
    """A small file system in memory; where mounting is not allowed, a limit on a file's size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mounted = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)]
        self.mounted = subprocess.run(mounted, capture_output=True).returncode == 0
        self.name = "tmpfs" if self.mounted else "RLIMIT_FSIZE"
        self.prefix: tuple[str, ...] = ()

    def limit(self, room: int) -> None:
        """Leave so many bytes."""
        if self.mounted:
            facts = os.statvfs(self.folder)
            used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
            self._resize(used + room)
        else:
            self.prefix = ("prlimit", f"--fsize={room}")

    def lift(self) -> None:
        """Give room again."""
        self.prefix = ()
        if self.mounted:
            self._resize(256 << 20)

    def _resize(self, size: int) -> None:
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(self.folder)], check=True, capture_output=True)

    def remove(self) -> None:
        """Unmount."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True)


@contextmanager
def _disk() -> Iterator[_Disk]:
    disk = _Disk(scratch())
    try:
        yield disk
    finally:
        disk.remove()


def pair(base: Base, seed: int) -> Outcome:
    """Two of a kind in one folder at once; trainings differ in their settings."""
    rng = random.Random(f"pair {seed}")
    name = list(JOBS)[seed % len(JOBS)]
    job = JOBS[name]
    seconds, wanted = undisturbed(base, name)
    states = [wanted]
    second = job.arguments
    if name == "train":
        other = Job((*job.arguments, "model.p=0.9", "training.seed=5"), job.needs)
        states.append(undisturbed(base, "train otherwise", other)[1])
        second = other.arguments
    wait = rng.uniform(0, seconds * 0.9)
    what = f"two of {name}, {wait:.2f} s apart"
    with job_sandbox(base, job) as folder:
        with ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(4)]
            one = start(job.arguments, folder, files[0], files[1])
            time.sleep(wait)
            other_one = start(second, folder, files[2], files[3])
            results = [
                finish(one, job.arguments, files[0], files[1]),
                finish(other_one, second, files[2], files[3]),
            ]
            end_group(one.pid)
            end_group(other_one.pid)
        bads = [ended(result) for result in results]
        for bad in bads:
            if bad is not None and bad.is_bad:
                return Outcome(bad.verdict, f"{what}: {bad.what}")
        if all(bad is not None for bad in bads):
            return Outcome("wrong", f"{what}: neither did it: {bads[0].what}")
        found = state(folder)
        problems = [difference(wanted, found) for wanted in states]
        if all(problems):
            return Outcome("wrong", f"{what}: then {problems[0]}")
        refused = [bad for bad in bads if bad is not None]
        return (
            Outcome("refused", f"{what}: {refused[0].what}") if refused else Outcome("right", what)
        )


def surroundings(base: Base, seed: int) -> Outcome:
    """Closed pipes, locales without UTF-8, no home, names with blanks and umlauts."""
    rng = random.Random(f"surroundings {seed}")
    kind = rng.choice(("pipe", "pipe", "locale", "home", "name"))
    if kind == "pipe":
        return _closed_pipe(base, rng)
    name = rng.choice(("train", "evaluate", "table", "explain"))
    job = JOBS[name]
    variables: dict[str, str] = {}
    if kind == "locale":
        variables = {
            "LANG": rng.choice(("C", "POSIX", "xx_YY.bad", "de_DE.ISO-8859-1")),
            "LC_ALL": rng.choice(("C", "xx", "")),
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        }
    elif kind == "home":
        variables = {"HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere/cache", "MPLCONFIGDIR": ""}
    odd = rng.choice(("ü x", "a b", "日本", "-dash", "a'b", "%s", "{x}", "a:b"))
    with job_sandbox(base, job) as folder:
        arguments = list(job.arguments)
        if name == "train":
            arguments[arguments.index("out")] = odd
        elif name != "table":
            (folder / "run").rename(folder / odd)
            arguments[arguments.index("run")] = f"./{odd}"
        result = fresh(arguments, folder, **variables)
        what = f"{kind} {variables}: {odd!r}"
        bad = ended(result)
        if bad is None:
            return Outcome("right", f"{what}: {result.line}")
        # A name that the locale cannot hold may be refused; a dash begins an option.
        fine = bad.verdict == "refused" and (kind == "locale" or odd.startswith("-"))
        verdict = bad.verdict if fine or bad.is_bad else "wrong"
        return Outcome(verdict, f"{what}: {bad.what}")


def _closed_pipe(base: Base, rng: random.Random) -> Outcome:
    name = rng.choice(("evaluate", "table", "sweep", "explain", "help"))
    job = JOBS.get(name, Job(("--help",)))
    lines = rng.choice((0, 1, 3))
    with job_sandbox(base, job) as folder, tempfile.TemporaryFile() as err:
        process = start(job.arguments, folder, subprocess.PIPE, err)
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        with tempfile.TemporaryFile() as out:
            result = finish(process, job.arguments, out, err)
        what = f"pipe closed after {lines} lines: {result.line}"
        if "Traceback" in result.err or "Exception ignored" in result.err:
            return Outcome("traceback", f"{what}: {one_line(result.err[-300:])}")
        if "roken pipe" in result.err or result.code not in (0, 141, -signal.SIGPIPE):
            return Outcome("wrong", f"{what}: status {result.code}: {one_line(result.err[-200:])}")
        return Outcome("right", what)
