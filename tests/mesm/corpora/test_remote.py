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

import pytest

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
    assert re.search(r"/cache/mesm-\w+ had \d+\.\d MB in the end, and is deleted", here.stderr)
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
    assert re.search(r"/cache/mesm-\w+ keeps \d+\.\d MB, from which the same command goes", room)
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
    from mesm.corpora.remote import _lay_out
    from mesm.runs.storage import Store

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
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    from mesm.corpora.remote import _bring_back
    from mesm.runs.storage import Store

    with pytest.raises(ValueError, match=r"s3://bucket/letters is not empty \(mine.txt\)"):
        _bring_back(Store("s3://bucket/letters"), tmp_path)


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
