"""The HTTP interface of a model, described by OpenAPI.

The body of a request is an image file; the answer is a mask, or what else the client asks for. No
address is fetched and no path is taken from a client. Who may use it is left to `guard`, prediction
to `segmenter`, connections to `server`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from unetkit._version import __version__
from unetkit.results.masks import MASK_STYLES
from unetkit.serve.answers import MEDIA_TYPES, choose_output, class_records, file_name
from unetkit.serve.guard import MODEL_HEADER, Access, Guard, error_response, headers_of, too_large
from unetkit.serve.limits import ACCEPTED_FORMATS, HeldBytes, Limits, RefusedError
from unetkit.serve.metrics import MEDIA_TYPE, Metrics
from unetkit.serve.page import make_page
from unetkit.serve.segmenter import Segmenter

PART_BYTES = 1 << 16  # of an answer, sent at once: a client must take each within some time
GONE = 499  # status, in metrics only, of a request whose client went away
NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
STATUSES = {
    401: "The token is missing or wrong",
    403: "The request is from a page of another site",
    406: "No accepted media type is offered",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not an image alone",
    421: "The host is not one of this server",
    422: "The image or the output is not accepted",
    429: "Too many requests wait; Retry-After has seconds",
    503: "There is no answer within the limits of this server",
}


def create_app(segmenter: Segmenter, access: Access) -> ASGIApp:
    """Returns the service of a model as an ASGI application.

    Args:
        segmenter: What answers requests.
        access: Who may use it.
    """
    limits = segmenter.limits
    held = HeldBytes(limits.held_bytes)
    metrics = Metrics(segmenter, held)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        segmenter.close()

    app = FastAPI(
        title="unetkit",
        version=__version__,
        description="Segments images: POST an image file, get its mask.",
        docs_url=None,  # pages that load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        max_body_size=limits.body_bytes,
        telemetry=NO_TELEMETRY,  # type: ignore[arg-type]
    )
    add_error_handlers(app, limits)

    page = make_page()

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page.content, headers={"Content-Security-Policy": page.policy})

    @app.post("/v1/predict", **_described(segmenter))
    async def predict(
        request: Request,
        output: Annotated[
            str | None,
            Query(
                description="Kind of answer; without it, the first that Accept allows.",
                json_schema_extra={"enum": list(segmenter.outputs)},
            ),
        ] = None,
        mask: Annotated[
            Literal[MASK_STYLES],  # type: ignore[valid-type]
            Query(
                description="What pixels of masks are: numbers of classes, in grey or with a "
                "palette; 0 and 255; or the values of the masks that the model learnt from."
            ),
        ] = "index",
    ) -> Response:
        """Segment the image that is the body of the request."""
        chosen = choose_output(output, request.headers.get("accept"), segmenter.outputs)
        _require_image_type(request)
        segmenter.require_room()
        body = _Body(held, limits)
        try:
            await body.read(request)
            started = time.monotonic()
            answer = await _unless_gone(request, segmenter.answer(body.content, chosen, mask))
        finally:
            body.release()
        if answer is None:
            return Response(status_code=GONE)
        metrics.answer_seconds.labels(chosen).observe(time.monotonic() - started)
        held.take(len(answer))
        return _Answer(answer, chosen, lambda: held.release(len(answer)))

    @app.get("/v1/model", responses=_errors(401, 403, 421))
    async def model() -> JSONResponse:
        """Describe the model, its answers, and the limits of this server."""
        return JSONResponse(describe_service(segmenter))

    @app.get("/health", responses=_errors(403, 421))
    async def health() -> JSONResponse:
        """Say that the process runs."""
        return JSONResponse({"status": "ok"})

    @app.get("/ready", responses=_errors(403, 421, 429))
    async def ready() -> JSONResponse:
        """Say whether a request would be accepted now."""
        segmenter.require_room()
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=Response, responses=_errors(401, 403, 421))
    async def show_metrics() -> Response:
        """Return metrics in the text format of Prometheus."""
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    guarded: ASGIApp = app
    if access.origins:
        guarded = CORSMiddleware(
            app,
            allow_origins=access.origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=(MODEL_HEADER, "Retry-After"),
        )
    return Guard(guarded, access, limits, headers_of(segmenter.predictor.digest), metrics.count)


def describe_service(segmenter: Segmenter) -> dict[str, Any]:
    """What `/v1/model` answers: the model, its answers, and the limits of the server."""
    predictor, limits = segmenter.predictor, segmenter.limits
    spec = predictor.spec
    scale = spec.scale
    return {
        "model": predictor.digest,
        "unetkit": __version__,
        "preset": spec.preset,
        "classes": class_records(spec.classes),
        "channels": spec.pixels.channels,
        "scale": {"policy": scale.policy, "height": scale.height, "width": scale.width},
        "tells_objects_apart": spec.objects.finds_objects,
        "outputs": {name: MEDIA_TYPES[name] for name in segmenter.outputs},
        "formats": list(ACCEPTED_FORMATS),
        "limits": {
            "body_bytes": limits.body_bytes,
            "pixels": limits.pixels,
            "seconds": limits.seconds,
            "waiting": limits.waiting,
        },
    }


class _Body:
    """The body of a request, whose bytes are counted while it is in memory."""

    def __init__(self, held: HeldBytes, limits: Limits) -> None:
        self._held, self._limits = held, limits
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def content(self) -> bytes:
        return b"".join(self._parts)

    async def read(self, request: Request) -> None:
        """Reads it to its end.

        Raises:
            RefusedError: It is empty, too large or too slow, or memory is full.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                async for part in request.stream():
                    self._held.take(len(part))
                    self._size += len(part)
                    self._parts.append(part)
        except TimeoutError:
            raise RefusedError(
                408, f"the body did not arrive within {self._limits.seconds:g} seconds"
            ) from None
        if not self._size:
            raise RefusedError(422, "the body is empty; accepted is the content of an image file")

    def release(self) -> None:
        self._held.release(self._size)
        self._size, self._parts = 0, []


class _Answer(Response):
    """An answer that is sent in parts, and whose bytes are counted until it is sent."""

    def __init__(self, content: bytes, output: str, release: Callable[[], object]) -> None:
        headers = {"Content-Disposition": f'inline; filename="{file_name(output)}"'}
        super().__init__(content, headers=headers, media_type=MEDIA_TYPES[output])
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            for start in range(0, len(self.body), PART_BYTES):
                part = bytes(self.body[start : start + PART_BYTES])
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._release()


async def _unless_gone(request: Request, answering: Coroutine[Any, Any, bytes]) -> bytes | None:
    """The answer; None if the client goes away before, so that a request that waits is given up."""

    async def wait_until_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(wait_until_gone())
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        answer.cancel()
        gone.cancel()


def _require_image_type(request: Request) -> None:
    """Refuses forms and packed bodies, which are not the image itself.

    Raises:
        RefusedError: The headers say that the body is one of these.
    """
    media_type = request.headers.get("content-type", "").lower()
    if media_type.startswith("multipart/"):
        raise RefusedError(
            415, "the body is a form; accepted is the content of the image file alone"
        )
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RefusedError(
            415, f"Content-Encoding is {encoding!r:.40}; accepted are bodies that are not packed"
        )


def add_error_handlers(app: FastAPI, limits: Limits) -> None:
    """Makes every error of an application one sentence, as JSON."""

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, error: RefusedError) -> Response:
        return error_response(error)

    @app.exception_handler(ClientDisconnect)
    async def give_up(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(RequestValidationError)
    async def refuse_query(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = first["loc"][-1]
        return error_response(RefusedError(422, f"{name!r:.60} is not accepted: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def refuse_request(request: Request, error: HTTPException) -> Response:
        if error.status_code == 413:
            return error_response(too_large(limits))
        sentences = {
            404: "there is nothing at this path; /openapi.json lists what is",
            405: "this method is not accepted at this path; the header Allow lists those that are",
        }
        sentence = sentences.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"  # which the guard makes a GET
        if error.status_code == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        response = error_response(RefusedError(error.status_code, sentence))
        response.headers.update(headers)
        return response

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return error_response(RefusedError(500, "the server failed; its log says why"))


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {
        "type": "object",
        "properties": {"error": {"type": "string"}},
        "required": ["error"],
    }
    return {
        status: {
            "description": STATUSES[status],
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }


def _described(segmenter: Segmenter) -> dict[str, Any]:
    """How OpenAPI describes a prediction: an image file in, answers of several media types out."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    types = dict.fromkeys(MEDIA_TYPES[name] for name in segmenter.outputs)
    answers = {
        name: {"schema": {"type": "object"}} if name.endswith("json") else binary for name in types
    }
    bodies = [f"image/{format.lower()}" for format in ACCEPTED_FORMATS]
    return {
        "response_class": Response,
        "responses": {
            200: {"description": "The answer", "content": answers},
            **_errors(*STATUSES),
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": dict.fromkeys([*bodies, "application/octet-stream"], binary),
            }
        },
    }
