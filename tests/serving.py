"""A service on loopback, in a thread of this process, and raw connections to it."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import httpx
import numpy as np
from PIL import Image

from unetkit.prediction.predictor import Predictor
from unetkit.serve.app import create_app
from unetkit.serve.guard import Access, headers_of
from unetkit.serve.limits import Limits
from unetkit.serve.segmenter import Segmenter
from unetkit.serve.server import Server, bind, hosts_of

SECONDS = 30  # after which a test is given up


def photo_bytes(format: str = "PNG", size: tuple[int, int] = (40, 56), seed: int = 1) -> bytes:
    """Content of an image file of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


@dataclass
class Service:
    """A running service.

    Args:
        port: Its port on 127.0.0.1.
        segmenter: What answers its requests.
    """

    port: int
    segmenter: Segmenter

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://{self.host}",
            timeout=SECONDS,
            trust_env=False,
            verify=False,
            **options,
        )

    def post(self, content: bytes, path: str = "/v1/predict", **headers: str) -> httpx.Response:
        with self.client() as client:
            return client.post(path, content=content, headers=headers)

    def get(self, path: str, **headers: str) -> httpx.Response:
        with self.client() as client:
            return client.get(path, headers=headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def head(self, length: int, path: str = "/v1/predict") -> bytes:
        """Head of a request whose body is to have so many bytes."""
        lines = (f"POST {path} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {length}", "", "")
        return "\r\n".join(lines).encode()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection; its reset is an end like any other."""
    found = b""
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


def read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one response with a length."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = connection.recv(1 << 16)
        if not part:
            raise AssertionError(f"the connection ended after {found!r}")
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(1 << 16)
    return int(first.split()[1]), headers, body


def sentence_of(response: httpx.Response) -> str:
    """The sentence of an error, which is all that its body has."""
    assert response.headers["content-type"] == "application/json"
    body = json.loads(response.content)
    assert list(body) == ["error"]
    return str(body["error"])


@contextmanager
def serving(
    predictor: Predictor,
    limits: Limits | None = None,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    root_path: str = "",
    processes: int = 1,
) -> Iterator[Service]:
    """A service that runs in a thread until the end."""
    limits = limits or Limits()
    bound = bind("127.0.0.1", 0)
    segmenter = Segmenter(predictor, limits, processes)
    app = create_app(segmenter, Access((*hosts_of(bound), *hosts), origins, token))
    started = threading.Event()
    server = Server(
        app,
        bound,
        limits,
        headers=headers_of(predictor.digest),
        root_path=root_path,
        on_start=started.set,
    )
    thread = threading.Thread(target=server.run, daemon=True)
    port = bound.getsockname()[1]
    thread.start()
    try:
        assert started.wait(SECONDS)
        yield Service(port, segmenter)
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        bound.close()
