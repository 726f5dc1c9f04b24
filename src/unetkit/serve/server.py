"""A service on a port: its socket, the deadlines of its connections, and its end.

uvicorn waits without end for the head of a request, and for a client that does not take its answer.
Here a connection that makes no progress is closed.
"""

import asyncio
import errno
import ipaddress
import json
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from unetkit.errors import ConfigError
from unetkit.serve.limits import Limits

HEAD_SECONDS = 10.0  # for the head of a request, from its first byte or the start of a connection
SEND_SECONDS = 20.0  # for each part of an answer


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to an address of this machine.

    Args:
        host: Name or address.
        port: Port; 0 for any that is free.

    Raises:
        ConfigError: The port is taken or not permitted, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _not_bound(host, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Else a second server would bind, too, and be told only when it listens.
        bound.listen()
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is taken by another program; accepted is a free one; "
                f"choose another with --port, or stop that program"
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigError(
                f"port {port} of {host} is not permitted to this user; accepted are ports from "
                "1024 up; choose another with --port"
            ) from error
        raise _not_bound(host, error) from error
    return bound


def _not_bound(host: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"host is {host!r}, where this machine cannot serve ({error.strerror or error}); accepted "
        "is a name or address of this machine, such as 127.0.0.1"
    )


def address_of(bound: socket.socket, root_path: str = "") -> str:
    """The address to open in a browser; that of loopback where the socket has every address."""
    host, port = bound.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{root_path}/"


def hosts_of(bound: socket.socket) -> tuple[str, ...]:
    """Values of the header Host of requests that name the printed address, or localhost."""
    printed = address_of(bound).removeprefix("http://").rstrip("/")
    port = bound.getsockname()[1]
    local = (f"localhost:{port}",) if is_loopback(printed.rpartition(":")[0].strip("[]")) else ()
    return (printed, *local)


class Server(uvicorn.Server):
    """Serves an application on a bound socket; `run` ends with requests that have begun finished.

    An interrupt or a signal to end, and setting `should_exit`, end it. `run` closes the socket, and
    raises KeyboardInterrupt after an interrupt.

    Args:
        app: The application.
        bound: The bound socket.
        limits: Limits of the service.
        headers: Headers of answers that are given without asking the application.
        root_path: Path under which a proxy shows the service, without its last slash.
        on_start: Called when requests are accepted.
    """

    def __init__(
        self,
        app: ASGIApp,
        bound: socket.socket,
        limits: Limits,
        *,
        headers: Mapping[str, str] | None = None,
        root_path: str = "",
        on_start: Callable[[], object] = lambda: None,
    ) -> None:
        own = {"most_connections": limits.connections, "refusal_headers": headers or {}}
        config = uvicorn.Config(
            app,
            http=type("Protocol", (BoundedProtocol,), own),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            root_path=root_path,
            timeout_graceful_shutdown=max(1, round(limits.seconds)),
        )
        super().__init__(config)
        self._bound, self._on_start = bound, on_start

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self._bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit:  # by a second interrupt: what it cancels is no error
            logging.getLogger("uvicorn.error").disabled = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Makes the end of the terminal an end like an interrupt, unless it is ignored."""
        with super().capture_signals():
            hangup = getattr(signal, "SIGHUP", None)
            is_main = threading.current_thread() is threading.main_thread()
            if hangup is None or not is_main or signal.getsignal(hangup) is signal.SIG_IGN:
                yield
                return
            before = signal.signal(hangup, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(hangup, before)


class BoundedProtocol(H11Protocol):
    """A connection that is closed when it makes no progress, or when there are too many."""

    most_connections = Limits.connections
    refusal_headers: Mapping[str, str] = {}
    head_seconds, send_seconds = HEAD_SECONDS, SEND_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None  # of the head of a request
        self._stalled: asyncio.TimerHandle | None = None  # of a part of an answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(
                503,
                f"more than {self.most_connections} connections are open, the limit of this "
                "server; try again",
                {"Retry-After": "1"},
            )
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._heed(None)
        elif self._deadline is None:  # the beginning of a head, or the rest of a refused body
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._heed(None)
        self._heed_sending(None)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_client()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._heed_sending(None)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "the request is not HTTP, or its head is longer than 64 KiB")

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._await_client()  # what is still to be sent

    def _await_head(self) -> None:
        self._heed(self.loop.call_later(self.head_seconds, self.transport.abort))

    def _await_client(self) -> None:
        self._heed_sending(self.loop.call_later(self.send_seconds, self.transport.abort))

    def _heed(self, timer: asyncio.TimerHandle | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = timer

    def _heed_sending(self, timer: asyncio.TimerHandle | None) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        self._stalled = timer

    def _refuse(self, status: int, sentence: str, more: Mapping[str, str] | None = None) -> None:
        """Answers at once and closes the connection."""
        body = json.dumps({"error": sentence}).encode()
        headers = {
            **self.refusal_headers,
            **(more or {}),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
