"""Two nodes of Ray on this machine: what dies in the middle, and what a command says of it."""

import importlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mesm.corpora import assembly
from mesm.corpora.finishing import _each
from mesm.runs import cluster as module
from mesm.runs.cluster import Cluster, connected
from mesm.runs.nodes import is_token
from mesm.runs.storage import Store
from tests.mesm.corpora.test_assembly import EMOTIONS, parts, row
from tests.mesm.stub_ray import stub_ray
from tests.mesm.two_nodes import ROOT, two_nodes

UNITS = """
import os, time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
import pyarrow as pa
from tests.mesm.little_dialogs import Dialog

def extract(dialog):
    Path("log", f"{dialog.name}-{os.getpid()}-{os.environ.get('RAY_NODE_ID', '')}").touch()
    if dialog.name == "deadly":
        os.kill(os.getpid(), 11)
    while dialog.name.startswith("slow") and not Path("go").exists():
        time.sleep(0.02)
    return pa.table({"x": [dialog.name] * 3}), []

opened = partial(nullcontext, extract)
dialogs = [Dialog(name) for name in ("slow1", "slow2", "a", "b", "deadly", "c", "d")]
"""

RUN = """
import sys
from pathlib import Path
from types import SimpleNamespace
from mesm.corpora.parts import make_all, read_part
from mesm.runs.cluster import connected
from units import dialogs, opened

with connected(sys.argv[1]) as cluster, cluster.sharing(Path.cwd()):
    for file in make_all(dialogs, Path("parts"), opened, None, "clips", cluster):
        print(file.name, len(read_part(file)[0]))
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Two nodes of one core each, that find a module `units`."""
    folder = tmp_path_factory.mktemp("units")
    (folder / "units.py").write_text(UNITS)
    with two_nodes(f"{folder}{os.pathsep}{ROOT}") as found:
        yield *found, folder


def waited(found, seconds=120):
    deadline = time.monotonic() + seconds
    while not (what := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return what


def started(place, cluster, folder):
    """Run the units; gives the process, and what tells which attempts of a unit have begun."""
    (place / "log").mkdir()
    (place / "run.py").write_text(RUN)
    path = f"{folder}{os.pathsep}{ROOT}"
    process = subprocess.Popen(
        [sys.executable, "run.py", cluster.address],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def begun(name):
        return [file.name.split("-") for file in (place / "log").glob(f"{name}-*")]

    return process, begun


def test_a_folder_that_a_node_does_not_see_is_refused(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 200.0)
    with connected(nodes[0].address) as cluster:
        kept = module.write_beside
        monkeypatch.setattr(module, "write_beside", lambda file, content: kept(file, "another"))
        with pytest.raises(ValueError, match=r"^node \S+ does not see .* all nodes share$"):
            cluster.sharing(tmp_path).__enter__()
        monkeypatch.setattr(module, "write_beside", kept)
        gone = tmp_path / "gone"
        with pytest.raises(ValueError, match=r"does not see .*gone: put it on a file system"):
            cluster.sharing(tmp_path, [gone]).__enter__()
        other = (*module.versions()[:-1], ("mesm", "0" * 12))
        monkeypatch.setattr(module, "versions", lambda: other)
        with pytest.raises(ValueError, match=r"has mesm \w+, this machine 0+: install the same"):
            cluster.sharing(tmp_path).__enter__()
    assert not any(is_token(file.name) for file in tmp_path.iterdir())


def test_files_of_a_corpus_written_on_nodes_are_those_of_this_process(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "CLIPS_PER_FILE", 2)
    made = [row(f"a{i}") for i in range(5)]
    splits = {r["clip_id"]: "train" for r in made}
    rows, _ = assembly.collect(parts(tmp_path, made))
    hashes, on_nodes = [], []
    with connected(nodes[0].address) as cluster, cluster.sharing(tmp_path):
        for name, each in (("here", assembly.one_by_one), ("there", _each(3, None, cluster))):
            folder = tmp_path / name
            folder.mkdir()
            files, figures = assembly.assemble(
                rows, splits, EMOTIONS, folder, on_nodes.append, each
            )
            hashes.append((list(files.values()), figures.mean_and_std(), figures.counts()))
            assert sorted(files) == sorted(folder.iterdir())
    assert hashes[0] == hashes[1]
    assert sorted(on_nodes[5:]) == [0, 0, 1, 2, 2]


def test_a_killed_worker_and_a_killed_node_lose_nothing_and_repeat_nothing(nodes, tmp_path):
    cluster, second, folder = nodes
    process, begun = started(tmp_path, cluster, folder)

    # Both nodes are at work: the worker of one unit is killed, then the second node.
    waited(lambda: process.poll() is not None or (begun("slow1") and begun("slow2")))
    assert process.poll() is None, process.communicate()[1]
    ((_, first, _),) = begun("slow1")
    os.kill(int(first), signal.SIGKILL)
    waited(lambda: len(begun("slow1")) == 2)
    cluster.remove_node(second, allow_graceful=False)
    (tmp_path / "go").touch()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    wanted = ["slow1 3", "slow2 3", "a 3", "b 3", "deadly 0", "c 3", "d 3"]
    assert out.splitlines() == [line.replace(" ", ".parquet ") for line in wanted]
    # The number of clips done never passes their total, so none was counted twice.
    assert "7/7" in err
    assert "8/7" not in err
    assert "deadly: its worker died 3 times: its clips are left out" in err
    assert "skipped deadly: a decoder crashed" in err
    assert len(begun("deadly")) >= 3
    for name in ("a", "b", "c", "d"):
        assert len(begun(name)) <= 2  # at most the one that the dead node had
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == sorted(
        f"{line.split()[0]}.parquet" for line in wanted
    )
    sys.path.insert(0, str(folder))
    try:
        units = importlib.import_module("units")
        from mesm.corpora.parts import write_part

        for dialog in units.dialogs:
            if dialog.name != "deadly":
                alone = tmp_path / "alone.parquet"
                write_part(alone, units.pa.table({"x": [dialog.name] * 3}), [])
                made = tmp_path / "parts" / dialog.part_name()
                assert made.read_bytes() == alone.read_bytes()
    finally:
        sys.path.remove(str(folder))
    assert "raylet" not in out + err


def test_a_head_that_dies_is_told_in_one_line_within_seconds(nodes, tmp_path):
    cluster, _, folder = nodes
    process, begun = started(tmp_path, cluster, folder)
    waited(lambda: process.poll() is not None or begun("slow1"))
    assert process.poll() is None, process.communicate()[1]
    address = cluster.address
    cluster.remove_node(cluster.head_node, allow_graceful=False)
    # Ray itself would end the process after a minute, in its own words.
    _, err = process.communicate(timeout=55)
    said = f"the cluster's head at {address} is gone (Connection refused): start it and"
    assert f"HeadError: {said}" in err.splitlines()[-1]
    assert "GCS" not in err
    assert not any(is_token(file.name) for file in tmp_path.iterdir())
    for _, worker, _ in begun("slow1"):
        waited(lambda number=worker: not Path(f"/proc/{number}").exists())


def test_a_node_that_has_just_died_is_passed_over(monkeypatch, capsys):
    import ray

    nodes = [
        {
            "Alive": True,
            "Resources": {"CPU": 1},
            "NodeID": f"{n:056x}",
            "NodeManagerAddress": str(n),
        }
        for n in range(2)
    ]

    def answered(answer):
        if answer == 0:
            raise ray.exceptions.TaskUnschedulableError("that node doesn't exist any more")
        return module.kind_of_cpu()

    asked = iter(range(2))
    about = SimpleNamespace(remote=lambda place: next(asked))
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "remote", lambda work: SimpleNamespace(options=lambda **_: about))
    monkeypatch.setattr(ray, "wait", lambda answers, **_: (answers, []))
    monkeypatch.setattr(ray, "get", answered)
    cluster = module.Cluster("127.0.0.1:1")
    cluster._place = None
    cluster._look_around()
    assert capsys.readouterr().err == "node 0 has left the cluster\n"


def test_a_head_that_is_silent_once_is_knocked_at_again(monkeypatch):
    monkeypatch.setattr(module, "_KNOCK_EVERY", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        cluster = module.Cluster(f"127.0.0.1:{server.getsockname()[1]}")
        assert cluster._heard_head()
    assert not cluster._heard_head()
    assert not cluster._heard_head()
    with pytest.raises(module.HeadError, match=r"is gone .*: start it and its nodes again; the sa"):
        cluster._heard_head()


@pytest.mark.parametrize("address", ["here", "host:port", "ray://host:1", "host:99999"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match=r"wanted HOST:PORT, as ray start --head says it"):
        connected(address).__enter__()


def test_where_nobody_answers_is_told_within_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(ValueError, match=rf"no cluster answers at 127.0.0.1:{port} .*ray start"):
        connected(f"127.0.0.1:{port}").__enter__()
    assert time.monotonic() - begun < 10


def test_something_else_that_answers_is_told_within_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match=r"whatever answers at .* is not a Ray cluster"):
            connected(address).__enter__()


def test_without_ray_the_extra_is_named(tmp_path):
    script = """
        import socket, sys
        from importlib import metadata
        sys.modules["ray"] = None
        from mesm.runs.cluster import connected
        class Wheel:
            read_text = staticmethod(lambda name: None)
        metadata.distribution = lambda name: Wheel
        with socket.create_server(("127.0.0.1", 0)) as server:
            try:
                connected(f"127.0.0.1:{server.getsockname()[1]}").__enter__()
            except ValueError as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("on every node: pip install 'mesm[cluster]'")


@pytest.mark.parametrize("url", [None, "s3://bucket/out"])
def test_commands_of_one_folder_have_a_token_each(url, tmp_path, monkeypatch):
    monkeypatch.setattr(Cluster, "_look_around", lambda self: None)
    monkeypatch.setattr(Store, "write", lambda self, data, name: write(tmp_path / name, data))
    monkeypatch.setattr(Store, "delete", lambda self, names: (tmp_path / names[0]).unlink())
    write = Path.write_bytes
    folder = tmp_path if url is None else Store(url)

    def tokens():
        return {file.name for file in tmp_path.iterdir() if is_token(file.name)}

    with Cluster("a:1").sharing(folder):
        (first,) = tokens()
        with Cluster("a:1").sharing(folder):
            assert len(tokens()) == 2
        assert tokens() == {first}
    assert not tokens()


@pytest.mark.parametrize(
    ("nodes", "gpus", "said"),
    [
        ([(1, 0), (1, 0)], 0, "no node has 2 cores: waiting for nodes to join a:1\n"),
        ([(8, 0), (1, 1)], 1, "no node has 2 cores and a GPU: waiting for nodes to join a:1\n"),
        ([(1, 0), (2, 0)], 0, ""),
    ],
)
def test_work_that_fits_no_node_is_told(nodes, gpus, said, monkeypatch, capsys):
    monkeypatch.setattr(module, "_WAITING_SECONDS", -1.0)
    passed = iter([[], True])
    stub_ray(
        monkeypatch,
        [{"CPU": cores, "GPU": gpus} for cores, gpus in nodes],
        str,
        lambda running: next(passed) and running,
    )
    done = Cluster("a:1").each(str, ["one"], lambda item, why: why, cores=2, gpus=gpus)
    assert list(done) == [("one", "one")]
    assert capsys.readouterr().err == said
