"""Requests that no page makes: for others' files, by other names, too long; each is refused."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Iterator, MutableMapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mesm.web.desk import Desk
from mesm.web.guard import LOCAL, POLICY, UPLOAD, Guard, Receive, Scope, Send
from mesm.web.limits import Limits
from tests.mesm.web.conftest import Served

BORDER = "border"
HEAD = {"Content-Type": f"multipart/form-data; boundary={BORDER}"}


def ask(
    served: Served,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), dict(answer.getheaders())
    finally:
        connection.close()


def form(name: str, content: bytes) -> bytes:
    head = f'--{BORDER}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BORDER}--\r\n".encode()


def upload(served: Served, name: str, content: bytes) -> Path:
    status, text, _ = ask(served, "POST", "/gradio_api/upload", form(name, content), HEAD)
    assert status == 200
    return Path(json.loads(text)[0])


def join(served: Served, path: object) -> tuple[int, str]:
    """Ask for the prediction of a file, as the page would."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {
        "data": [file, None, "", None, 0.5, "every block", None],
        "fn_index": 0,
        "session_hash": "x",
    }
    asked = json.dumps(body).encode()
    return ask(
        served, "POST", "/gradio_api/queue/join", asked, {"Content-Type": "application/json"}
    )[:2]


def test_the_page_comes_with_a_policy_that_loads_nothing_from_elsewhere(served: Served) -> None:
    status, text, headers = ask(served, "GET", "/")
    assert status == 200
    assert headers["content-security-policy"] == POLICY
    assert "http" not in POLICY
    assert "fonts.g" not in text
    assert "frame-ancestors 'none'" in POLICY


def test_files_of_the_machine_cannot_be_read(served: Served, films: Path) -> None:
    own = upload(served, "own.txt", b"mine")
    assert served.desk.owns(own)
    assert ask(served, "GET", f"/gradio_api/file={own}")[:2] == (200, "mine")
    link = served.desk.uploads / "link.txt"
    link.symlink_to("/etc/passwd")
    above = os.path.relpath("/etc/passwd", served.desk.uploads)
    for place in (
        *("/etc/passwd", "//etc/passwd", str(films / "clips.csv"), "clips.csv", ".", ""),
        *(f"{served.desk.uploads}/{above}", str(link), str(served.desk.uploads)),
        *("pyproject.toml", "http://127.0.0.1:1/x", "https://example.org/x", "file:///etc/passwd"),
        *(quote("/etc/passwd", safe=""), quote(f"{own}/../../{above}", safe=""), "/etc/%00passwd"),
        str(served.desk.uploads.parent / "examples" / "example-1.mp4"),
        str(served.desk.uploads / ("a" * 300)),
    ):
        status, text, _ = ask(served, "GET", f"/gradio_api/file={place}")
        assert status == 403, place
        assert "root:" not in text
    link.unlink()
    for path in ("/static/../../../../etc/passwd", "/assets/..%2f..%2f..%2fetc/passwd"):
        assert ask(served, "GET", path)[0] in (403, 404)


def test_files_that_were_not_uploaded_cannot_be_asked_about(served: Served) -> None:
    for place in ("/etc/passwd", "http://example.org/film.mp4", 7, ["/etc/passwd"]):
        status, text = join(served, place)
        assert status == 403
        assert "upload it again" in text
    assert not list(served.desk.uploads.rglob("passwd*"))
    assert served.outgoing == []


def test_a_name_cannot_lead_out_of_the_uploads(served: Served) -> None:
    file = upload(served, "../../../outside.mp4", b"x")
    assert file.resolve().is_relative_to(served.desk.uploads.resolve())


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/deep_link",
        "/gradio_api/openapi.json",
        "/gradio_api/run/read",
        "/gradio_api/call/read",
        "/gradio_api/mcp",
        "/monitoring",
        "/docs",
        "/gradio_api/vibe-code",
        "/gradio_api/file/etc/passwd",
    ],
)
def test_what_the_page_does_not_use_is_not_there(served: Served, path: str) -> None:
    assert ask(served, "GET", path)[0] == 404
    assert ask(served, "POST", path, b"{}")[0] == 404


def test_other_names_and_other_pages_are_refused(served: Served) -> None:
    assert ask(served, "GET", "/", headers={"Host": "evil.example"})[0] == 421
    assert ask(served, "GET", "/", headers={"Host": f"localhost:{served.port}"})[0] == 200
    body, elsewhere = form("a.mp4", b"x"), {"Origin": "https://evil.example"}
    assert ask(served, "POST", "/gradio_api/upload", body, HEAD | elsewhere)[0] == 403
    own = {"Origin": served.address}
    assert ask(served, "POST", "/gradio_api/upload", body, HEAD | own)[0] == 200
    assert ask(served, "DELETE", "/")[0] == 404


def test_too_much_is_refused(served: Served) -> None:
    status, text, _ = ask(served, "POST", "/gradio_api/upload", form("a", bytes(2_100_000)), HEAD)
    assert status == 413
    assert "maximum allowed size" in text
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Length", str(10**10))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "wanted at most 2" in answer.read().decode()
    connection.close()
    chunked = HEAD | {"Transfer-Encoding": "chunked"}
    assert ask(served, "POST", "/gradio_api/upload", None, chunked)[0] == 411
    for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
        both = HEAD | {"Transfer-Encoding": "chunked", "Content-Length": "5"}
        assert ask(served, "POST", path, b"5\r\nhello\r\n0\r\n\r\n", both)[0] == 411
    long = {"Content-Length": str(10**8)}
    assert ask(served, "POST", "/gradio_api/queue/join", b"", long)[0] == 413
    assert ask(served, "POST", "/gradio_api/queue/join", b"no json")[0] == 400
    status, text, _ = ask(served, "POST", "/gradio_api/queue/join", b"[" * 200_000)
    assert status == 400
    assert "lists inside each other" in text


class Asked:
    """A guard before a server of its own, which notes what reaches it."""

    def __init__(self, uploads: Path, hosts: tuple[str, ...] | None = LOCAL) -> None:
        self.guard = Guard(self.serve, Desk(uploads), Limits(1), hosts)
        self.got: list[bytes] = []
        self.gone = False

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            self.gone = message["type"] == "http.disconnect"
            if self.gone:
                return
            self.got.append(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(
        self, path: str, headers: dict[str, str], parts: Iterable[bytes], method: str = "POST"
    ) -> int | None:
        """The status that is answered; None: none is."""
        sent: list[Any] = []
        bodies = list(parts)

        async def receive() -> MutableMapping[str, Any]:
            await asyncio.sleep(0)
            body = bodies.pop(0) if bodies else b""
            return {"type": "http.request", "body": body, "more_body": bool(bodies)}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path}
        encoded = [(k.encode(), v.encode()) for k, v in headers.items()]
        await self.guard(scope | {"headers": encoded}, receive, send)
        return sent[0]["status"] if sent else None


def test_no_more_is_received_than_was_told(tmp_path: Path) -> None:
    for path in (UPLOAD, "/gradio_api/reset"):
        asked = Asked(tmp_path)
        head = {"host": "localhost", "content-length": "5"}
        assert asyncio.run(asked.ask(path, head, [b"abc", b"de"])) == 200
        assert asyncio.run(asked.ask(path, head, [b"abc", b"def", b"ghi"])) is None
        assert asked.gone
        assert b"def" not in asked.got
    join = asked.ask("/gradio_api/queue/join", head, [b"[1, 2", b"]" * 10])
    assert asyncio.run(join) == 400


def test_uploads_on_their_way_take_room_together(tmp_path: Path) -> None:
    asked = Asked(tmp_path)
    head = {"host": "localhost", "content-length": "900000"}

    async def all_at_once() -> list[int | None]:
        bodies = [[bytes(450_000)] * 2 for _ in range(30)]
        return list(await asyncio.gather(*(asked.ask(UPLOAD, head, one) for one in bodies)))

    found = asyncio.run(all_at_once())
    assert found.count(200) == 11  # of ten megabytes
    assert found.count(507) == 19
    assert asyncio.run(asked.ask(UPLOAD, head, [bytes(900_000)])) == 200


def test_where_every_name_counts_a_page_asks_by_its_own(tmp_path: Path) -> None:
    asked = Asked(tmp_path, None)
    for origin, status in (
        (None, 200),
        ("http://box.lan:7860", 200),
        ("https://evil.example", 403),
        ("null", 403),
    ):
        head = {"host": "box.lan:7860", "content-length": "1"}
        if origin is not None:
            head["origin"] = origin
        assert asyncio.run(asked.ask(UPLOAD, head, [b"x"])) == status, origin


@pytest.fixture
def no_room(served: Served) -> Iterator[Path]:
    """A file that takes all the room for uploads."""
    full = served.desk.uploads / "full.bin"
    with full.open("wb") as file:
        file.truncate(20_000_000)
    yield full
    full.unlink(missing_ok=True)


@pytest.mark.parametrize("size", [1, 1_900_000])
def test_uploads_do_not_fill_the_disk(served: Served, no_room: Path, size: int) -> None:
    for _ in range(20):  # the answer is read however much was on its way
        status, text, _ = ask(served, "POST", "/gradio_api/upload", form("a", bytes(size)), HEAD)
        assert status == 507
        assert "try again" in text
    no_room.unlink()
    assert ask(served, "POST", "/gradio_api/upload", form("a", bytes(size)), HEAD)[0] == 200
