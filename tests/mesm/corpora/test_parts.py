import os
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial

import psutil
import pytest

from mesm.corpora.parts import make_parts
from mesm.corpora.prepare import PrepareOptions, prepare

TWO_WORKERS = """
import sys
from pathlib import Path
from mesm.corpora.prepare import PrepareOptions, prepare

if __name__ == "__main__":
    options = PrepareOptions(min_face_size=80, workers=2)
    prepare("iemocap", Path(sys.argv[1]), Path(sys.argv[2]), options)
"""


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_killed_workers_end_with_their_run_and_change_nothing(prepared, tmp_path):
    raw, wanted = prepared("iemocap")
    script = tmp_path / "run.py"
    script.write_text(TWO_WORKERS)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, str(script), str(raw), str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not list(out.glob(".work/parts/*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    while any(worker.is_running() for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their run"
        time.sleep(0.02)
    assert not (out / "manifest.json").exists()
    prepare("iemocap", raw, out, PrepareOptions(min_face_size=80, workers=2))
    assert contents(out) == contents(wanted)


class _Deadly:
    """Ends the process that unpickles it."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return os._exit, (3,)


def test_a_worker_that_dies_is_reported(tmp_path):
    todo = [_Deadly("a"), _Deadly("b")]
    parts = {dialog.name: tmp_path / dialog.name for dialog in todo}
    with pytest.raises(RuntimeError, match=r"a worker process died.*run again"):
        list(make_parts(todo, parts, partial(nullcontext, None), 2))
