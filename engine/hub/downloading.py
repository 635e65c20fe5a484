"""A published model's files into the hub's cache: those it needs, all of one commit, and a sentence for what goes wrong. No torch."""

from __future__ import annotations

import errno
import os
import re
import shutil
import ssl
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.hub import installed
from engine.hub.families import FAMILIES, GPT2, kind_of, obstacle, supported
from engine.hub.fetching import TIMEOUT, HubError, Remote, Stopped, distrust, fetch
from engine.hub.installed import CONFIG, INDEX, TOKENIZER_FILES, WEIGHTS

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

SMALL_FILES = TOKENIZER_FILES | {
    CONFIG, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json",
}  # fmt: skip
"""What is fetched beside the weights."""
PROXIES = ("http", "https", "socks5", "socks5h")
"""The kinds of proxies that the library of the network knows."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is, in bytes over all of the model's files."""

    done: int
    total: int
    """0 until the hub has said what there is."""
    file: str
    """The file in hand."""


def vocabulary(*, fetch_it: bool = False) -> Path | None:
    """The folder of GPT-2's tokenizer, which MDLM's relatives use without bringing it; None when it isn't on this machine.

    `fetch_it`: try to download it then, which is 1.5 MB; what goes wrong is left for the model to say when it shall read a text.
    """
    folder = _with_vocabulary()
    if fetch_it and folder is None and not _offline():
        with suppress(HubError, *_not_there()), _sentences(GPT2, None):
            _fetch_vocabulary(threading.Event())
        folder = _with_vocabulary()
    return folder


def _with_vocabulary() -> Path | None:
    folder = installed.snapshot(GPT2)
    return folder if folder and all(installed.is_file(folder / name) for name in ("vocab.json", "merges.txt")) else None


def download(name: str, revision: str | None = None) -> Generator[Progress, None, None]:
    """Fetch a model's files into the cache; closing the iterator stops it, and the next call goes on where it was.

    The revision (a branch, tag or commit; main) is resolved to a commit once, and every file is that commit's. Yields a few times a
    second. HubError with a sentence, before any large file when the model can't be loaded anyway.
    """
    check(name, revision)
    with _sentences(name, revision):
        if _offline():
            if folder := installed.whole_snapshot(name, revision):
                yield Progress(size := installed.size(folder), size, "")
                return
            raise HubError(f"{name} is not whole on this machine, and the network is switched off (HF_HUB_OFFLINE).")
        yield from _Download(name, revision)


class _Download:
    """A download on a thread of its own, so that it can be left at any moment."""

    def __init__(self, name: str, revision: str | None) -> None:
        self._name, self._revision = name, revision
        self._stop = threading.Event()
        self._files: list[Remote] = []
        self._total, self._file = 0, ""
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Progress]:
        thread = threading.Thread(target=self._run, name=f"fetching {self._name}", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                yield self._progress()
                thread.join(0.2)
        finally:
            self._stop.set()
            thread.join(1.0)  # one that waits for a silent server ends by itself when its time is over
        if self._error is not None:
            raise self._error
        yield self._progress()

    def _progress(self) -> Progress:
        return Progress(sum(file.here for file in list(self._files)), self._total, self._file)

    def _run(self) -> None:
        try:
            files, config = self._open(self._name, self._revision)
            weights = self._weights(files)
            family = FAMILIES[kind_of(config)]
            wanted = [files[name] for name in sorted(SMALL_FILES & files.keys())] + weights
            if family.tokenizer and not TOKENIZER_FILES & files.keys() and vocabulary() is None:
                with suppress(HubError, *_not_there()):  # without it the model loads and can't read text, which it then says
                    self._file = "vocab.json"
                    _fetch_vocabulary(self._stop)
            unique = list({file.digest: file for file in wanted}.values())
            self._total, self._files = sum(file.size for file in unique), unique
            _check_disk(sum(file.size - file.here for file in unique), installed.home())
            for file in wanted:
                self._fetch(file)
            _refer(self._revision, files)
        except BaseException as error:
            self._error = error

    def _open(self, name: str, revision: str | None) -> tuple[dict[str, Remote], dict[str, Any]]:
        """A model's files by name, and its config, which is fetched first: a few kB say whether the rest is of use."""
        files = _listing(name, revision)
        if CONFIG not in files:
            raise HubError(f"{name} has no {CONFIG}, so it is no model that Lacuna can load; there are {supported()}.")
        self._fetch(files[CONFIG])
        config = installed.read_json(files[CONFIG].link)
        if why := obstacle(name, config):
            raise HubError(why)
        return files, config

    def _weights(self, files: dict[str, Remote]) -> list[Remote]:
        if WEIGHTS in files:
            return [files[WEIGHTS]]
        if INDEX in files:
            self._fetch(files[INDEX])
            shards = installed.shards_of(files[INDEX].link)
            if shards and shards <= files.keys():
                return [files[INDEX], *(files[shard] for shard in sorted(shards))]
            raise HubError(f"The index of {self._name} names weights that it does not have; tell its makers, or try another revision.")
        pickles = installed.pickles_in(files)
        if pickles:
            raise HubError(
                f"{self._name} has its weights in {pickles[0]} only, a kind of file that can run code and is never fetched: find a "
                f"revision with {WEIGHTS}, or convert it yourself with safetensors.torch.save_file and load the folder."
            )
        raise HubError(f"{self._name} has no {WEIGHTS}, so there is nothing to load.")

    def _fetch(self, file: Remote) -> None:
        self._file = file.name
        fetch(file, self._stop)


def _refer(revision: str | None, files: dict[str, Remote]) -> None:
    """Note which commit a branch stood for, so that it is found without the network; last, when everything is there."""
    file = next(iter(files.values()))
    if revision != file.commit:
        ref = file.home / "refs" / (revision or "main")
        ref.parent.mkdir(parents=True, exist_ok=True)
        partial = ref.with_name(f"{ref.name}.{os.getpid()}.part")
        partial.write_text(file.commit, encoding="ascii")
        os.replace(partial, ref)


def _fetch_vocabulary(stop: threading.Event) -> None:
    files = _listing(GPT2, None)
    for name in ("vocab.json", "merges.txt"):
        fetch(files[name], stop)
    _refer(None, files)


def _listing(name: str, revision: str | None) -> dict[str, Remote]:
    """The files of a model at one commit, by name; those in folders are left out."""
    from huggingface_hub import HfApi, constants, hf_hub_url

    constants.HF_HUB_DISABLE_TELEMETRY = True
    info = HfApi(endpoint=_endpoint(), library_name="lacuna").model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT)
    if not info.sha or not installed.COMMIT.fullmatch(info.sha):
        raise HubError(f"The hub does not say which commit of {name} it means; try again later.")
    files = {}
    for file in info.siblings or []:
        digest = file.lfs.sha256 if file.lfs else file.blob_id
        if "/" in file.rfilename or "\\" in file.rfilename or file.size is None or not digest:
            continue
        if not re.fullmatch(r"[\w-][\w.-]{0,200}", file.rfilename, re.ASCII) or not re.fullmatch(r"[\w-]{8,128}", digest, re.ASCII):
            continue
        url = hf_hub_url(name, file.rfilename, revision=info.sha, endpoint=_endpoint())
        files[file.rfilename] = Remote(url, file.rfilename, file.size, digest, installed.home_of(name), info.sha)
    return files


def check(name: str, revision: str | None) -> None:
    """HubError for what can be no model's name, or no revision's."""
    if not installed.is_name(name):
        raise HubError(f"There is no model called {name[:200]!r}: give a folder, or a name on the hub like GSAI-ML/LLaDA-8B-Base.")
    if revision is not None and not installed.is_revision(revision):
        raise HubError(f"There can be no revision called {revision[:200]!r}; give a branch, a tag or a commit.")


def _check_disk(needed: int, home: Path) -> None:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise HubError(f"The download needs {needed / 1e9:.1f} GB on disk and {free / 1e9:.1f} GB are free in {there}; make room.")


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def _not_there() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError, KeyError)


@contextmanager
def _sentences(name: str, revision: str | None) -> Iterator[None]:
    """Turn what goes wrong on the way to the hub into one sentence each."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except Stopped:
        return
    except errors.GatedRepoError as error:
        said = f"{name} is given out on request only: ask for it on its page on the hub, then log in with `hf auth login`."
        raise HubError(said) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{name} has no revision {revision or 'main'!r} on the hub.") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"There is no model called {name!r} on this machine or on the hub; for a private one log in with `hf auth login`."
        ) from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise HubError(f"The hub does not give out {name} (it answers {code}); log in with `hf auth login`.") from error
        raise HubError(f"The hub does not answer as it should ({code}); try again later.") from error
    except (httpx2.RequestError, httpx2.StreamError, httpx2.InvalidURL, errors.OfflineModeIsEnabled) as error:
        raise HubError(_unreached(name, revision, distrust(error))) from error
    except ImportError as error:
        raise HubError(f"The network's proxy needs the package {error.name or 'socksio'}, which is not installed; use another.") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, HubError):
            raise
        raise HubError(_odd_proxy() or "The hub's answer makes no sense; try again later.") from error
    except OSError as error:
        certificates = os.environ.get("SSL_CERT_FILE")
        if certificates and not error.filename and isinstance(error, (ssl.SSLError, FileNotFoundError)):
            raise HubError(f"SSL_CERT_FILE names {certificates}, where no certificates can be read: mend it or unset it.") from error
        if error.errno == errno.ENOSPC:
            raise HubError(
                f"The disk is full: make room for {name} in {installed.home()}, and start again; it goes on where it was."
            ) from error
        raise HubError(f"{name} can't be written to {error.filename or installed.home()} ({error.strerror or error}).") from error


def _unreached(name: str, revision: str | None, distrusted: str) -> str:
    """The sentence for a hub that can't be reached; `distrusted`: what is wrong with its certificate, if that is why."""
    why = f"the hub can't be reached, for its certificate is not trusted ({distrusted})" if distrusted else "the hub can't be reached"
    if installed.whole_snapshot(name, revision):
        return f"{name} is on this machine; whether it is the newest can't be asked now, because {why}."
    cure = "check the name and the network, and start again"
    if distrusted:
        cure = "where a proxy or a virus scanner reads along, put the file of its certificate into the variable SSL_CERT_FILE"
    return f"{name} is no folder and no whole model on this machine, and {why}: {cure}."


def _odd_proxy() -> str:
    """The sentence for a variable with a proxy of a kind that nothing here speaks; empty when there is none."""
    for name, value in os.environ.items():
        kind, mark, _ = value.partition("://")
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy") and mark and kind.lower() not in PROXIES:
            return f"The variable {name} names a proxy of the kind {kind}://, which can't be used: unset it, or name one of http:// in it."
    return ""
