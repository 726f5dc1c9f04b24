"""Published .tar.gz archives: fetch them whole whatever the network does, and unpack them safely.

What: `obtain_archives` gets the archives of a `Publication`, by download or from a folder;
`unpack_archive` writes the plain files of one.

Why this way: pooch keeps the cache and compares checksums; it cannot go on where a line was cut, so
it is handed a downloader that can. What has come is kept beside the cached archive as NAME.part,
and the next try asks for the rest, be it minutes later, in another process or from another mirror.
A lock lets one process at a time write there. Sizes are known, so another file, such as the page
of a network that wants a login, is refused before it is kept.

An archive is a stranger's list of paths and bytes even when its checksum is right. Members are read
one by one and only plain files within the folder are written, by a reader that stops at a bound.

Left to others: which archives there are, which of their members are strays, and what the files
mean.
"""

import gzip
import logging
import math
import os
import re
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests
import urllib3
from filelock import FileLock, Timeout

from unetkit._shared.display import Display
from unetkit.errors import DataError, DataNotFoundError

logger = logging.getLogger(__name__)

MIB = 1 << 20  # a step of the progress that is shown
MAX_MEMBERS = 100_000  # of an archive; published data sets hold a fraction of that
MAX_NAME = 255  # bytes, which every file system takes
_BLOCK = 1 << 16
# What tarfile, gzip and Python raise at bytes that are no archive, or not all of one.
_DAMAGE = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, RecursionError)
_OPTION = "the folder that holds them with archives=FOLDER (--archives FOLDER)"


@dataclass(frozen=True)
class Archive:
    """A published .tar.gz.

    Args:
        name: File name, which a mirror's address ends with.
        size: In bytes.
        md5: Checksum, in hexadecimal digits.
        max_unpacked_size: Bound on the bytes of the tar within, headers included.
    """

    name: str
    size: int
    md5: str
    max_unpacked_size: int


@dataclass(frozen=True)
class Publication:
    """Archives, where they lie, and how patiently to ask for them.

    Args:
        archives: All are needed.
        mirrors: Addresses before an archive's name, in the order in which they are asked.
        connect_seconds: For a server to take the call.
        read_seconds: Without a byte, before a line counts as cut.
        tries: In a row at one mirror that bring less than a mebibyte.
        wait_seconds: Before the second try; doubles with each.
    """

    archives: tuple[Archive, ...]
    mirrors: tuple[str, ...]
    connect_seconds: float = 10
    read_seconds: float = 30
    tries: int = 4
    wait_seconds: float = 1


def obtain_archives(
    publication: Publication,
    *,
    archives: str | Path | None = None,
    cache: str | Path | None = None,
    display: Display,
) -> list[Path]:
    """Gets every archive of a publication as it was published, from a folder or by download.

    Args:
        publication: What to get, and from where.
        archives: A folder in which all of them lie already; nothing is downloaded then.
        cache: Where downloaded archives, whole or in part, are kept for the next time; by default
            the user's cache folder. Archives that it holds already are not downloaded again.
        display: Shows the bytes as they come, and is told of servers that fail.

    Returns:
        Their files, in the publication's order; each has the published checksum.

    Raises:
        DataNotFoundError: No server delivers, or `archives` lacks one of them.
        DataError: An archive in `archives` has a wrong checksum.
    """
    if archives is not None:
        return [_check(Path(archives), each, publication) for each in publication.archives]
    store = Path(pooch.os_cache("unetkit") if cache is None else cache).expanduser()
    return [_fetch(each, publication, store, display) for each in publication.archives]


def _check(folder: Path, archive: Archive, publication: Publication) -> Path:
    """An archive that the user has already, if it is the published one."""
    path = folder / archive.name
    if not path.is_file():
        names = " and ".join(each.name for each in publication.archives)
        raise DataNotFoundError(
            f"archive {path} does not exist; accepted is a folder that holds {names} as published; "
            "correct the folder, or leave it out to download them"
        )
    found = pooch.file_hash(path, alg="md5")
    if found != archive.md5:
        raise DataError(
            f"archive {path} has the md5 checksum {found} ({path.stat().st_size:,} bytes); accepted"
            f" is the published one, {archive.md5} ({archive.size:,} bytes); download it again from"
            f" {publication.mirrors[0]}{archive.name}"
        )
    return path


class _ServerError(Exception):
    """Why a server did not deliver, whether it was met at all, and whether to ask it again."""

    def __init__(self, reason: str, *, met: bool = True, again: bool = False) -> None:
        super().__init__(reason)
        self.met = met
        self.again = again


class _Progress:
    """Mebibytes on a display, from the first one on; what comes a second time does not count."""

    def __init__(self, display: Display, name: str, total: int) -> None:
        self._begin = lambda: display.task(name, math.ceil(total / MIB))
        self._advance: Callable[[], None] | None = None
        self._shown = 0

    def reach(self, position: int) -> None:
        self._advance = self._advance or self._begin()
        while self._shown * MIB < position:
            self._shown += 1
            self._advance()


@dataclass
class _Downloader:
    """Fetches one archive from one server for pooch, going on where earlier tries were cut off."""

    archive: Archive
    part: Path
    publication: Publication
    display: Display
    progress: _Progress
    met: bool = False
    ranges: bool = True  # until the server turns out not to know them
    version: str | None = None  # the server's mark of the file that the part is of

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        """Puts the whole archive at `output_file`, its checksum yet to be compared.

        Raises:
            _ServerError: The server does not deliver; what has come stays in the part.
        """
        if self._have() > self.archive.size:
            self.part.unlink()
        tries, furthest = 0, self._have()
        while self._have() != self.archive.size:
            try:
                self._ask(url)
            except _ServerError as failure:
                tries = 1 if self._have() - furthest >= MIB else tries + 1
                furthest = max(furthest, self._have())
                if not failure.again or tries >= self.publication.tries:
                    raise
                self.display.say(f"          {url} {failure}; trying again")
                time.sleep(self.publication.wait_seconds * 2 ** (tries - 1))
        os.replace(self.part, output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _ask(self, url: str) -> None:
        """One request for what is missing."""
        start = self._have() if self.ranges else 0
        # The archive is sent as it is: servers like to call its gzip an encoding to be undone.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.version:
                headers["If-Range"] = self.version
        timeout = (self.publication.connect_seconds, self.publication.read_seconds)
        try:
            with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
                self.met = True
                self._append(response, self._accept(response, start))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._explain(error) from error

    def _accept(self, response: requests.Response, start: int) -> int:
        """Where the answer's bytes belong in the archive, if it is that which was asked for."""
        status, total = response.status_code, response.headers.get("Content-Length", "")
        if status == 206:
            span = response.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", span)
            total = match[2] if match else ""
            if match is None or int(match[1]) != start:
                self.ranges = False
                raise _ServerError(f"sent another part ({span!r}) than bytes {start}-", again=True)
        elif status == 416 and start:
            self.ranges = False
            raise _ServerError(f"has no bytes {start}- (416)", again=True)
        elif status != 200:
            raise _ServerError(
                f"answered {status} {response.reason}", again=status in (408, 429) or status >= 500
            )
        if total.isdecimal() and int(total) != self.archive.size:
            raise _ServerError(f"offers {int(total):,} bytes, not {self.archive.size:,}")
        mark = response.headers.get("ETag", "W/")
        # A weak mark does not stand for the very bytes.
        self.version = response.headers.get("Last-Modified") if mark.startswith("W/") else mark
        return start if status == 206 else 0

    def _append(self, response: requests.Response, position: int) -> None:
        with self.part.open("ab" if position else "wb") as file:
            for block in response.raw.stream(_BLOCK, decode_content=False):
                position += len(block)
                if position > self.archive.size:
                    break
                file.write(block)
                self.progress.reach(position)
        if position > self.archive.size:
            self.part.unlink()
            raise _ServerError(f"sent more than {self.archive.size:,} bytes")
        if position < self.archive.size:
            raise _ServerError(f"cut the line at {position:,} bytes", again=True)

    def _explain(self, error: Exception) -> _ServerError:
        """A short reason in place of the libraries' long ones, which go to the log."""
        logger.info("%s: %s", self.archive.name, error)
        if isinstance(error, requests.exceptions.SSLError):
            return _ServerError("made no secure connection")
        known = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError)
        if not isinstance(error, known):
            return _ServerError(f"cannot be asked ({error})")
        # requests calls it a ConnectionError too when a server takes the call and then hangs up.
        hung_up = isinstance(next(iter(error.args), None), urllib3.exceptions.ProtocolError)
        unmet = isinstance(error, requests.ConnectionError) and not hung_up
        self.met = self.met or not unmet
        reason = "could not be reached" if unmet else f"cut the line at {self._have():,} bytes"
        if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            reason = "did not answer in time"
        return _ServerError(reason, met=self.met, again=self.met)


def _fetch(archive: Archive, publication: Publication, cache: Path, display: Display) -> Path:
    """The archive in the cache, downloaded if need be from the first mirror that delivers."""
    cache.mkdir(parents=True, exist_ok=True)
    part = cache / f"{archive.name}.part"
    progress = _Progress(display, f"downloading {archive.name}", archive.size)
    failures: dict[str, _ServerError] = {}
    with _locked(cache / f"{archive.name}.lock", display), _quiet_pooch():
        for url in (mirror + archive.name for mirror in publication.mirrors):
            downloader = _Downloader(archive, part, publication, display, progress)
            try:
                return _fetch_from(url, downloader, cache)
            except _ServerError as failure:
                failures[url] = failure
                display.say(f"          {url} {failure}")
    if not any(failure.met for failure in failures.values()):
        hosts = ", ".join(dict.fromkeys(urlsplit(url).hostname or url for url in failures))
        raise DataNotFoundError(
            f"none of the servers of {archive.name} could be reached ({hosts}); accepted is a "
            f"network connection, or archives that you have already; connect, or name {_OPTION}"
        )
    reasons = ", ".join(f"{url} ({failure})" for url, failure in failures.items())
    raise DataNotFoundError(
        f"{archive.name} could not be downloaded from {reasons}; accepted are {archive.size:,} "
        f"bytes with the md5 checksum {archive.md5}; try again later, which goes on from what is "
        f"in {cache}, or download the archives by other means and name {_OPTION}"
    )


def _fetch_from(url: str, downloader: _Downloader, cache: Path) -> Path:
    archive, foreign = downloader.archive, downloader.part.exists()
    try:
        path = pooch.retrieve(url, f"md5:{archive.md5}", archive.name, cache, downloader=downloader)
    except ValueError as error:
        if foreign:  # what another server sent before may be the wrong part, and is gone now
            return _fetch_from(url, downloader, cache)
        raise _ServerError("sent bytes with a wrong checksum") from error
    return Path(path)


@contextmanager
def _locked(path: Path, display: Display) -> Iterator[None]:
    """One process at a time; the others wait, then find the archive in the cache."""
    lock = FileLock(path)
    try:
        locked = lock.acquire(timeout=0)
    except Timeout:
        display.say(f"          another process is at {path.stem}; waiting for it")
        locked = lock.acquire()
    with locked:
        yield


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """pooch announces each file on the terminal, in the midst of the bar."""
    talker = pooch.get_logger()
    level = talker.level
    talker.setLevel(logging.WARNING)
    try:
        yield
    finally:
        talker.setLevel(level)


class _UnsafeError(Exception):
    """What an archive holds that must not be unpacked."""


class _BoundedGzip(gzip.GzipFile):
    """Gives up to `limit` unpacked bytes, few at a time, so that neither disk nor memory fills."""

    limit = 0

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MIB:  # tarfile takes some headers whole
            raise _UnsafeError("a header of excessive size")
        self.require(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            self.require(offset)
        return super().seek(offset, whence)

    def require(self, position: int) -> None:
        if not 0 <= position <= self.limit:
            raise _UnsafeError(f"more than {self.limit:,} unpacked bytes")


def unpack_archive(
    path: Path,
    folder: Path,
    *,
    max_size: int,
    is_stray: Callable[[str], bool],
    display: Display,
) -> list[str]:
    """Unpacks the plain files of a .tar.gz into a folder, and nothing outside it.

    Args:
        path: The archive.
        folder: Exists; what is unpacked before an error stays there.
        max_size: Bound on the bytes of the tar within, headers included.
        is_stray: Whether a member of this name is to be left out.
        display: Shows how much of the archive is read.

    Returns:
        Names of the stray members that were left out.

    Raises:
        DataError: The archive is damaged, is larger than the bound, or has a member that is neither
            file nor folder, that lies outside `folder`, or that comes twice.
    """
    left_out, place = [], "at its beginning"
    size = path.stat().st_size
    progress = _Progress(display, f"unpacking {path.name}", size)
    try:
        with path.open("rb") as packed, _BoundedGzip(fileobj=packed) as stream:
            stream.limit = max_size
            for count, member in enumerate(tarfile.TarFile(fileobj=stream)):
                place = f"at member {member.name!r}"
                if count >= MAX_MEMBERS:
                    raise _UnsafeError(f"more than {MAX_MEMBERS:,} members")
                _require_harmless(member, folder)
                stream.require(member.offset_data + member.size)
                if is_stray(member.name):
                    left_out.append(member.name)
                else:
                    _unpack_member(member, stream, folder)
                progress.reach(packed.tell())
        progress.reach(size)
    except _UnsafeError as error:
        raise DataError(
            f"archive {path} has {error} {place}; accepted are plain files and folders, each once "
            "and within the folder, up to a bound; use the published archive"
        ) from error
    except _DAMAGE as error:
        raise DataError(
            f"archive {path} is damaged {place} ({error}); accepted is a whole .tar.gz; download "
            "it again"
        ) from error
    return left_out


def _require_harmless(member: tarfile.TarInfo, folder: Path) -> None:
    if member.issym() or member.islnk():
        raise _UnsafeError("a link")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise _UnsafeError("something that is neither file nor folder")
    if member.size < 0:
        raise _UnsafeError("a negative size")
    parts = member.name.split("/")
    # A backslash or a colon parts names on Windows only.
    if not parts[0] or ".." in parts or "\\" in member.name or ":" in member.name:
        raise _UnsafeError("a path out of the folder")
    if len(os.fsencode(member.name)) > MAX_NAME:
        raise _UnsafeError("a name that is too long")
    if hasattr(tarfile, "data_filter"):  # Python's own eye on it, from 3.11.4 on
        tarfile.data_filter(member, str(folder))


def _unpack_member(member: tarfile.TarInfo, stream: gzip.GzipFile, folder: Path) -> None:
    """Writes one file or folder with the usual rights, whatever the archive says of them."""
    target = folder / PurePosixPath(member.name)
    try:
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise _UnsafeError("a path that is taken already") from error
    with file:
        stream.seek(member.offset_data)
        for start in range(0, member.size, MIB):
            length = min(MIB, member.size - start)
            if file.write(stream.read(length)) < length:
                raise EOFError("its last file is cut off")
