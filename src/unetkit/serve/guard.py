"""What every request passes before the application: host, origin, token, size; and what it adds.

Each request must name a host of this server, so that no page of another site reaches it under a
name of its own (DNS rebinding); requests of pages from elsewhere are refused unless their origin is
named. Every answer gets headers that forbid what pages do not need, and names the model.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unetkit.serve.limits import MIB, Limits, RefusedError

MODEL_HEADER = "Unetkit-Model"
OPEN_PATHS = ("/", "/health", "/ready")  # need no token: they tell nothing about model or images
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Access:
    """Who may use a service.

    Args:
        hosts: Accepted values of the header Host, in lower case: a name or address, with a port,
            or without one for any port.
        origins: Origins of other sites whose pages may use the service.
        token: Secret that requests must carry; None for none.
        host_remedy: How the operator can accept another host, the end of an error; "" if not.
        origin_remedy: Likewise for another origin.
    """

    hosts: tuple[str, ...]
    origins: tuple[str, ...] = ()
    token: str | None = None
    host_remedy: str = ""
    origin_remedy: str = ""

    def require_host(self, host: str) -> None:
        """Refuses a host that is not one of this server.

        Raises:
            RefusedError: It is another one.
        """
        host = host.lower()
        name, _, port = host.rpartition(":")
        without_port = name if port.isdigit() else host
        if host not in self.hosts and without_port not in self.hosts:
            wrong = f"the host {host!r:.80} is not one of this server"
            raise RefusedError(421, f"{wrong}{self.host_remedy}")

    def require_origin(self, origin: str | None, host: str) -> None:
        """Refuses requests that a browser sends for a page of another site.

        Raises:
            RefusedError: The page is from elsewhere, and its origin is not accepted.
        """
        if origin is None or origin in self.origins:
            return
        if urlsplit(origin).netloc.lower() != host.lower():
            wrong = f"pages of {origin!r:.80} may not use this server"
            raise RefusedError(403, f"{wrong}{self.origin_remedy}")

    def require_token(self, authorization: str | None) -> None:
        """Refuses a request without the token, which is compared in constant time.

        Raises:
            RefusedError: There is none, or another one.
        """
        if self.token is None:
            return
        scheme, _, given = (authorization or "").partition(" ")
        is_same = hmac.compare_digest(given.strip().encode(), self.token.encode())
        if scheme.lower() != "bearer" or not is_same:
            raise RefusedError(
                401,
                "the token is missing or wrong; accepted is the header Authorization: Bearer TOKEN",
            )


def error_response(error: RefusedError) -> JSONResponse:
    """The answer to a request that is refused: one sentence, as JSON."""
    headers = {}
    if error.retry_seconds is not None:
        headers["Retry-After"] = str(error.retry_seconds)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": error.sentence}, error.status, headers)


def headers_of(model: str) -> dict[str, str]:
    """Headers of every answer.

    Args:
        model: SHA-256 of the model file.
    """
    return {**SECURITY_HEADERS, MODEL_HEADER: model}


class Guard:
    """Middleware around the whole application.

    Args:
        app: The application.
        access: Who may use it.
        limits: Limits of the service.
        headers: Headers of every answer.
        count: Called with the path of the route, or None, and the status of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        limits: Limits,
        headers: Mapping[str, str] = SECURITY_HEADERS,
        count: Callable[[str | None, int], object] = lambda route, status: None,
    ) -> None:
        self._app, self._access, self._limits, self._count = app, access, limits, count
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                self._count(getattr(scope.get("route"), "path", None), message["status"])
            await send(message)

        try:
            self._require(Request(scope))
        except RefusedError as error:
            await error_response(error)(scope, receive, send_with_headers)
            return
        if scope["method"] == "HEAD":  # the server sends no body in answer to it
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send_with_headers)

    def _require(self, request: Request) -> None:
        headers, access = request.headers, self._access
        host = headers.get("host", "")
        access.require_host(host)
        access.require_origin(headers.get("origin"), host)
        is_preflight = (
            request.method == "OPTIONS" and "access-control-request-method" in request.headers
        )
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path not in OPEN_PATHS and not is_preflight:
            access.require_token(headers.get("authorization"))
        self._require_small(headers)

    def _require_small(self, headers: Headers) -> None:
        """Refuses a body by its declared length; one that is longer is cut off while it arrives."""
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.body_bytes:
            raise too_large(self._limits)


def too_large(limits: Limits) -> RefusedError:
    """The error of a body that is too large."""
    return RefusedError(
        413, f"the body is too large; accepted are up to {limits.body_bytes / MIB:g} MiB"
    )
