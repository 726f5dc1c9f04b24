"""Servers on loopback: an object store, and a web server that delivers files or misbehaves."""

import threading
from collections import Counter
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
NUMBERS = count(1)


class Objects:
    """What a test does with an object store besides the code under test."""

    def __init__(self, filesystem):
        self.fs = filesystem

    def bucket(self) -> str:
        """A new bucket; all stores of a process have the same ones."""
        name = f"bucket-{next(NUMBERS)}"
        self.fs.mkdir(name)
        return name

    def put(self, address: str, content: bytes) -> None:
        self.fs.pipe_file(address.removeprefix("s3://"), content)

    def get(self, address: str) -> bytes:
        return self.fs.cat_file(address.removeprefix("s3://"))

    def names(self, address: str) -> set[str]:
        """Paths of all objects below an address, without records."""
        top = address.removeprefix("s3://").rstrip("/")
        found = {name.removeprefix(f"{top}/") for name in self.fs.find(top)}
        return {name for name in found if not name.startswith(".")}

    def contents(self, address: str) -> dict[str, bytes]:
        return {name: self.get(f"{address}/{name}") for name in self.names(address)}

    def records(self, address: str) -> list[str]:
        top = address.removeprefix("s3://").rstrip("/")
        return [name for name in self.fs.find(top) if "/.unetkit-records" in name]


@contextmanager
def object_store():
    """moto's server, and the environment in which s3:// means it."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        S3FileSystem.clear_instance_cache()
        yield Objects(S3FileSystem(skip_instance_cache=True, use_listings_cache=False))
    server.stop()


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        name = self.path.partition("?")[0].lstrip("/")
        self.server.log.append((self.command, self.path, dict(self.headers)))
        answers = self.server.answers.get(name)
        self.close_connection = True
        if answers:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            answer(self, self.server.files.get(name, b""), with_body)
        elif name in self.server.files:
            deliver()(self, self.server.files[name], with_body)
        else:
            status(404)(self, b"", with_body)

    def begin(self, code, **headers):
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *args):
        pass


class WebServer(ThreadingHTTPServer):
    """Serves `files`; `answers` says how, a request each, the last one for ever."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.answers, self.log = {}, {}, []
        self.released = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def requests(self) -> Counter:
        """Number of requests by method and path."""
        return Counter((method, path) for method, path, _ in self.log)

    def handle_error(self, *args):  # the client may hang up
        pass


@contextmanager
def web_server():
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


def deliver(tag='"v1"', cut=None, length=True):
    """The file; its end is missing, or its length is not said."""

    def answer(handler, data, with_body):
        headers = {"ETag": tag, "Last_Modified": formatdate(0)} if tag else {}
        if length:
            headers["Content_Length"] = len(data)
        handler.begin(200, **headers)
        if with_body:
            handler.wfile.write(data[:cut])

    return answer


def status(code, **headers):
    def answer(handler, data, with_body):
        handler.begin(code, Content_Length=0, **headers)

    return answer


def stall(handler, data, with_body):
    """Keeps the line without a word."""
    handler.server.released.wait(20)
