"""A hub whose certificate nobody here trusts, as behind a proxy that reads along: said so, and what mends it mends it."""

# ruff: noqa: F811 - fixtures are imported, and named again by the tests that take them

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.hub import fetching
from tests.hub_server import NAME, Hub, handler, published, refused, server  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
PAIR = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXJWAL4/xauSNrX0B
GJZlsRjqFHt+529WB2jUAIQlxZ2hRANCAAQPAThgcv6Fai20tyvmrwo/TurvEd/D
ju4E+HBvRhZ0Mp5jhgNv+3atKHuO29oWYEk3+aZKwjwilJ1KPWOY7Hd/
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBjzCCATagAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABA8BOGBy/oVqLbS3
K+avCj9O6u8R38OO7gT4cG9GFnQynmOGA2/7dq0oe47b2hZgSTf5pkrCPCKUnUo9
Y5jsd3+jdzB1MBIGA1UdEwEB/wQIMAYBAf8CAQAwDgYDVR0PAQH/BAQDAgKEMA8G
A1UdEQQIMAaHBH8AAAEwHQYDVR0OBBYEFMgDEmzvm2C57hxKd6fZFMTbAAL3MB8G
A1UdIwQYMBaAFMgDEmzvm2C57hxKd6fZFMTbAAL3MAoGCCqGSM49BAMCA0cAMEQC
IGV26MWy0J/xHtKFKjeHvJQGBJhyI7dmT+KdAxH7CzfmAiB2ejKu/eA1vFQsk/er
88TaAlEkX+bSaWDA6m797obgpg==
-----END CERTIFICATE-----
"""
"""A key and its own certificate, for 127.0.0.1 and these tests alone: it protects nothing."""


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    (file := tmp_path / "pair.pem").write_text(PAIR)
    return file


@pytest.fixture
def secure(server: Hub, published: Path, pair: Path) -> Iterator[str]:
    """The address of the same hub over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler(server))
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that hangs up is what is tested
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def test_a_hub_whose_certificate_is_not_trusted_is_one_sentence(secure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", secure)
    said = refused()
    assert "the hub can't be reached, for its certificate is not trusted (self" in said and "SSL_CERT_FILE" in said


def test_a_file_behind_such_a_certificate_is_one_sentence(server: Hub, secure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TRIES", 1)
    server.url = secure  # where large files lie
    assert "breaks off while model.safetensors is fetched (a certificate is not trusted: self" in refused()


def test_the_variable_that_is_named_mends_it(secure: str, pair: Path, tmp_path: Path) -> None:
    changes = {"HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_ENDPOINT": secure, "SSL_CERT_FILE": str(pair)}
    command = [sys.executable, "launch.py", "download", NAME]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | changes | {"LACUNA_PYTHON": "this"}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, f"{NAME} is on this machine.\n")
