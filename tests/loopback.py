"""Archives made here, and a server on loopback that delivers them or misbehaves in every way."""

import hashlib
import io
import socket
import struct
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unetkit._shared.display import Display
from unetkit.datasets.download import Archive, Publication
from unetkit.datasets.unpacking import MIB

LIMIT = 8 * MIB  # of unpacked bytes, in these tests


def pack(*members: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    """A .tar.gz of files by name, or of whatever a TarInfo claims."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for entry, data in members:
            if isinstance(entry, str):
                entry = tarfile.TarInfo(entry)
                entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def special(name: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


class Listener(Display):
    """Keeps what is said, and of each task how far it came of how many parts."""

    def __init__(self):
        self.said = []
        self.tasks = {}

    def say(self, text):
        self.said.append(text)

    def task(self, name, total):
        self.tasks[name] = [0, total]

        def advance():
            self.tasks[name][0] += 1

        return advance


class Impatient(Display):
    """A person who interrupts one task at its first step."""

    def __init__(self, task):
        self.interrupted = task

    def task(self, name, total):
        def interrupt():
            raise KeyboardInterrupt

        return interrupt if name == self.interrupted else lambda: None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        mirror, _, name = self.path.rpartition("/")
        headers = {key: self.headers.get(key) for key in ("Range", "If-Range")}
        self.server.log.append((mirror, name, headers["Range"], headers["If-Range"]))
        answers = self.server.answers.get((mirror, name)) or [deliver()]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        answer(self, self.server.files[name])

    def begin(self, status, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """Serves `files` on every path; `answers` says how, a request each, the last one for ever."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(files)
        self.answers = {}
        self.log = []
        self.released = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    def url(self, mirror: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}{mirror}/"

    def publication(self, *mirrors: str, read_seconds: float = 10) -> Publication:
        """The files, to be fetched with short patience from paths of here or addresses."""
        return Publication(
            archives=tuple(
                Archive(name, len(data), hashlib.md5(data).hexdigest(), LIMIT)
                for name, data in self.files.items()
            ),
            mirrors=tuple(self.url(m) if m.startswith("/") else m for m in mirrors),
            read_seconds=read_seconds,
            tries=3,
            wait_seconds=0.01,
        )

    def asked(self, name: str = "images.tar.gz") -> list[tuple[str, str | None]]:
        """(mirror, Range) of each request for a file."""
        return [(mirror, span) for mirror, asked, span, _ in self.log if asked == name]

    def handle_error(self, *args):  # the client may hang up
        pass


Answer = Callable[[Handler, bytes], None]


def deliver(cut=None, ranges=True, etag=None, modified=None, encoding=None, reset=False) -> Answer:
    """A good answer, but for the line, which is cut after so many bytes of this answer."""

    def answer(handler, data):
        start, span = 0, handler.headers.get("Range")
        mark = handler.headers.get("If-Range")
        if span and ranges and mark in (None, etag, modified):
            start = int(span.removeprefix("bytes=").removesuffix("-"))
        headers = {"Content_Length": len(data) - start}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        marks = {"ETag": etag, "Last_Modified": modified, "Content_Encoding": encoding}
        headers |= {key: value for key, value in marks.items() if value}
        handler.begin(206 if start else 200, **headers)
        handler.wfile.write(data[start:][:cut])
        if reset:
            handler.wfile.flush()
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return answer


def refuse(status) -> Answer:
    return send(b"", status, Content_Length=0)


def send(body, status=200, **headers) -> Answer:
    """Other bytes, under headers that may not fit them."""

    def answer(handler, data):
        handler.begin(status, **headers)
        handler.wfile.write(body)

    return answer


def spoil(cut=None, **headers) -> Answer:
    """As many bytes as there should be, but others; or the beginning of these."""

    def answer(handler, data):
        handler.begin(200, Content_Length=len(data), **headers)
        handler.wfile.write(bytes(len(data))[:cut])

    return answer


def stall(after=None) -> Answer:
    """Sends a little or nothing, and keeps the line."""

    def answer(handler, data):
        if after is not None:
            handler.begin(200, Content_Length=len(data))
            handler.wfile.write(data[:after])
            handler.wfile.flush()
        handler.server.released.wait(20)

    return answer


def send_chunks(body) -> Answer:
    """Without a length, as HTTP/1.1 has it."""

    def answer(handler, data):
        handler.protocol_version = "HTTP/1.1"
        handler.begin(200, Transfer_Encoding="chunked")
        for start in range(0, len(body), 50_000):
            block = body[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        handler.wfile.write(b"0\r\n\r\n")

    return answer


def closed_port() -> str:
    """The address of a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def stay_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy for loopback, and no way out of it."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    resolve = socket.getaddrinfo

    def resolve_loopback(host, *args, **kwargs):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "no network in this test")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_loopback)
