"""A project that is labelled on loopback, in this process, and requests to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np

from unetkit.label.app import LIMITS, labelling_app
from unetkit.label.project import Project
from unetkit.label.rounds import Rounds
from unetkit.label.store import DrawnMasks
from unetkit.label.tiles import PyramidCache
from unetkit.serve.guard import SECURITY_HEADERS, Access
from unetkit.serve.server import Server, bind, hosts_of

TOKEN = "a-token-of-the-tests"
SECONDS = 20


class Labelling:
    """A service that runs.

    Args:
        port: Its port.
        store: Its masks.
        rounds: Its networks.
    """

    def __init__(self, port: int, store: DrawnMasks, rounds: Rounds) -> None:
        self.port, self.store, self.rounds = port, store, rounds
        self.address = f"http://127.0.0.1:{port}/"
        self.page = f"{self.address}#{TOKEN}"

    def ask(self, method: str, path: str, *, token: str = TOKEN, **options) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        with httpx.Client(base_url=self.address, timeout=SECONDS, trust_env=False) as client:
            return client.request(method, path, headers=headers, **options)

    def mask(self, id: str) -> np.ndarray:
        with self.store.opened(self.store.project.entries[id]) as mask:
            return mask.file.pixels.copy()


@contextmanager
def labelling(project: Project, port: int = 0, pause_seconds: float = 3.0) -> Iterator[Labelling]:
    """The service of a project in a thread, until the end."""
    bound = bind("127.0.0.1", port)
    store = DrawnMasks(project, PyramidCache(), pause_seconds)
    rounds = Rounds(store)
    app = labelling_app(store, rounds, Access(hosts_of(bound), token=TOKEN))
    started = threading.Event()
    server = Server(app, bound, LIMITS, headers=SECURITY_HEADERS, on_start=started.set)
    thread = threading.Thread(target=server.run, daemon=True)
    number = bound.getsockname()[1]
    thread.start()
    try:
        assert started.wait(SECONDS)
        yield Labelling(number, store, rounds)
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        bound.close()
