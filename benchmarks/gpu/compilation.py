"""The dense rivals, compiled side by side before anything is timed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from benchmarks.gpu.processes import Processes
from benchmarks.gpu.rivals import Rival, compile_rival
from benchmarks.gpu.row import Setting

CORES_EACH = 2  # the machine's cores per rival that is compiling
SECONDS_EACH = 400.0  # the most that a rival's compilation may take


class Compilation:
    """Compiles rivals in processes of their own, from the constructor until `finish`.

    Args:
        processes: starts the processes.
        setting: the setting in which the rivals will be measured.
        rivals: in the order in which they are begun.
        lock: the file that a process holds while it times a kernel.
    """

    def __init__(
        self, processes: Processes, setting: Setting, rivals: Sequence[Rival], lock: Path
    ) -> None:
        self._processes = processes
        cores = os.cpu_count() or CORES_EACH
        side_by_side = max(1, min(len(rivals), cores // CORES_EACH))
        threads = max(1, cores // side_by_side)
        self._pool = ThreadPoolExecutor(side_by_side)

        def work(rival: Rival) -> float:
            sizes = (setting.frames, setting.channels, setting.device, threads, lock)
            start = time.monotonic()
            log = setting.folder / "rivals.log"
            for _ in processes.stream(partial(compile_rival, rival, *sizes), SECONDS_EACH, log):
                pass
            return time.monotonic() - start

        self._begun: dict[str, Future[float]] = {
            rival.name: self._pool.submit(work, rival) for rival in rivals
        }

    def finish(self, seconds: float) -> tuple[frozenset[str], dict[str, str]]:
        """Wait, then stop the rest; return the compiled rivals, and why any failed."""
        wait(self._begun.values(), timeout=max(0.0, seconds))
        late = [name for name, future in self._begun.items() if not future.done()]
        for future in self._begun.values():
            future.cancel()
        self._processes.kill()
        self._pool.shutdown()
        done, problems = set(), dict.fromkeys(late, "not compiled in time")
        for name, future in self._begun.items():
            if name in late:
                continue
            if error := future.exception():
                problems[name] = str(error)
                continue
            done.add(name)
            print(f"   {name}: compiled in {future.result():.0f} s", flush=True)
        return frozenset(done), problems
