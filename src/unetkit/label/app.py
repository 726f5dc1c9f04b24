"""The service behind the page: images as tiles, masks, and changes of these.

A page names images by their ids alone; no path is taken from it. Who may use the service is left to
`serve.guard`, what is kept to `store`.
"""

import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from unetkit._version import __version__
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError, UnetkitError
from unetkit.label.journal import Change
from unetkit.label.page import labelling_page
from unetkit.label.project import ImageEntry
from unetkit.label.regions import similar_region
from unetkit.label.rounds import ROUND_MINUTES, Rounds
from unetkit.label.store import DrawnMasks, StaleRevisionError
from unetkit.label.tiles import TILE
from unetkit.serve.answers import class_records
from unetkit.serve.app import NO_TELEMETRY, add_error_handlers
from unetkit.serve.guard import Access, Guard, error_response
from unetkit.serve.limits import MIB, Limits, RefusedError

LIMITS = Limits(body_bytes=256 * MIB, connections=64)
REVISION_HEADER, ROUND_HEADER = "Unetkit-Revision", "Unetkit-Round"
KEY_BYTES = 16
RUN_BYTES = 12
GZIP_LEVEL = 1  # level of gzip


def labelling_app(store: DrawnMasks, rounds: Rounds, access: Access) -> ASGIApp:
    """Returns the service of a project as an ASGI application.

    Args:
        store: Its masks; all are written when the application ends.
        rounds: Its networks; one that is being trained is ended then.
        access: Who may use it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(rounds.stop)
        await run_in_threadpool(store.close)

    app = FastAPI(
        title="unetkit label",
        version=__version__,
        docs_url=None,  # pages that load scripts from another host
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        max_body_size=LIMITS.body_bytes,
        telemetry=NO_TELEMETRY,  # type: ignore[arg-type]
    )
    add_error_handlers(app, LIMITS)
    _add_handlers(app)
    page = labelling_page()

    @app.get("/")
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page.content, headers={"Content-Security-Policy": page.policy})

    @app.get("/v1/project")
    def describe() -> JSONResponse:
        return JSONResponse(describe_project(store))

    @app.get("/v1/images/{id}")
    def describe_image(id: str) -> JSONResponse:
        pyramid = store.images.get(_entry(store, id))
        height, width = pyramid.size
        return JSONResponse(
            {"height": height, "width": width, "levels": len(pyramid.levels), "tile": TILE}
        )

    @app.get("/v1/images/{id}/tiles/{level}/{row}/{column}")
    def show_tile(id: str, level: int, row: int, column: int) -> Response:
        tile = store.images.get(_entry(store, id)).tile(level, row, column)
        if tile is None:
            raise RefusedError(404, f"the image has no tile {row}, {column} at level {level}")
        return Response(tile, media_type="image/png")

    @app.get("/v1/images/{id}/thumbnail")
    def show_thumbnail(id: str) -> Response:
        return Response(store.thumbnail(_entry(store, id)), media_type="image/png")

    @app.get("/v1/images/{id}/mask")
    def show_mask(id: str) -> Response:
        with store.opened(_entry(store, id)) as mask:
            pixels, revision = mask.file.pixels.copy(), mask.revision
        return _packed(pixels, {REVISION_HEADER: str(revision)})

    @app.post("/v1/images/{id}/changes")
    async def change(request: Request, id: str, base: int, key: str) -> JSONResponse:
        runs = _runs_of(await request.body())
        entry, change = _entry(store, id), Change(_key_of(key), runs)
        try:
            revision = await run_in_threadpool(store.change, entry, base, change)
        except StaleRevisionError as error:
            return JSONResponse(
                {
                    "error": "this image was drawn on in another window meanwhile",
                    "revision": error.revision,
                },
                409,
            )
        return JSONResponse({"revision": revision, "problem": store.problem})

    @app.get("/v1/images/{id}/region")
    def find_region(id: str, row: int, column: int, tolerance: int) -> Response:
        entry = _entry(store, id)
        pixels = store.images.get(entry).levels[0]
        with store.opened(entry) as mask:
            labels = mask.file.pixels.copy()
        return _packed(similar_region(pixels, labels, row, column, tolerance))

    @app.get("/v1/learning")
    def describe_learning() -> JSONResponse:
        return JSONResponse(rounds.describe())

    @app.post("/v1/learning")
    def learn(minutes: float = ROUND_MINUTES) -> JSONResponse:
        rounds.start(minutes)
        return JSONResponse(rounds.describe())

    @app.delete("/v1/learning")
    def stop_learning() -> JSONResponse:
        rounds.stop()
        return JSONResponse(rounds.describe())

    @app.get("/v1/images/{id}/suggestion")
    def show_suggestion(id: str) -> Response:
        found = rounds.read(_entry(store, id))
        if found is None:
            raise RefusedError(404, "no network has suggested a mask for this image yet")
        mask, certainty, number = found
        content = np.concatenate([_bytes_of(mask), certainty.reshape(-1)])
        return _packed(content, {ROUND_HEADER: str(number)})

    return Guard(app, access, LIMITS)


def describe_project(store: DrawnMasks) -> dict[str, Any]:
    """What `/v1/project` answers: classes, and the images with what is known of each."""
    project = store.project
    return {
        "unetkit": __version__,
        "images": str(project.images),
        "out": str(project.out),
        "has_objects": project.has_objects,
        "bits": 8 * project.dtype.itemsize,
        "unlabelled": project.unlabelled,
        "classes": [
            {**record, "value": value}
            for record, value in zip(
                class_records(project.classes), project.classes.values, strict=True
            )
        ],
        "left_out": project.left_out,
        "problem": store.problem,
        "entries": [
            {"id": entry.id, "name": entry.shown, "has_mask": store.has_mask(entry)}
            for entry in project.entries.values()
        ],
    }


def _entry(store: DrawnMasks, id: str) -> ImageEntry:
    try:
        return store.project.entries[id]
    except KeyError:
        raise RefusedError(404, f"there is no image {id!r:.40} in this project") from None


def _key_of(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise RefusedError(422, f"key is {text!r:.60}; accepted are {2 * KEY_BYTES} hex digits")
    return key


def _runs_of(body: bytes) -> np.ndarray:
    if not body or len(body) % RUN_BYTES:
        raise RefusedError(
            422, f"a change has {len(body)} bytes; accepted are multiples of {RUN_BYTES} from 12 up"
        )
    return np.frombuffer(body, "<u4").reshape(-1, 3)


def _packed(array: np.ndarray, headers: dict[str, str] | None = None) -> Response:
    """The bytes of an array in reading order, which browsers unpack by themselves."""
    content = gzip.compress(_bytes_of(array).tobytes(), GZIP_LEVEL, mtime=0)
    packing = {"Content-Encoding": "gzip", **(headers or {})}
    return Response(content, media_type="application/octet-stream", headers=packing)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """The bytes of an array in reading order, the lowest of each number first."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)


def _add_handlers(app: FastAPI) -> None:
    """Makes errors of images and files answers that name them."""

    def answering(status: int) -> Callable[[Request, Exception], Response]:
        def answer(request: Request, error: Exception) -> Response:
            return error_response(RefusedError(status, str(error)))

        return answer

    for kind, status in (
        (DataNotFoundError, 404),
        (OutputExistsError, 409),
        (DataError, 422),
        (UnetkitError, 422),
        (MemoryError, 503),
        (OSError, 507),
    ):
        app.add_exception_handler(kind, answering(status))
