import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mesm.data.clips import make_loader
from mesm.runs.processes import end_with_parent, shielded, side_by_side, worker_pool


def never_sees_interrupts(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (masks,) = (line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(masks, 16) & 1 << signal.SIGINT - 1)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_process_never_sees_interrupts(method):
    process = shielded(method).Process(target=time.sleep, args=(1,))
    process.start()
    # The first instructions count: nothing of Python's has run in it yet.
    assert never_sees_interrupts(process.pid)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 0
    assert not never_sees_interrupts(os.getpid())


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return never_sees_interrupts(os.getpid())


def test_a_process_that_decodes_never_sees_interrupts():
    assert list(make_loader(Numbers(), [[0], [1]], all, workers=1)) == [True, True]


def test_a_pool_ends_at_once_with_an_exception():
    left = []

    def work():
        with worker_pool(2, end_with_parent) as pool:
            assert never_sees_interrupts(pool.submit(os.getpid).result())
            left.extend(pool.submit(time.sleep, 100) for _ in range(5))
            raise KeyError

    began = time.monotonic()
    with pytest.raises(KeyError):
        work()
    assert time.monotonic() - began < 10
    assert all(future.done() for future in left)


def test_a_pool_does_its_work():
    with worker_pool(1, end_with_parent) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]


STARTING = """
import os, time
from mesm.runs.processes import shielded

class Slow:
    def __reduce__(self):
        return time.sleep, (100,)

if __name__ == "__main__":
    process = shielded("spawn").Process(target=print, args=(Slow(),))
    process.start()
    time.sleep(1)
    print(process.pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_process_that_still_imports_ends_with_its_parent(tmp_path):
    script = tmp_path / "start.py"
    script.write_text(STARTING)
    # The pipe ends when the last process that holds it is gone.
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0


def die(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_told_in_one_line():
    with pytest.raises(ChildProcessError, match=r"^a worker process died, .*--workers if it was"):
        list(side_by_side(die, [1], 1))
