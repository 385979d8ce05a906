"""Where the page listens, what it says, and that nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.runs.extras import install
from mesm.web import server as module
from mesm.web.guard import LOCAL
from mesm.web.server import Request, listen, opened, serve

ROOT = Path(__file__).parents[3]


def test_it_listens_on_this_machine_alone() -> None:
    assert Request(Path("run")).host == "127.0.0.1"
    with closing(listen("127.0.0.1", None)) as first, closing(listen("127.0.0.1", None)) as second:
        ports = [one.getsockname()[1] for one in (first, second)]
        assert ports[0] < ports[1] < module.PORT + module.PORTS
        with pytest.raises(
            ValueError, match=f"cannot listen on 127.0.0.1, port {ports[0]} .*--port"
        ):
            listen("127.0.0.1", ports[0])
    for host, port in (("127.0.0.1", 70_000), ("no.such.host.invalid", 0)):
        with pytest.raises(ValueError, match="cannot listen on"):
            listen(host, port)


def test_another_host_is_warned_about_and_nothing_is_left(
    own_mesm: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = dict(os.environ)
    seen: list[Path] = []

    class Server:
        def __init__(self, opening: object) -> None:
            (place,) = tmp_path.glob("mesm-serve-*")
            assert place.stat().st_mode & 0o077 == 0  # nobody else on the machine may look
            seen.append(place)

        def run(self, sockets: list[socket.socket]) -> None:
            assert os.environ["GRADIO_TEMP_DIR"] == str(seen[0] / "uploads")
            (seen[0] / "uploads" / "left.mp4").touch()
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "Server", Server)
    said: list[str] = []
    serve(
        Request(own_mesm, None, recordings, "0.0.0.0", 0, device="cpu"),
        lambda s: said.append(str(s)),
    )
    assert "warning: --host 0.0.0.0 lets everybody" in said[0]
    assert re.fullmatch(r"open http://0.0.0.0:\d+ in a browser; Ctrl-C ends it", said[1])
    assert said[2] == "ended; all uploads are deleted"
    assert not list(tmp_path.iterdir())
    assert dict(os.environ) == before


def test_only_its_own_names_count_unless_others_are_let_in(own_mesm: Path) -> None:
    for host, hosts in (("127.0.0.1", LOCAL), ("0.0.0.0", None)):
        with opened(Request(own_mesm, host=host, device="cpu")) as opening:
            assert opening.app.hosts == hosts


def test_bad_runs_are_refused_in_a_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", str(tmp_path), "--port", "0"])
    assert done.exit_code == 2
    assert "no trained run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = CliRunner().invoke(app, ["serve", str(tmp_path), "--most-megabytes", "0"])
    assert done.exit_code == 2
    assert "wanted at least 1, got 0" in done.stderr


def test_without_gradio_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("mesm.web.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = CliRunner().invoke(app, ["serve", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr == (
        "mesm serve: the package gradio is missing; install the page's: " + install("web") + "\n"
    )


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_it_tidies_up_before_a_signal_ends_it(kind: signal.Signals) -> None:
    before = signal.getsignal(kind)
    with pytest.raises(SystemExit) as ended, module._ended_by_signals():
        signal.raise_signal(kind)
    assert ended.value.code == 128 + kind
    assert signal.getsignal(kind) is before


def test_ctrl_c_ends_it_and_deletes_uploads(own_mesm: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mesm", "serve", str(own_mesm), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[1]
    with urllib.request.urlopen(address, timeout=60) as answer:
        assert b"gradio" in answer.read()
    assert list(tmp_path.glob("mesm-serve-*/uploads"))
    page = urllib.request.urlopen(f"{address}/gradio_api/heartbeat/somebody", timeout=60)
    assert page.readline() == b"data: ALIVE\n"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert errors == ""
    assert process.returncode == 0
    assert out.endswith("ended; all uploads are deleted\n")
    assert not list(tmp_path.glob("mesm-serve-*"))
