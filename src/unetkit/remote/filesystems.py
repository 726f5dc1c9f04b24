"""File systems behind addresses, by fsspec, and what their errors mean in words.

Every library raises errors of its own, some with the address and its signature in them. They become
errors of this package that name the address without secrets, and are raised without their cause.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from unetkit._shared.installation import install_command
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    MissingExtraError,
    UnetkitError,
)
from unetkit.remote.addresses import Address

CONNECT_SECONDS = 10
RESPONSE_SECONDS = 30  # for further bytes
RETRIES = 2  # of a request, by the libraries of object stores
WRITTEN = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory")  # whole or not at all
READ_ONLY = ("http", "https", "zip", "tar", "libarchive", "github", "data", "reference")
_DENIED = (401, 403, 407)


class RedirectError(OSError):
    """A web server answers with an address that is not followed."""


def open_filesystem(address: Address) -> tuple[Any, str]:
    """Opens the file system of an address; most connect when they are first used.

    Args:
        address: The address.

    Returns:
        The file system of fsspec, and the path in it.

    Raises:
        MissingExtraError: fsspec, or the library of this file system, is not installed.
        ConfigError: There is no such file system.
        DataError, DataNotFoundError: The archive of a chain cannot be opened.
    """
    try:
        from fsspec.core import url_to_fs
        from fsspec.registry import known_implementations, registry
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{address} is read by fsspec, which is not installed; install it with "
            f"{install_command('remote')}"
        ) from error
    if address.scheme not in known_implementations and address.scheme not in registry:
        raise ConfigError(
            f"{address} begins with {address.scheme!r}, which fsspec does not know; accepted are "
            "s3://, gs://, az://, https://, sftp://, memory://, and zip://FILE::ARCHIVE"
        )
    schemes = {part.partition("://")[0].lower() for part in address.text.split("::")}
    own = {scheme: OPTIONS[scheme]() for scheme in schemes & OPTIONS.keys()}
    try:
        with errors_named(address):
            fs, path = url_to_fs(
                address.text,
                skip_instance_cache=address.is_chained,  # an archive may have changed
                use_listings_cache=False,
                **own,
            )
    except ImportError as error:
        remedy = known_implementations.get(address.scheme, {}).get("err", str(error))
        if address.scheme in OPTIONS:
            remedy = f"install it with {install_command('remote')}"
        raise MissingExtraError(
            f"{address} needs a package that is not installed; {remedy}"
        ) from error
    return fs, path


def _s3_options() -> dict[str, Any]:
    limits = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": RESPONSE_SECONDS,
        "retries": {"max_attempts": RETRIES},
    }
    return {"config_kwargs": limits}


def require_redirect(scheme: str, target: str) -> None:
    """Refuses redirections that are not to a web server, or from a secure one to another.

    Args:
        scheme: Scheme of the address that was asked for.
        target: Address in the answer; a relative one stays at the server.

    Raises:
        RedirectError: It is not followed.
    """
    found = urlsplit(target).scheme.lower() or scheme
    if found not in ("http", "https") or (scheme == "https" and found == "http"):
        raise RedirectError(f"redirects from {scheme}: to {found}:")


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    **dict.fromkeys(("s3", "s3a"), _s3_options),
    **dict.fromkeys(("http", "https"), lambda: {"get_client": _http_client}),
}  # of file systems, by scheme


async def _http_client(**arguments: Any) -> Any:
    """A session of HTTP with limits of time, which follows redirections to HTTP and HTTPS only."""
    import aiohttp

    async def on_redirect(session: Any, context: Any, parameters: Any) -> None:
        require_redirect(parameters.url.scheme, parameters.response.headers.get("Location", ""))

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(on_redirect)
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=RESPONSE_SECONDS
    )
    # Of what a server compresses, the length would not be known.
    headers = {"Accept-Encoding": "identity"}
    given = {"timeout": timeout, "trace_configs": [trace], "headers": headers, **arguments}
    return aiohttp.ClientSession(**given)


@contextmanager
def errors_named(address: Address, action: str = "read") -> Iterator[None]:
    """Turns errors of file systems into those of this package.

    Args:
        address: What is read or written.
        action: "read" or "written".

    Raises:
        DataNotFoundError: It does not exist.
        DataError: It cannot be read or written.
    """
    try:
        yield
    except (UnetkitError, ImportError, MemoryError):
        raise
    except Exception as error:  # libraries raise errors of many types
        raise _explained(error, address, action) from None  # theirs may show a password


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in (408, 429) or status >= 500
    if isinstance(error, RedirectError | FileNotFoundError | PermissionError):
        return False
    is_http = type(error).__module__.startswith("aiohttp")
    return is_http or isinstance(error, TimeoutError | asyncio.TimeoutError | ConnectionError)


def root_of(error: BaseException) -> BaseException:
    """The error of the connection, which fsspec hides behind one of a missing file."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        return cause
    return error


def _explained(error: Exception, address: Address, action: str) -> UnetkitError:
    cause = root_of(error)
    status, name = getattr(cause, "status", None), type(cause).__name__
    is_missing = isinstance(cause, FileNotFoundError) or "(NoSuch" in str(cause)
    if is_missing or status in (404, 410):
        return DataNotFoundError(
            f"{address} does not exist; accepted are addresses of what its server has"
        )
    if isinstance(cause, RedirectError):
        return DataError(
            f"{address} {cause}; accepted are redirections to https://, or from http:// to "
            "http://; give the address that is meant"
        )
    if isinstance(cause, PermissionError) or status in _DENIED:
        return DataError(
            f"{address} may not be {action}: access is denied; accepted are addresses that these "
            "credentials allow; check them"
        )
    if "Credentials" in name or "InvalidAccessKeyId" in str(cause):
        return DataError(
            f"{address} cannot be {action} without credentials ({name}); accepted are those of the "
            "provider's own tools, such as AWS_PROFILE, or FSSPEC_S3_ANON=true for public buckets"
        )
    if isinstance(status, int):
        return DataError(f"{address} cannot be {action}: the server answered {status}")
    if isinstance(cause, TimeoutError | asyncio.TimeoutError) or "Timeout" in name:
        return DataError(
            f"{address} cannot be {action}: the server did not respond in time; try again later"
        )
    if _is_unreachable(cause):
        return DataError(
            f"{address} cannot be {action}: its server cannot be reached; accepted is an address "
            "of a server that is running; check the name and the network"
        )
    if "Payload" in name or "IncompleteRead" in name:
        return DataError(f"{address} was cut off while it was {action}; try again later")
    return DataError(f"{address} cannot be {action} ({_reason(cause, address)})")


def _is_unreachable(cause: BaseException) -> bool:
    name = type(cause).__name__
    words = ("Connection", "Connector", "Disconnected", "ConnectTimeout", "Endpoint")
    return isinstance(cause, ConnectionError) or any(word in name for word in words)


def _reason(cause: BaseException, address: Address) -> str:
    """First line of an error, or its type where the text has an address, which may be secret."""
    text = (str(cause) or type(cause).__name__).splitlines()[0]
    is_secret = "://" in text or address.text.partition("://")[2] in text
    return type(cause).__name__ if is_secret else text[:200]
