"""Download published .tar.gz archives completely, over unreliable connections.

`obtain_archives` returns the archives of a `Publication`, from a download or a folder. A download
that is cut off continues where it ended, in the same run or a later one, in another process or from
another mirror: received bytes are kept beside the archive as NAME.part, and the next request asks
for the rest. A lock lets one process at a time write there. Sizes are known, so another file, such
as the login page of a network, is refused before it is saved.

pooch has the cache and the checksums, but starts each download from the beginning and keeps nothing
of one that fails; with the part files here, what is left of pooch is in the standard library
(docs/log.md, 2026-11-29).

Unpacking is in `unpacking`; which archives there are, in `oxford_pets`.
"""

import hashlib
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import requests
import urllib3
from filelock import FileLock, Timeout

from unetkit._shared.display import Display
from unetkit._shared.files import open_input
from unetkit.datasets.unpacking import MIB, ByteProgress
from unetkit.errors import DataError, DataNotFoundError

logger = logging.getLogger(__name__)

MARKS = 60  # times that are kept to take an average speed of

_BLOCK = 1 << 16  # bytes
_OPTION = "the folder that contains them with archives=FOLDER (--archives FOLDER)"


@dataclass(frozen=True)
class Archive:
    """A published .tar.gz.

    Args:
        name: File name, the end of its address.
        size: Size in bytes.
        md5: MD5 checksum, in hexadecimal digits.
        max_unpacked_size: Largest accepted size of the uncompressed tar in bytes, headers included.
    """

    name: str
    size: int
    md5: str
    max_unpacked_size: int


@dataclass(frozen=True)
class Publication:
    """A set of archives, their addresses, and limits for their download.

    Args:
        archives: Archives, all of which are needed.
        mirrors: Addresses without the archive's name, in the order in which they are tried.
        connect_seconds: Longest time to wait for a connection.
        read_seconds: Longest time to wait for further bytes.
        tries: Largest number of successive tries at one mirror that give less than a mebibyte.
        wait_seconds: Time before the second try; doubles with each further one.
        slow_seconds: Time over which the average speed is taken.
        slow_bytes: Lowest average speed that is waited for, in bytes per second.
        clock: Present time in seconds, from any origin.
    """

    archives: tuple[Archive, ...]
    mirrors: tuple[str, ...]
    connect_seconds: float = 10
    read_seconds: float = 30
    tries: int = 4
    wait_seconds: float = 1
    slow_seconds: float = 120
    slow_bytes: int = 20_000
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)


def obtain_archives(
    publication: Publication,
    *,
    archives: str | Path | None = None,
    cache: str | Path | None = None,
    display: Display,
) -> list[Path]:
    """Returns the archives of a publication, from a folder or by download.

    Args:
        publication: Archives and their addresses.
        archives: Folder that contains all archives; nothing is downloaded then.
        cache: Folder in which complete and partial downloads are kept; the user's cache folder by
            default. Archives in it are not downloaded again.
        display: Display of progress and of failed servers.

    Returns:
        Paths of the archives, in the order of the publication; their checksums are right.

    Raises:
        DataNotFoundError: No server delivers an archive, or `archives` lacks one.
        DataError: An archive in `archives` has a wrong checksum.
    """
    if archives is not None:
        return [_check(Path(archives), each, publication) for each in publication.archives]
    store = Path(platformdirs.user_cache_dir("unetkit") if cache is None else cache).expanduser()
    return [_fetch(each, publication, store, display) for each in publication.archives]


def _check(folder: Path, archive: Archive, publication: Publication) -> Path:
    """Path of an archive in the user's folder, if it is the published one."""
    path = folder / archive.name
    if not path.is_file():
        names = " and ".join(each.name for each in publication.archives)
        raise DataNotFoundError(
            f"archive {path} does not exist; accepted is a folder that contains {names} as "
            "published; give another folder, or none to download them"
        )
    found = _md5(path)
    if found != archive.md5:
        raise DataError(
            f"archive {path} has the md5 checksum {found} ({path.stat().st_size:,} bytes); accepted"
            f" is the published one, {archive.md5} ({archive.size:,} bytes); download it again from"
            f" {publication.mirrors[0]}{archive.name}"
        )
    return path


def _md5(path: Path) -> str:
    with open_input(path) as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


class _ServerError(Exception):
    """Reason why a server did not deliver, and whether it was reached and to try it again."""

    def __init__(self, reason: str, *, reached: bool = True, retry: bool = False) -> None:
        super().__init__(reason)
        self.reached = reached
        self.retry = retry


class _Speed:
    """Average speed of a download over the last minutes, from the times of earlier positions."""

    def __init__(self, publication: Publication, position: int) -> None:
        self._limits = publication
        self._marks: deque[tuple[float, int]] = deque([(publication.clock(), position)])

    def require(self, position: int) -> None:
        """Ends a download that is slower than accepted; what was received stays.

        Raises:
            _ServerError: Over the last `slow_seconds`, fewer bytes came than accepted.
        """
        limits, now = self._limits, self._limits.clock()
        while len(self._marks) > 1 and now - self._marks[1][0] >= limits.slow_seconds:
            self._marks.popleft()
        begun, earlier = self._marks[0]
        passed = now - begun
        if passed >= limits.slow_seconds and position - earlier < limits.slow_bytes * passed:
            raise _ServerError(
                f"sent {(position - earlier) / passed / 1000:.1f} kB/s over {passed:.0f} s; "
                f"accepted are {limits.slow_bytes / 1000:g} kB/s and more; what was received is "
                "kept",
                retry=True,
            )
        if now - self._marks[-1][0] >= limits.slow_seconds / MARKS:
            self._marks.append((now, position))


@dataclass
class _Downloader:
    """Downloads one archive from one server, continuing from the bytes in `part`."""

    archive: Archive
    part: Path
    publication: Publication
    display: Display
    progress: ByteProgress
    reached: bool = False
    ranges: bool = True  # whether to ask for ranges, until the server fails to send one
    version: str | None = None  # the server's validator of the file that `part` is from

    def download(self, url: str) -> None:
        """Completes `part`; its checksum is not compared.

        Raises:
            _ServerError: The server does not deliver; received bytes stay in `part`.
        """
        if self._size() > self.archive.size:
            self.part.unlink()
        tries, largest = 0, self._size()
        while self._size() != self.archive.size:
            try:
                self._request(url)
            except _ServerError as failure:
                tries = 1 if self._size() - largest >= MIB else tries + 1
                largest = max(largest, self._size())
                if not failure.retry or tries >= self.publication.tries:
                    raise
                self.display.say(f"          {url} {failure}; trying again")
                time.sleep(self.publication.wait_seconds * 2 ** (tries - 1))

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _request(self, url: str) -> None:
        """Asks once for the missing bytes."""
        start = self._size() if self.ranges else 0
        # Some servers call the gzip of an archive an encoding, which requests would decode.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.version:
                headers["If-Range"] = self.version
        timeout = (self.publication.connect_seconds, self.publication.read_seconds)
        try:
            with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
                self.reached = True
                self._append(response, self._accept(response, start))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._explain(error) from error

    def _accept(self, response: requests.Response, start: int) -> int:
        """Position in the archive of the bytes of a response, after checking its headers."""
        status, total = response.status_code, response.headers.get("Content-Length", "")
        if status == 206:
            span = response.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", span)
            total = match[2] if match else ""
            if match is None or int(match[1]) != start:
                self.ranges = False
                raise _ServerError(f"sent the range {span!r} instead of bytes {start}-", retry=True)
        elif status == 416 and start:
            self.ranges = False
            raise _ServerError(f"has no bytes {start}- (416)", retry=True)
        elif status != 200:
            raise _ServerError(
                f"returned {status} {response.reason}", retry=status in (408, 429) or status >= 500
            )
        if total.isdecimal() and int(total) != self.archive.size:
            raise _ServerError(f"offers {int(total):,} bytes, not {self.archive.size:,}")
        tag = response.headers.get("ETag", "W/")
        # A weak tag does not identify the exact bytes.
        self.version = response.headers.get("Last-Modified") if tag.startswith("W/") else tag
        return start if status == 206 else 0

    def _append(self, response: requests.Response, position: int) -> None:
        with self.part.open("ab" if position else "wb") as file:
            speed = _Speed(self.publication, position)
            # `stream` would wait for a whole block, however slowly its bytes come.
            while block := response.raw.read1(_BLOCK, decode_content=False):
                position += len(block)
                if position > self.archive.size:
                    break
                file.write(block)
                self.progress.reach(position)
                if position < self.archive.size:
                    speed.require(position)
        if position > self.archive.size:
            self.part.unlink()
            raise _ServerError(f"sent more than {self.archive.size:,} bytes")
        if position < self.archive.size:
            raise _ServerError(f"closed the connection at {position:,} bytes", retry=True)

    def _explain(self, error: Exception) -> _ServerError:
        """A short reason in place of the libraries' long ones, which are logged."""
        logger.info("%s: %s", self.archive.name, error)
        if isinstance(error, requests.exceptions.SSLError):
            return _ServerError("made no secure connection")
        known = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError)
        if not isinstance(error, known):
            return _ServerError(f"failed ({error})")
        # requests raises ConnectionError also if a server accepts a connection and then closes it.
        closed = isinstance(next(iter(error.args), None), urllib3.exceptions.ProtocolError)
        unreachable = isinstance(error, requests.ConnectionError) and not closed
        self.reached = self.reached or not unreachable
        reason = f"closed the connection at {self._size():,} bytes"
        if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            reason = "did not respond in time"
        elif unreachable:
            reason = "could not be reached"
        return _ServerError(reason, reached=self.reached, retry=self.reached)


def _fetch(archive: Archive, publication: Publication, cache: Path, display: Display) -> Path:
    """Path of the archive in the cache, after a download if necessary."""
    cache.mkdir(parents=True, exist_ok=True)
    path, part = cache / archive.name, cache / f"{archive.name}.part"
    progress = ByteProgress(display, f"downloading {archive.name}", archive.size)
    failures: dict[str, _ServerError] = {}
    with _locked(cache / f"{archive.name}.lock", display):
        if path.is_file() and _md5(path) == archive.md5:
            return path
        for url in (mirror + archive.name for mirror in publication.mirrors):
            downloader = _Downloader(archive, part, publication, display, progress)
            try:
                _complete(url, downloader)
            except _ServerError as failure:
                failures[url] = failure
                display.say(f"          {url} {failure}")
            else:
                os.replace(part, path)
                return path
    if not any(failure.reached for failure in failures.values()):
        hosts = ", ".join(dict.fromkeys(urlsplit(url).hostname or url for url in failures))
        raise DataNotFoundError(
            f"none of the servers of {archive.name} could be reached ({hosts}); accepted is a "
            f"network connection, or downloaded archives; connect, or give {_OPTION}"
        )
    reasons = ", ".join(f"{url} ({failure})" for url, failure in failures.items())
    raise DataNotFoundError(
        f"{archive.name} could not be downloaded from {reasons}; accepted are {archive.size:,} "
        f"bytes with the md5 checksum {archive.md5}; try again later, which continues from the "
        f"partial download in {cache}, or download the archives by other means and give {_OPTION}"
    )


def _complete(url: str, downloader: _Downloader) -> None:
    """Completes the part file with bytes from a server, and compares its checksum."""
    archive, part = downloader.archive, downloader.part
    had_part = part.exists()
    downloader.download(url)
    if _md5(part) == archive.md5:
        return
    part.unlink()
    if not had_part:
        raise _ServerError("sent bytes with a wrong checksum")
    _complete(url, downloader)  # the wrong bytes may be those that another server sent before


@contextmanager
def _locked(path: Path, display: Display) -> Iterator[None]:
    """Lets one process at a time download; the others wait, then find the archive in the cache."""
    lock = FileLock(path)
    try:
        locked = lock.acquire(timeout=0)
    except Timeout:
        display.say(f"          another process is downloading {path.stem}; waiting for it")
        locked = lock.acquire()
    with locked:
        yield
