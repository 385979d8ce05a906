"""The page's server: on this machine alone unless told otherwise, and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.routing import Mount

from mesm.web.desk import Desk
from mesm.web.examples import find_examples
from mesm.web.guard import LOCAL, Guard
from mesm.web.limits import Limits
from mesm.web.page import build
from mesm.web.studio import Studio

PORT = 7860
# Ports that are tried where none is named and the first is taken.
PORTS = 20
_STYLE = Path(__file__).with_name("style.css")
# Gradio's frame around the page, which rules of `css` for some widths do not reach.
_PHONE = (
    "<style>@media (max-width: 700px) { .gradio-container, .gradio-container > .main "
    "{ padding: 6px !important; } }</style>"
)
_SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
_MONO = ("ui-monospace", "Menlo", "Consolas", "Liberation Mono", "monospace")


@dataclass(frozen=True)
class Request:
    """All that `mesm serve` was asked for.

    Attributes:
        run: folder of a run or of a published model, or "hub:USER/NAME".
        dense: an FE2E run to stand beside; None: none.
        examples: folder of recordings or of a raw miniature corpus; None: as found by the run.
        host: address that is listened on.
        port: None: the first free one from 7860 on; 0: any.
        limits: of uploads.
        device: as of `Pipeline.from_pretrained`.
        browse: whether a browser is opened, where there is a screen.
        mtcnn: as of `Pipeline.from_pretrained`.
        transcribe: folder of a speech-recognition model; None: nothing is transcribed.
    """

    run: Path | str
    dense: Path | str | None = None
    examples: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    limits: Limits = field(default_factory=Limits)
    device: str | None = None
    browse: bool = False
    mtcnn: Path | None = None
    transcribe: Path | None = None

    @property
    def local(self) -> bool:
        """Whether nobody but this machine is listened to."""
        return self.host in ("127.0.0.1", "localhost", "::1")


def serve(request: Request, show: Callable[[str], object]) -> None:
    """Serve the page until it is interrupted.

    Args:
        request: what is wanted.
        show: is told what stands on the screen, the address among it.

    Raises:
        ValueError: a run, a folder or the address cannot be used; nothing is served.
    """
    with closing(listen(request.host, request.port)) as listening:
        with opened(request) as opening:
            address, port = listening.getsockname()[:2]
            name = f"[{address}]" if ":" in address else address
            if not request.local:
                show(
                    f"warning: --host {request.host} lets everybody who reaches this machine use "
                    "the page, without a password and unencrypted"
                )
            show(f"open http://{name}:{port} in a browser; Ctrl-C ends it")
            # The socket listens already, so the browser waits for the server.
            if request.browse and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
                webbrowser.open(f"http://{name}:{port}")
            # Where Ctrl-C is heard, the server raises it again once it is down.
            with suppress(KeyboardInterrupt), _ended_by_signals():
                Server(opening).run(sockets=[listening])
        show("ended; all uploads are deleted")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have a process that is told to end, or whose terminal is closed, tidy up before."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, end) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens, before anything is loaded.

    Raises:
        ValueError: the address cannot be used; says which and the mend.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tried = range(PORT, PORT + PORTS) if port is None else [port]
    for number in tried:
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, number))
            found.listen(128)
        except (OSError, OverflowError) as error:
            found.close()
            why = getattr(error, "strerror", None) or str(error)
            if port is not None or number == tried[-1]:
                raise ValueError(
                    f"cannot listen on {host}, port {number} ({why}); name another with --port, or "
                    "leave --host out"
                ) from error
            continue
        return found
    raise AssertionError("there is a port to try")


class Opened(NamedTuple):
    """The page as an ASGI application, and what tells its open connections to end."""

    app: Guard
    ended: asyncio.Event


class Server(uvicorn.Server):
    """Serves the page; where it ends, pages that are still open keep it from nothing."""

    def __init__(self, opening: Opened) -> None:
        settings = {"log_level": "warning", "ws": "none", "timeout_graceful_shutdown": 3}
        super().__init__(uvicorn.Config(opening.app, **settings))  # type: ignore[arg-type]
        self.ended = opening.ended

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all connections."""
        self.ended.set()
        await super().shutdown(sockets)


@contextmanager
def opened(request: Request) -> Iterator[Opened]:
    """Load the models and lay the page out; its uploads are deleted in the end.

    Raises:
        ValueError: a run or a folder cannot be used.
    """
    studio = Studio.load(
        *(request.run, request.dense, request.limits),
        *(request.device, request.mtcnn, request.transcribe),
    )
    with tempfile.TemporaryDirectory(prefix="mesm-serve-") as place:
        uploads = Path(place) / "uploads"
        uploads.mkdir()
        examples = find_examples(
            *(studio.pipeline.trained, request.examples, Path(place) / "examples"), request.limits
        )
        with _offline(uploads):
            desk = Desk(uploads)
            blocks = build(studio, desk, examples)
            app = gr.mount_gradio_app(
                *(FastAPI(openapi_url=None), blocks, "/"),
                footer_links=[],
                run_history=False,
                show_error=True,
                max_file_size=request.limits.bytes,
                ssr_mode=False,
                enable_monitoring=False,
                pwa=False,
                mcp_server=False,
                theme=_theme(),
                head=_PHONE,
                css=_STYLE.read_text(encoding="utf-8"),
            )
            # Without it gradio takes files that were not uploaded.
            blocks.has_launched = True
            try:
                mounted: Any = next(r.app for r in app.routes if isinstance(r, Mount))
                guard = Guard(app, desk, request.limits, LOCAL if request.local else None)
                with desk.swept():
                    yield Opened(guard, mounted.stop_event)
            finally:
                desk.close()


@contextmanager
def _offline(uploads: Path) -> Iterator[None]:
    """Have gradio keep uploads in a folder, and ask nobody about versions or statistics."""
    wanted = {
        "GRADIO_TEMP_DIR": str(uploads),
        "GRADIO_EXAMPLES_CACHE": str(uploads),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _theme() -> gr.themes.Base:
    """Fonts of the system: gradio's own come from elsewhere."""
    return gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=_SYSTEM, font_mono=_MONO)
