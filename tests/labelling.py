"""A project that is labelled on loopback, in this process, and requests to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np

from tests.browser import Browser
from tests.label.conftest import entry_of
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


class Page:
    """The page of a service, and what a person does on it, in pixels of the image."""

    def __init__(self, browser: Browser, service: Labelling, **view: Any) -> None:
        self.browser, self.service = browser, service
        browser.open("about:blank")
        browser.open(service.page, **view)
        self.wait("view.mask && waiting.textContent === ''")

    def __call__(self, script):
        return self.browser.run(script)

    def wait(self, condition):
        self.browser.wait_until(condition, 20)

    def settle(self):
        """Waits until the server has everything."""
        self.wait("outbox.count === 0")

    def place(self, x, y):
        """Where a point of the image is in the window."""
        left, top = self(
            f"(() => {{ const b = stage.getBoundingClientRect(), [x, y] = view.toStage({x}, {y});"
            "return [b.left + x, b.top + y]; })()"
        )
        return left, top

    def draw(self, *points, **more):
        self.browser.drag(*(self.place(*point) for point in points), **more)
        self.settle()

    def click(self, x, y, **more):
        self.draw((x, y), **more)

    def keys(self, *keys, **more):
        for key in keys:
            self.browser.press(key, **more)

    def mask(self, name="a.png"):
        return self.service.mask(entry_of(self.service.store.project, name).id)

    def resize_brush(self, size):
        self(f"drawing.size = {size}")


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
