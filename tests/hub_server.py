"""A hub of our own on this machine: the few endpoints that a download needs, real HTTP, and the ways in which it can go wrong."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from engine import hub as engine_hub
from engine.hub import HubError, Progress
from tests import folders

NAME = "someone/tiny-mdlm"
MAIN = "model.safetensors"

LARGE = 10_000
"""Files from this size on lie behind a redirect, with a SHA-256, as the hub's large files do."""


def digest(data: bytes) -> str:
    """The name of a file's bytes on the hub."""
    return hashlib.sha256(data).hexdigest() if len(data) >= LARGE else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    url: str = ""
    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """Name -> commit -> file -> bytes."""
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name -> branch -> commit."""
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Name -> the status and the X-Error-Code with which everything about it is answered."""
    files_answer: int = 0
    """A status with which every file is answered; 0: as it should be."""
    breaks: list[int] = field(default_factory=list)
    """Bytes after which the next answers with a large file break off, one after the other."""
    ranges: bool = True
    """Whether a part of a file can be asked for."""
    spoil: bool = False
    """Whether large files arrive with a wrong byte."""
    gate: threading.Event | None = None
    """Large files stop in the middle until it is set."""
    waiting: threading.Event = field(default_factory=threading.Event)
    """Set when a file has stopped at the gate."""
    held: int = 0
    """Files that wait at the gate."""
    listing: Any = None
    """What is answered in place of every listing."""
    block_page: bytes = b""
    """What is answered, with 200, in place of every large file that nothing of has been said to break off."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every request."""

    def publish(self, name: str, folder: Path, branch: str = "main") -> str:
        """Put a folder's files up as a new commit of a model; the commit."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        commits = self.repos.setdefault(name, {})
        commit = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[commit] = files
        self.refs.setdefault(name, {})[branch] = commit
        return commit

    def fetched(self, name: str = "") -> list[tuple[str, str]]:
        """File and Range of every GET of a model's file so far (of the redirect, where there is one)."""
        found = [(re.search(r"/resolve/\w+/(.+)", path), span) for method, path, span in self.asked if method == "GET" and name in path]
        return [(match[1], span) for match, span in found if match]


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("Range", "")))
            if match := re.fullmatch(r"/api/models/(.+?)(?:/revision/(.+))?", path):
                self.list(match[1], match[2] or "main")
            elif match := re.fullmatch(r"/(.+)/resolve/(\w+)/([^/]+)", path):
                self.resolve(match[1], match[2], match[3])
            elif match := re.fullmatch(r"/cdn/(\w+)", path):
                data = next(
                    d for commits in hub.repos.values() for files in commits.values() for d in files.values() if digest(d) == match[1]
                )
                self.send(data)
            else:
                self.plain(404, b"", {"X-Error-Code": "EntryNotFound"})

        def plain(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def list(self, name: str, revision: str) -> None:
            if hub.listing is not None:
                self.plain(200, json.dumps(hub.listing).encode(), {"Content-Type": "application/json"})
            elif name in hub.answers:
                status, code = hub.answers[name]
                self.plain(status, b"{}", {"X-Error-Code": code} if code else {})
            elif name not in hub.repos:
                self.plain(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif (commit := hub.refs[name].get(revision, revision)) not in hub.repos[name]:
                self.plain(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            else:
                siblings = []
                for file, data in hub.repos[name][commit].items():
                    entry: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": digest(data)}
                    if len(data) >= LARGE:
                        entry |= {"blobId": "0" * 40, "lfs": {"sha256": digest(data), "size": len(data), "pointerSize": 134}}
                    siblings.append(entry)
                answer = {"id": name, "sha": commit, "siblings": siblings}
                self.plain(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def resolve(self, name: str, commit: str, file: str) -> None:
            data = hub.repos.get(name, {}).get(commit, {}).get(file)
            if hub.files_answer:
                self.plain(hub.files_answer, b"", {})
            elif data is None:
                self.plain(404, b"", {"X-Error-Code": "EntryNotFound"})
            elif len(data) >= LARGE:
                self.plain(302, b"", {"Location": f"{hub.url}/cdn/{digest(data)}"})
            else:
                self.send(data)

        def send(self, data: bytes) -> None:
            if hub.block_page and len(data) >= LARGE and not hub.breaks:
                return self.plain(200, hub.block_page, {})
            begin = 0
            if hub.ranges and (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
                begin = int(match[1])
            if begin >= len(data) > 0:
                return self.plain(416, b"", {})
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(data) - begin))
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            rest = data[begin:]
            if len(data) < LARGE:
                self.wfile.write(rest)
                return None
            if hub.spoil:
                rest = rest[:-1] + bytes([rest[-1] ^ 1])
            if hub.breaks:
                self.wfile.write(rest[: hub.breaks.pop(0)])
                self.close_connection = True
                return None
            if hub.gate is not None:
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                rest = rest[len(rest) // 2 :]
                hub.held += 1
                hub.waiting.set()
                hub.gate.wait(30)
                hub.held -= 1
            try:
                self.wfile.write(rest)
            except OSError:  # the reader has gone
                self.close_connection = True
            return None

    return Handler


@contextmanager
def running() -> Iterator[Hub]:
    """A server on a port of its own."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        if hub.gate is not None:
            hub.gate.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, an empty cache, and the network switched on."""
    with running() as it:
        monkeypatch.setenv("HF_ENDPOINT", it.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield it


@pytest.fixture
def published(server: Hub, tmp_path: Path) -> Path:
    """A model on the hub, with much around it that nobody needs."""
    folder = folders.mdlm(tmp_path / "made")
    for name in (
        "README.md",
        "pytorch_model.bin",
        "modeling_mdlm.py",
        "training_args.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "generation_config.json",
    ):
        (folder / name).write_text(name)
    server.publish(NAME, folder)
    return folder


def fetch(name: str = NAME, revision: str | None = None) -> list[Progress]:
    return list(engine_hub.download(name, revision))


def refused(name: str = NAME, revision: str | None = None) -> str:
    with pytest.raises(HubError) as caught:
        fetch(name, revision)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and len(said) < 500
    return said


def partials(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.incomplete"))
