"""One file of the hub into the cache: fetched once whoever asks, gone on with after a break, checked against its digest."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TRIES = 5
"""Attempts without a new byte before the connection is given up."""
TIMEOUT = 10.0
"""Seconds without an answer that end an attempt."""


class HubError(ValueError):
    """A model can't be found or fetched; the message is one sentence for the user."""


class Stopped(Exception):
    """The download was cancelled; what has come is kept."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One file of a commit."""

    url: str
    name: str
    size: int
    digest: str
    """SHA-256 for large files, git's SHA-1 for small ones; also its name among the blobs."""
    home: Path
    """The model's folder in the cache."""
    commit: str

    @property
    def blob(self) -> Path:
        """Where its bytes go."""
        return self.home / "blobs" / self.digest

    @property
    def partial(self) -> Path:
        """Where they wait until all of them are there."""
        return self.home / "blobs" / f"{self.digest}.incomplete"

    @property
    def link(self) -> Path:
        """Where the snapshot shows the file."""
        return self.home / "snapshots" / self.commit / self.name

    @property
    def whole(self) -> bool:
        """Whether all of it is here: as a blob or, where the system has no links, in the snapshot itself."""
        if self.blob.exists():
            return True
        with suppress(OSError):
            return not self.link.is_symlink() and self.link.stat().st_size == self.size
        return False

    @property
    def here(self) -> int:
        """Bytes that have come so far, whoever fetches them."""
        if self.whole:
            return self.size
        with suppress(OSError):
            return min(self.size, self.partial.stat().st_size)
        return 0


def fetch(file: Remote, stop: threading.Event) -> None:
    """Bring a file into the cache and its snapshot; HubError with a sentence, Stopped when `stop` is set."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    # The lock that the hub's own tools take: other programs wait for this download, and this one for theirs.
    lock = file.home.parent / ".locks" / file.home.name / f"{file.digest}.lock"
    for folder in (lock.parent, file.blob.parent, file.link.parent):
        folder.mkdir(parents=True, exist_ok=True)
    while not (file.whole and os.path.lexists(file.link)):
        _heed(stop)
        try:
            with WeakFileLock(lock, timeout=0.25):
                if own := not file.whole:
                    _fill(file, stop)
                _show(file, own=own)
        except Timeout:
            continue


def _heed(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped


def _fill(file: Remote, stop: threading.Event) -> None:
    import httpx2

    tries = 0
    while (have := file.here) < file.size:
        _heed(stop)
        try:
            _stream(file, have, stop)
            if file.here <= have:
                raise httpx2.ReadError("an answer without a new byte")
        except (httpx2.TransportError, httpx2.StreamError) as error:
            tries = 0 if file.here > have else tries + 1
            if tries == TRIES:
                why = f" (a certificate is not trusted: {distrusted})" if (distrusted := distrust(error)) else ""
                raise HubError(
                    f"The connection breaks off while {file.name} is fetched{why}; start again, and it goes on where it was."
                ) from error
            stop.wait(0.1 * 2**tries)
    if not file.partial.exists():
        file.partial.touch()  # a file of no bytes
    if not _is_right(file):
        file.partial.unlink()
        raise HubError(f"{file.name} did not arrive as the hub describes it; start again.")
    os.replace(file.partial, file.blob)


def distrust(error: BaseException) -> str:
    """What is wrong with a server's certificate, when that is why a connection failed; empty otherwise."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, ssl.SSLCertVerificationError):
            return " ".join((getattr(one, "verify_message", "") or str(one)).split())
        one = one.__cause__ or one.__context__
    return ""


def _stream(file: Remote, have: int, stop: threading.Event) -> None:
    """Ask for what is missing and write it behind what is there."""
    import httpx2
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(library_name="lacuna") | {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", file.url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        if response.status_code == 416 or response.status_code in (408, 429) or response.status_code >= 500:
            raise httpx2.ReadError(f"status {response.status_code}", request=response.request)
        hf_raise_for_status(response)
        goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status_code != 206 and response.headers.get("Content-Length") not in (None, str(file.size)):
            raise httpx2.ReadError("another file than was asked for", request=response.request)  # what has come is kept
        with file.partial.open("ab" if goes_on else "wb") as out:
            for piece in response.iter_bytes():
                out.write(piece)
                out.flush()  # others count the bytes that have come, and a killed process loses none
                _heed(stop)
                if out.tell() > file.size:
                    break
        if file.partial.stat().st_size > file.size:
            file.partial.unlink()
            raise HubError(f"{file.name} is longer than the hub says; start again.")


def _is_right(file: Remote) -> bool:
    """Whether the digest is that of the bytes; a hub with digests of another kind is believed."""
    if re.fullmatch(r"[0-9a-f]{64}", file.digest):
        made = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", file.digest):
        made = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    else:
        return True
    with file.partial.open("rb") as stream:
        while piece := stream.read(2**20):
            made.update(piece)
    return made.hexdigest() == file.digest


def _show(file: Remote, *, own: bool) -> None:
    """Put the file into its snapshot: a link to the blob; where the system has no links the file itself if it has just come, so that it
    is on disk once, and else a copy, for other snapshots may show the blob (huggingface_hub does the same).
    """
    if os.path.lexists(file.link):
        return
    try:
        file.link.symlink_to(Path("..", "..", "blobs", file.digest))
    except FileExistsError:
        pass
    except OSError:
        if own:
            os.replace(file.blob, file.link)
            return
        partial = file.link.with_name(f"{file.link.name}.{os.getpid()}.part")
        shutil.copyfile(file.blob, partial)
        os.replace(partial, file.link)
