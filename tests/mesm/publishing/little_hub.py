"""A server on this machine that speaks the few calls of the hub that publishing makes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_" + "x" * 34
SHA = "5" * 40


@dataclass
class LittleHub:
    """Models by their names, and what was asked.

    Attributes:
        url: its address.
        models: files by name, per model.
        private: whether a model was made so.
        calls: method and path of each call.
        fail: answers to calls by a part of their path, (status, text).
    """

    url: str = ""
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    fail: dict[str, tuple[int, str]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    hub: LittleHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, value: Any = None, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _begin(self) -> bytes | None:
        """The body; None: the call was answered already."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.calls.append(f"{self.command} {self.path}")
        for part, (status, text) in self.hub.fail.items():
            if part in self.path:
                self._answer(status, {"error": text}, X_Error_Message=text)
                return None
        writes = self.command != "GET" and self.command != "HEAD" and "/lfs/" not in self.path
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
            return None
        return body

    def do_POST(self) -> None:
        body = self._begin()
        if body is None:
            return
        models = self.hub.models
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in models:
                self._answer(409, {"error": "exists", "url": f"{self.hub.url}/{name}"})
                return
            models[name] = {}
            self.hub.private[name] = asked.get("visibility") == "private"
            self._answer(200, {"url": f"{self.hub.url}/{name}"})
        elif self.path == "/api/validate-yaml":
            head = json.loads(body)["content"].split("---\n")[1]
            right = isinstance(yaml.safe_load(head), dict)
            self._answer(200 if right else 400, {"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = [
                {
                    "path": one["path"],
                    # As the hub's .gitattributes has it.
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif self.path.endswith("/commit/main"):
            name = self.path.removeprefix("/api/models/").removesuffix("/commit/main")
            for line in body.decode().splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    assert value["encoding"] == "base64"
                    models[name][value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    models[name][value["path"]] = self.hub.objects[value["oid"]]
            address = f"{self.hub.url}/{name}/commit/{SHA}"
            self._answer(200, {"commitUrl": address, "commitOid": SHA})
        else:
            self._answer(404, {"error": self.path})

    def do_PUT(self) -> None:
        body = self._begin()
        if body is not None:
            oid = self.path.removeprefix("/lfs/")
            right = hashlib.sha256(body).hexdigest() == oid
            self.hub.objects[oid] = body
            self._answer(200 if right else 400, {})

    def do_GET(self) -> None:
        if self._begin() is None:
            return
        if self.path.startswith("/api/models/"):
            name = "/".join(self.path.split("/")[3:5])
            if name not in self.hub.models:
                message = "Repository not found"
                self._answer(404, {"error": message}, X_Error_Code="RepoNotFound")
            elif "/tree/" in self.path:
                files = self.hub.models[name].items()
                tree = [
                    {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
                    for path, data in files
                ]
                self._answer(200, tree)
            else:
                siblings = [{"rfilename": path} for path in self.hub.models[name]]
                about = {"id": name, "sha": SHA, "private": self.hub.private[name]}
                self._answer(200, about | {"siblings": siblings})
            return
        user, model, _, _, path = self.path.lstrip("/").split("/", 4)
        data = self.hub.models[f"{user}/{model}"][path]
        self._answer(200, data, ETag=f'"{_blob(data)}"', X_Repo_Commit=SHA)

    do_HEAD = do_GET


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def little_hub() -> Iterator[LittleHub]:
    """A server that ends with the block."""
    hub = LittleHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
