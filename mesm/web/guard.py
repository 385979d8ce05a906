"""Stands before the page's server: who may ask, for what, and how much they may send."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

from mesm.web.desk import Desk
from mesm.web.limits import MEGABYTE, MOST_UPLOADS, Limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# All that the page itself asks for; gradio's server would answer much more.
GETS = ("/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
FOLDERS = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/")
API_GETS = tuple(
    f"/gradio_api/{name}"
    for name in ("info", "queue/data", "upload_progress", "startup-events", "theme.css", "app_id")
)
API_POSTS = tuple(f"/gradio_api/{name}" for name in ("queue/join", "reset", "cancel"))
UPLOAD, FILE = "/gradio_api/upload", "/gradio_api/file="
LOCAL = ("127.0.0.1", "localhost", "[::1]")
# Letters of what is asked, a text of one megabyte among it, so that its refusal can be read.
MOST_ASKED = 8 * MEGABYTE
# Around an upload stand its name and its borders.
_AROUND = MEGABYTE
# More are no length, and take long to read.
_DIGITS = 20
# Seconds for which the rest of a refused request is waited for.
_PATIENCE = 10
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
}


class Guard:
    """Refuses what the page does not need, and has browsers load nothing from elsewhere.

    Args:
        app: gradio's server.
        desk: knows the uploads, which alone may be read.
        limits: of uploads.
        hosts: the names by which it may be called, so that no other page's name can be made to
            mean this machine; None: any, and a page may ask only by the name that it came from.
    """

    def __init__(
        self, app: App, desk: Desk, limits: Limits, hosts: tuple[str, ...] | None = LOCAL
    ) -> None:
        self.app, self.desk, self.limits, self.hosts = app, desk, limits, hosts
        # Uploads that are on their way.
        self._coming: set[_Body] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page opens no web socket
        refusal = self._refusal(scope)
        if refusal is None:
            receive = body = _Body(receive, _length(scope) or 0)
        if refusal is None and scope["path"] == "/gradio_api/queue/join":
            asked = await _whole(receive)
            refusal = self._about_question(asked)
            receive = _again(asked, receive)
        if refusal is not None:
            await self._refuse(receive, send, *refusal, plain=scope["path"] == UPLOAD)
            return

        async def add_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                kept = [h for h in message["headers"] if h[0].decode().lower() not in _HEADERS]
                added = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                if scope["path"].startswith(FILE):
                    added.append((b"cache-control", b"no-store"))
                message["headers"] = [*kept, *added]
            await send(message)

        # Nobody else is answered between the look at the room and this.
        if scope["path"] == UPLOAD:
            self._coming.add(body)
        try:
            await self.app(scope, receive, add_headers)
        finally:
            self._coming.discard(body)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = _headers(scope)
        host, origin = _name(headers.get("host", "")), headers.get("origin")
        if self.hosts is not None and host not in self.hosts:
            return 421, "this page is called by another name; open http://127.0.0.1"
        if origin is not None and _name(origin.partition("://")[2]) not in (self.hosts or (host,)):
            return 403, "another page asks; open this one itself"
        if "transfer-encoding" in headers:  # it would count more than the length that is said
            return 411, "say how long it is (Content-Length), and send it as it is, not in chunks"
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD"):
            return self._about_reading(path)
        if method != "POST" or path not in (*API_POSTS, UPLOAD):
            return 404, "there is no such thing here"
        length = _length(scope)
        if length is None:
            return 411, "say how long it is (Content-Length)"
        if path != UPLOAD:
            return (413, "that is too long") if length > MOST_ASKED else None
        if length > self.limits.bytes + _AROUND:
            return 413, (
                f"the file has {length / MEGABYTE:.0f} MB, wanted at most "
                f"{self.limits.megabytes}; cut it, or predict it with mesm predict"
            )
        self.desk.sweep()
        wanted = length + sum(body.left for body in self._coming)
        if self.desk.size() + wanted > MOST_UPLOADS * self.limits.bytes:
            return 507, (
                "all visitors' uploads, yours among them, take all the room; try again in some "
                "minutes"
            )
        if shutil.disk_usage(self.desk.uploads).free < wanted + _AROUND:
            return 507, (
                "this machine's disk is full; make room, or start mesm serve with TMPDIR=FOLDER on "
                "another disk"
            )
        return None

    async def _refuse(
        self, receive: Receive, send: Send, status: int, reason: str, *, plain: bool
    ) -> None:
        # The page shows the whole answer to an upload as it stands.
        text = (reason if plain else json.dumps({"error": reason, "detail": reason})).encode()
        kind = "text/plain; charset=utf-8" if plain else "application/json"
        headers = {"content-type": kind, "content-length": str(len(text))}
        headers["connection"] = "close"
        encoded = [(k.encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": text, "more_body": True})
        # A connection that is closed with something unread loses the answer on its way.
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await _pass_over(receive, self.limits.bytes + _AROUND)
        await send({"type": "http.response.body", "body": b""})

    def _about_reading(self, path: str) -> tuple[int, str] | None:
        if path.startswith(FILE):
            if self.desk.owns(path.removeprefix(FILE)):
                return None
            return 403, "only files that were uploaded here can be read"
        if path == "/" or path in GETS or path in API_GETS:
            return None
        if path.startswith(FOLDERS) and ".." not in path:
            return None
        return 404, "there is no such thing here"

    def _about_question(self, body: bytes) -> tuple[int, str] | None:
        """Refuse files that were not uploaded: gradio would read or fetch them."""
        try:
            asked = json.loads(body)
        except ValueError:
            return 400, "that is no JSON"
        except RecursionError:
            return 400, "that is JSON of too many lists inside each other"
        for place in _paths(asked):
            if not (isinstance(place, str) and self.desk.touch(place)):
                return 403, "only files that were uploaded here can be asked about; upload it again"
        return None


class _Body:
    """A request's body, received as far as its length was told.

    Attributes:
        left: bytes that are still to come.
    """

    def __init__(self, receive: Receive, length: int) -> None:
        self.receive, self.left = receive, length

    async def __call__(self) -> MutableMapping[str, Any]:
        """Receive a message; more than was told is as if the asker had gone."""
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            self.left = 0
            return {"type": "http.disconnect"}
        return message


def _headers(scope: Scope) -> dict[str, str]:
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}


def _length(scope: Scope) -> int | None:
    """How long a request's body is, by its header; None: it does not say so."""
    said = _headers(scope).get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < _DIGITS else None


def _paths(value: object) -> Iterator[object]:
    """Everything in JSON that is named as the place of a file."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if "path" in one and one["path"] is not None:
                yield one["path"]
            left += one.values()
        elif isinstance(one, list):
            left += one


def _name(host: str) -> str:
    """A host without its port."""
    host = host.lower().strip()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, then: Receive) -> Receive:
    """A body that was received, once more, and after it what else comes."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await then()

    return receive


async def _pass_over(receive: Receive, most: int) -> None:
    """Receive what is left of a request, but no more than some bytes."""
    while most > 0:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        most -= len(message.get("body", b""))
