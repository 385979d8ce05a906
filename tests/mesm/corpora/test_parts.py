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
from tests.mesm.two_nodes import ROOT

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


DEADLY = """
import os, sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
import pyarrow as pa
from mesm.corpora.parts import make_all, read_part
from tests.mesm.little_dialogs import Dialog

def extract(dialog):
    if dialog.name == "deadly" or dialog.name == "once" and not Path("tried").exists():
        Path("tried").touch() if dialog.name == "once" else None
        os.kill(os.getpid(), 11)
    return pa.table({"x": [1.0]}), []

if __name__ == "__main__":
    names = ("a", "deadly", "b", "once", "c", "d")
    files = make_all(
        [Dialog(name) for name in names], Path("parts"), partial(nullcontext, extract),
        int(sys.argv[1]), "clips",
    )
    for file in files:
        table, skipped = read_part(file)
        print(file.stem, len(table), [clip.reason for clip in skipped])
    print(sorted(path.stem for path in Path("parts").iterdir()) == sorted(names))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_decoder_that_crashes_costs_its_dialog_alone(workers, tmp_path):
    (tmp_path / "run.py").write_text(DEADLY)
    command = [sys.executable, "run.py", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    tries, said = 0, ""
    while True:
        tries += 1
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        said += done.stderr
        if done.returncode == 0:
            break
        # With one worker the command itself is what dies; the same command goes on.
        assert (workers, done.returncode) == (1, -11), done.stderr
        assert tries < 4
    assert tries == (3 if workers == 1 else 1)
    assert done.stdout.splitlines() == [
        "a 1 []",
        "deadly 0 ['a decoder crashed']",
        *("b 1 []", "once 1 []", "c 1 []", "d 1 []", "True"),
    ]
    assert "skipped deadly: a decoder crashed: f; convert the recording" in said


class _Deadly:
    """Ends the process that unpickles it."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return os._exit, (3,)


def test_a_worker_that_dies_is_reported(tmp_path):
    todo = [_Deadly("a"), _Deadly("b")]
    parts = {dialog.name: tmp_path / dialog.name for dialog in todo}
    with pytest.raises(ChildProcessError, match=r"a worker process died.*run again"):
        list(make_parts(todo, parts, partial(nullcontext, None), 2))
