"""`python launch.py` without a subcommand: serve the page, then load the model behind it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import os
import re
import socket
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import engine
from app import page
from app.service import Service

PORTS_TRIED = 50
MOST_WAITING = 256
"""Runs that wait for their turn; more are refused."""
CLOSING = 5.0
"""Seconds that the server has to close in; whoever ends the app waits for no more."""
WILDCARDS = ("0.0.0.0", "::")


def main(argv: list[str]) -> int:
    """Serve the page until interrupted; returns the exit status."""
    options = parser().parse_args(argv)
    try:
        port = free_port(options.host, options.port)
    except OSError as error:
        print(f"Lacuna can't listen on {options.host}: {error.strerror or error}; choose another --host or --port.")
        return 1
    if port != options.port:
        print(f"Port {options.port} is busy; drafts that the browser keeps under it are not seen under {port}.")
    service = Service(partial(engine.load, device=options.device, dtype=options.dtype), options.model, fixed=options.fixed_model)
    server = serve(service, options.host, port, options.allow_host)
    print(f"Lacuna is at {server.url}  (Ctrl+C ends it)", flush=True)
    service.start()
    if not options.no_browser:
        webbrowser.open(server.url)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    closing.join(CLOSING)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of the app."""
    options = argparse.ArgumentParser(prog="launch.py", description="Open Lacuna's page in the browser.")
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0: every network this machine is on)")
    options.add_argument("--port", type=port, default=7860, help="port to listen on; a busy one moves to the next")
    options.add_argument("--model", help="folder or hub name of a model (default: the embedded one)")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options.add_argument("--dtype", default="auto", choices=engine.DTYPES, help="int8 or int4 keep large models small")
    options.add_argument(
        "--allow-host",
        metavar="NAME",
        type=host_name,
        action="append",
        default=[],
        help="a name to answer to, too, behind a proxy or tunnel",
    )
    options.add_argument("--fixed-model", action="store_true", help="whoever opens the page can't choose or download models")
    options.add_argument("--no-browser", action="store_true", help="do not open the browser")
    return options


@dataclass(frozen=True)
class Server:
    """The page being served."""

    url: str
    blocks: gr.Blocks

    def close(self) -> None:
        """Stop serving."""
        self.blocks.close(verbose=False)


def serve(service: Service, host: str, port: int, also: Sequence[str] = ()) -> Server:
    """Start the server in the background; `also` are more names that it answers to."""
    blocks = page.build(service).queue(max_size=MOST_WAITING)
    blocks.launch(
        server_name=f"[{host}]" if ":" in host else host,  # Gradio makes an address of it, and takes the brackets off again
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        favicon_path=page.ASSETS / "icons" / "lacuna.svg",
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        head=page.HEAD,
        app_kwargs={
            "routes": page.routes(service),
            "middleware": [Middleware(KnownHosts, hosts=names(host), also=also)],
        },
    )
    shown = "127.0.0.1" if host in WILDCARDS else f"[{host}]" if ":" in host else host
    return Server(f"http://{shown}:{port}/", blocks)


def names(host: str) -> list[str]:
    """The Host headers to answer. A page elsewhere that makes its own name point here (DNS rebinding) gets nothing."""
    known = ["localhost", "127.0.0.1", host]
    if host in WILDCARDS:
        own = socket.gethostname()
        known += [own, f"{own}.local"]
    return list(dict.fromkeys(known))


class KnownHosts(TrustedHostMiddleware):
    """Answers to `names`, and to every address: only a name can be made to point here by somebody else. Another site's page gets nothing,
    wherever it sends its request: Gradio itself lets any site ask where the host is not the loopback's.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], also: Sequence[str]) -> None:
        """`also`: names that a proxy has, which may send its own address as the Host."""
        super().__init__(app, [*hosts, *also], www_redirect=False)
        self._also = {name.lower() for name in also}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        site = (origin or "").partition("://")[2]
        if origin is not None and site != host and site.partition(":")[0].lower() not in self._also:
            return await PlainTextResponse("This is another site's page.", status_code=400)(scope, receive, send)

        async def unframed(message: Message) -> None:
            """Another site could lay its own page over ours, and have a visitor press our buttons."""
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = "frame-ancestors 'self'"
            await send(message)

        return await (self.app if is_address(host) else super().__call__)(scope, receive, unframed)


def is_address(host: str) -> bool:
    """Whether a Host header is an IP address, with or without a port."""
    address = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def host_name(text: str) -> str:
    """A name of a machine, without a port; ArgumentTypeError for what is none."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            f"{text} is no name of a machine; give it alone, as in lacuna.example.org, without https:// and port"
        )
    return text


def port(text: str) -> int:
    """The number of a port; ArgumentTypeError for what can be none."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; ports go from 1 to 65535")
    return int(text)


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that can be listened on; OSError if there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
            try:
                probe.bind((host, port))
                probe.listen()
            except PermissionError:
                raise
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port
    raise OSError(f"the ports from {first} to {first + PORTS_TRIED - 1} are all busy")
