"""A page that is served, and a browser to look at it; nobody may connect to another machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mesm.inference.conftest import films, own_corpus, own_mesm, own_single, tiny_wav2vec2

__all__ = ["films", "own_corpus", "own_mesm", "own_single", "tiny_wav2vec2"]
CHROMIUM = Path("/usr/bin/chromium")


@dataclass
class Served:
    """A page that is served.

    Attributes:
        address: of it.
        port: likewise.
        desk: what its visitors have.
        outgoing: all to which this process tried to connect, but for this machine.
    """

    address: str
    port: int
    desk: Any
    outgoing: list[object] = field(default_factory=list)


@pytest.fixture(scope="session")
def recordings(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two recordings with what is said in them."""
    folder = tmp_path_factory.mktemp("examples")
    for name, said in (("film0", "so happy"), ("film1", "how sad")):
        (folder / f"{name}.mp4").write_bytes((films / f"{name}.mp4").read_bytes())
        (folder / f"{name}.txt").write_text(said)
    return folder


@pytest.fixture(scope="session")
def served(own_mesm: Path, own_single: Path, recordings: Path) -> Iterator[Served]:
    """The page of a MESM beside an FE2E, with examples; files of at most 2 MB and half a minute."""
    from mesm.web.limits import Limits
    from mesm.web.server import Request

    connect, outgoing = socket.socket.connect, []

    def watched(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            outgoing.append(address)
            raise ConnectionRefusedError(f"the page connects to {address}")
        return connect(self, address)

    socket.socket.connect = watched  # type: ignore[method-assign]
    wanted = Request(own_mesm, own_single, recordings, limits=Limits(2, 0.5), device="cpu")
    try:
        with serving(wanted) as found:
            found.outgoing = outgoing
            yield found
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
    assert not outgoing


@contextmanager
def serving(wanted: Any) -> Iterator[Served]:
    """A page of what was asked for, until it is no more wanted."""
    from mesm.web.server import Server, listen, opened

    with closing(listen("127.0.0.1", 0)) as listening, opened(wanted) as opening:
        port = listening.getsockname()[1]
        server = Server(opening)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield Served(f"http://127.0.0.1:{port}", port, opening.app.desk)
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


def wait_for(done: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a screen."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM.is_file(), f"{CHROMIUM} is missing; install it: apt install chromium"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=[
                *("--no-sandbox", "--disable-gpu"),
                # A camera and a microphone that are made up.
                *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
            ],
        )
        yield found
        found.close()
