"""`mesm prepare` from and to a server of S3 on this machine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from mesm.corpora import remote as module
from mesm.corpora.extraction import Dialog
from mesm.corpora.prepare import PrepareOptions
from mesm.corpora.remote import Remote, _lay_out, prepare_remote
from mesm.corpora.utterances import Utterance
from mesm.runs.storage import Store
from tests.mesm.two_nodes import ROOT, two_nodes

SECRET = "verySecretValue12345"
KEY = "keyOfNobody6789"


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A server of S3: the environment that leads there, and a file system of it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 100
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        import s3fs

        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            system = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
            system.mkdir("bucket")
            yield environment, system
    finally:
        server.kill()
        server.wait()


def mesm(folder, environment, *words):
    return subprocess.run(
        [sys.executable, "-m", "mesm", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def interrupted(folder, environment, enough, *words):
    """Press Ctrl-C in a command once there is enough; gives what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mesm", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not enough():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    return said


def fetched(system, place, folder):
    system.get(place, str(folder), recursive=True)
    return contents(folder)


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def without_stamps(files):
    """Times of files on the storage are others, and the manifest has their hash."""
    manifest = json.loads(files["manifest.json"])
    del manifest["raw"], manifest["digest"]
    return {**files, "manifest.json": manifest}


def test_corpus_and_output_on_storage_by_one_machine_and_by_two_nodes(prepared, storage, tmp_path):
    environment, system = storage
    raw, wanted = prepared("iemocap")
    system.put(str(raw), "bucket/raw", recursive=True)
    options = ("--min-face-size", "80")
    here = mesm(
        tmp_path,
        environment,
        *("prepare", "iemocap", "s3://bucket/raw", "s3://bucket/one", *options),
        *("--workers", "1", "--cache", tmp_path / "cache"),
    )
    assert here.returncode in (0, 1), here.stderr
    one = fetched(system, "bucket/one", tmp_path / "one")
    assert without_stamps(one) == without_stamps(contents(wanted))
    assert not (tmp_path / "cache").exists()
    assert re.search(r"/cache/mesm-[\w-]+ had \d+\.\d MB in the end, and is deleted", here.stderr)
    assert not system.exists("bucket/one/.work")
    with two_nodes(environment=environment) as (cluster, _):
        command = (
            *("prepare", "iemocap", "s3://bucket/raw", "s3://bucket/two", *options),
            *("--ray", cluster.address, "--cache", tmp_path / "cache"),
        )
        stopped = interrupted(
            tmp_path, environment, lambda: system.glob("bucket/two/.work/parts/*"), *command
        )
        there = mesm(tmp_path, environment, *command)
    *_, room, last = stopped.splitlines()
    assert re.search(r"/cache/mesm-[\w-]+ keeps \d+\.\d MB, from which the same command goes", room)
    assert last == "mesm: stopped; the same command goes on where it was"
    # Parts that were finished before are not made again.
    done, total = re.search(r"clips: .*? (\d+)/(\d+) \[", there.stderr).groups()
    assert 0 < int(done) < int(total)
    assert there.returncode == here.returncode, there.stderr
    assert fetched(system, "bucket/two", tmp_path / "two") == one
    said = here.stdout + here.stderr + stopped + there.stdout + there.stderr
    assert SECRET not in said
    assert KEY not in said
    assert all(SECRET.encode() not in file for file in one.values())


def test_a_reader_opens_nothing_but_what_is_fetched_first(raw, storage, tmp_path):
    from mesm.corpora.registry import find_corpus

    row = find_corpus("mosei")
    storage[1].put(str(raw("mosei")), "bucket/mosei", recursive=True)
    _lay_out(Store("s3://bucket/mosei"), tmp_path / "tree", row.read_first)
    here, there = row.reader(raw("mosei")), row.reader(tmp_path / "tree")
    assert here.skipped == there.skipped
    assert here.notes == there.notes
    assert len(here.utterances) == len(there.utterances) > 0
    for one, other in zip(here.utterances, there.utterances, strict=True):
        assert (one.clip_id, one.text, one.labels) == (other.clip_id, other.text, other.labels)
        assert one.video.stat().st_size == other.video.stat().st_size
        assert other.video.stat().st_blocks == 0


def test_another_folder_and_a_missing_one_are_refused(storage, tmp_path):
    environment, system = storage
    system.pipe_file("bucket/letters/mine.txt", b"mine")
    said = mesm(
        tmp_path,
        environment,
        *("prepare", "iemocap", "s3://bucket/nothing", "s3://bucket/three"),
    )
    assert said.returncode == 2
    assert "s3://bucket/nothing is empty, or is not there" in said.stderr
    assert "from which the same command goes on" not in said.stderr  # for nothing is kept
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    from mesm.corpora.remote import _bring_back

    with pytest.raises(ValueError, match=r"s3://bucket/letters is not empty \(mine.txt\)"):
        _bring_back(Store("s3://bucket/letters"), tmp_path)


def dialog_of(tree):
    clip = Utterance("a", "d", "s", 0.0, 1.0, "hello", (1,), tree / "v.mp4", None)
    return Dialog("d", tree, (clip,), 80)


@pytest.mark.parametrize("change", [b"grown", None])
def test_a_recording_that_changed_since_it_was_listed_is_refused(change, storage, tmp_path):
    _, system = storage
    place = f"bucket/changing-{change is None}"
    system.pipe_file(f"{place}/v.mp4", b"pictures")
    raw = Store(f"s3://{place}")
    tree, home = tmp_path / "tree", tmp_path / "home"
    home.mkdir()
    _lay_out(raw, tree, (".txt",))
    alone = Remote(raw, None, tree, home, alone=True)
    with alone.inputs(dialog_of(tree)) as brought:
        assert brought.utterances[0].video.read_bytes() == b"pictures"
    system.rm_file(f"{place}/v.mp4")
    if change is not None:
        system.pipe_file(f"{place}/v.mp4", change)
    with pytest.raises(
        ValueError, match=rf"^{raw.url}: the files of d changed \(in size or time\)"
    ):
        alone.inputs(dialog_of(tree)).__enter__()
    assert not any((home / "units").iterdir())
    # A node has no tree to compare with; `mesm.corpora.parts` compares there.
    with Remote(raw, None, tmp_path / "none", home, alone=False).inputs(
        dialog_of(tmp_path / "none")
    ):
        pass


def test_inputs_of_another_machine_stay_and_those_of_dead_processes_go(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    carrier = Remote(Store("s3://bucket/raw"), None, tmp_path, home, alone=False)
    monkeypatch.setattr(Store, "stamp", lambda self, name: None)
    none = 99_999_999  # no process here has this number

    @contextmanager
    def at_work(process, system=None):
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "getpid", lambda: process)
            if system is not None:
                patch.setattr(module, "_system", lambda: system)
            reading = carrier.inputs(dialog_of(tmp_path))
            root = reading.__enter__().root
        yield root

    with at_work(none, "another") as other, at_work(os.getpid()) as own, at_work(none) as dead:
        assert dead.exists()
        with carrier.inputs(dialog_of(tmp_path)):
            assert [root.exists() for root in (other, own, dead)] == [True, True, False]


def test_where_no_list_of_processes_is_all_inputs_stay(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    carrier = Remote(Store("s3://bucket/raw"), None, tmp_path, home, alone=False)
    monkeypatch.setattr(Store, "stamp", lambda self, name: None)
    monkeypatch.setattr(module, "_system", lambda: None)  # as on macOS
    monkeypatch.setattr(module.os, "getpid", lambda: 99_999_999)
    with carrier.inputs(dialog_of(tmp_path)) as one, carrier.inputs(dialog_of(tmp_path)) as other:
        assert one.root.exists()
        assert other.root.exists()


def test_the_folder_for_what_is_under_way_is_ones_own(tmp_path, monkeypatch):
    seen = []

    def lay_out(raw, tree, read_first):
        seen.append((tree.parent, tree.parent.stat().st_mode & 0o777))
        raise ValueError("far enough")

    monkeypatch.setattr(module, "_lay_out", lay_out)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    raw = Store("s3://bucket/raw")

    def begun():
        prepare_remote("iemocap", raw, tmp_path / "out", PrepareOptions())

    with pytest.raises(ValueError, match="far enough"):
        begun()
    ((home, mode),) = seen
    assert mode == 0o700
    assert not home.exists()
    carrier = Remote(raw, None, tmp_path, home, alone=False)
    carrier.settle()
    assert home.stat().st_mode & 0o777 == 0o700
    home.rename(tmp_path / "planted")
    home.symlink_to(tmp_path / "planted")
    for work in (begun, carrier.settle):
        with pytest.raises(ValueError, match=rf"^{home} is a link, .* name another folder with"):
            work()
    home.unlink()
    carrier.settle()
    monkeypatch.setattr(module.os, "geteuid", lambda: home.stat().st_uid + 1)
    with pytest.raises(ValueError, match=rf"^{home} belongs to another user"):
        carrier.settle()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "iemocap_mesm", "corpus=s3://bucket/one"), "no place on object storage"),
        (("evaluate", "s3://bucket/run"), "no place on object storage"),
        (("prepare", "iemocap", "raw", "out", "--splits=s3://b/l"), "no place on object storage"),
        *(
            (
                ("prepare", name, "s3://bucket/raw", "out"),
                f"{name} is measured while it is read, so",
            )
            for name in ("meld", "ravdess", "crema_d")
        ),
        (
            ("prepare", "table", "s3://bucket/a.csv", "out"),
            "a table and its recordings must lie on disk",
        ),
        (("prepare", "iemocap", f"s3://{KEY}:{SECRET}@bucket/raw", "out"), "no credentials"),
    ],
)
def test_urls_are_refused_elsewhere(words, said, capsys):
    from mesm.cli import app

    with pytest.raises(SystemExit) as end:
        app(list(words))
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert SECRET not in shown
