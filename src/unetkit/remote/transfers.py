"""Files of other machines: what is known of them, fetched whole to this machine, and sent there.

A fetch is bounded: in bytes, by what the server promised or by the disk; in time; and in tries.
What does not arrive whole is an error, and nothing of it is left.
"""

import hashlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unetkit._shared.files import PART
from unetkit.errors import ConfigError, DataError, DataNotFoundError, full_disk_named
from unetkit.remote.addresses import Address, require_safe_path
from unetkit.remote.filesystems import (
    READ_ONLY,
    WRITTEN,
    errors_named,
    is_transient,
    open_filesystem,
    root_of,
)

T = TypeVar("T")
TRIES = 3
WAIT_SECONDS = 0.5  # before the second try; doubles with each further one
SPARE_BYTES = 1 << 26  # of the disk for temporary files, which stay free
# What tells versions of a file apart, in the names of several file systems.
VALIDATORS = ("ETag", "etag", "md5", "CRC", "LastModified", "Last-Modified", "mtime", "created")
DIRECTORY = "directory"


@dataclass(frozen=True)
class RemoteFile:
    """A file of another machine, or a folder there.

    Args:
        address: Its address.
        filesystem: File system of fsspec.
        path: Path in it.
        size: Size in bytes; None if the server does not say.
        version: What changes with the file; empty if the server does not say.
        is_folder: Whether it is a folder.
    """

    address: Address
    filesystem: Any
    path: str
    size: int | None
    version: tuple[int, ...]
    is_folder: bool


def find_file(address: Address) -> RemoteFile:
    """Asks what an address names.

    Raises:
        DataNotFoundError, DataError: There is nothing, or it cannot be asked for.
        MissingExtraError, ConfigError: See `open_filesystem`.
    """
    filesystem, path = open_filesystem(address)
    return _described(address, filesystem, path, _tried(address, lambda: filesystem.info(path)))


def list_files(folder: RemoteFile) -> list[RemoteFile]:
    """Lists what a folder holds, in the order of names, without hidden files.

    Raises:
        DataNotFoundError, DataError: It cannot be listed.
    """
    filesystem, top = folder.filesystem, folder.path.rstrip("/")
    found = _tried(folder.address, lambda: filesystem.ls(folder.path, detail=True))
    listed = []
    for entry in found:
        name = _below(entry["name"].rstrip("/"), top)
        if not name or name.startswith("."):  # the folder itself, an empty object of its name
            continue
        listed.append(_described(folder.address / name, filesystem, entry["name"], entry))
    return sorted(listed, key=lambda file: file.address.name)


def match_files(pattern: Address) -> list[tuple[RemoteFile, str]]:
    """Finds what a pattern names, each with its path from the folder before the first sign.

    Raises:
        DataNotFoundError, DataError: It cannot be listed.
        MissingExtraError, ConfigError: See `open_filesystem`.
    """
    filesystem, path = open_filesystem(pattern)
    base = pattern.fixed_part()
    _, top = open_filesystem(base)
    found = _tried(pattern, lambda: filesystem.glob(path, detail=True))
    matched = []
    for name, entry in sorted(found.items()):
        inside = _below(name.rstrip("/"), top.rstrip("/"))
        matched.append((_described(base / inside, filesystem, name, entry), inside))
    return matched


def sizes_below(folder: RemoteFile | None) -> dict[str, int]:
    """Size in bytes of every file below a folder, by its path from there; of None, nothing.

    Raises:
        DataError: It cannot be listed.
    """
    if folder is None:
        return {}
    top = folder.path.rstrip("/")
    found = _tried(folder.address, lambda: folder.filesystem.find(folder.path, detail=True))
    return {_below(name, top): int(entry["size"] or 0) for name, entry in found.items()}


def version_of_folder(folder: RemoteFile) -> tuple[int, ...]:
    """What changes with any file below a folder; empty for web servers, which list none."""
    if folder.address.is_http:
        return ()
    found = _tried(folder.address, lambda: folder.filesystem.find(folder.path, detail=True))
    states = [(name, _version(entry)) for name, entry in sorted(found.items())]
    return (_number(repr(states)),) if all(state for _, state in states) else ()


def fetch(source: RemoteFile, file: Path) -> None:
    """Copies a file to this machine, whole or not at all.

    Raises:
        DataNotFoundError: It is not there any more.
        DataError: It cannot be read, is cut off, or is larger than the disk for it.
    """
    free = max(shutil.disk_usage(file.parent).free - SPARE_BYTES, 0)
    if source.size is not None and source.size > free:
        raise _too_large(source.address, f"{source.size:,}", free, file.parent)

    def attempt() -> None:
        limit = free if source.size is None else source.size
        with full_disk_named(file):
            source.filesystem.get_file(source.path, str(file), callback=_limited(limit))
        size = file.stat().st_size
        if source.size is not None and size < source.size:
            raise _CutOffError(f"{size:,} of {source.size:,} bytes")

    try:
        _tried(source.address, attempt)
    except _LargerError as error:
        file.unlink(missing_ok=True)
        if source.size is None:
            raise _too_large(source.address, f"more than {free:,}", free, file.parent) from None
        raise DataError(
            f"{source.address} has more than the {source.size:,} bytes that its server promised; "
            "accepted are files that stay as they are while they are read"
        ) from error
    except _CutOffError as error:
        file.unlink(missing_ok=True)
        raise DataError(
            f"{source.address} was cut off while it was read: {error} arrived; try again later"
        ) from None
    except BaseException:
        file.unlink(missing_ok=True)
        raise


@contextmanager
def fetched(address: Address) -> Iterator[Path]:
    """A file of another machine as one of this machine, which is removed at the end.

    Raises:
        DataNotFoundError, DataError: See `fetch`.
    """
    source = find_file(address)
    with tempfile.TemporaryDirectory(prefix="unetkit-") as folder:
        file = Path(folder, address.name or "image")
        require_safe_path(address, file.name)
        fetch(source, file)
        yield file


class Sender:
    """Sends files to a folder of another machine.

    Args:
        folder: Address of the folder.

    Raises:
        ConfigError: Nothing can be written at such addresses.
        MissingExtraError: See `open_filesystem`.
    """

    def __init__(self, folder: Address) -> None:
        if folder.is_chained or folder.scheme in READ_ONLY:
            raise ConfigError(
                f"output {folder} cannot be written: {folder.scheme}:// is only read; accepted "
                "are folders of this machine, s3://, gs://, az:// and others that can be written"
            )
        self.address = folder
        self._filesystem, path = open_filesystem(folder)
        self._path = path.rstrip("/")

    def find(self) -> RemoteFile | None:
        """The folder as it is now; None if there is none."""
        try:
            found = find_file(self.address)
        except DataNotFoundError:
            return None
        if not found.is_folder:
            raise DataError(f"output {self.address} is a file; accepted is a folder")
        return found

    def read(self, names: list[str], folder: Path) -> list[Path]:
        """Fetches files of the folder into one of this machine, in the same order."""
        files = []
        for name in names:
            path = f"{self._path}/{name}"
            source = RemoteFile(self.address / name, self._filesystem, path, None, (), False)
            file = folder / require_safe_path(self.address, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            fetch(source, file)
            files.append(file)
        return files

    def send(self, file: Path, name: str) -> None:
        """Copies a file, or a folder of OME-Zarr, to a name below the folder.

        A file has its name when it is whole; so has a folder its metadata, which come last.

        Raises:
            DataError: It cannot be written.
        """
        if not file.is_dir():
            self._send_file(file, name)
            return
        inside = [path for path in file.rglob("*") if path.is_file()]
        inside.sort(key=lambda path: (path.name == "zarr.json", -len(path.parts), path))
        for path in inside:
            self._send_file(path, f"{name}/{path.relative_to(file).as_posix()}")

    def _send_file(self, file: Path, name: str) -> None:
        address, target = self.address / name, f"{self._path}/{name}"

        def attempt() -> None:
            if self.address.scheme in WRITTEN:
                self._filesystem.put_file(str(file), target)
                return
            folder, _, last = target.rpartition("/")
            part = f"{folder}/{PART}{uuid.uuid4().hex[:8]}{last[-12:]}"
            self._filesystem.makedirs(folder, exist_ok=True)
            try:
                self._filesystem.put_file(str(file), part)
                self._filesystem.mv(part, target)
            except BaseException:
                with suppress(Exception):
                    self._filesystem.rm_file(part)
                raise

        _tried(address, attempt, "written")

    def remove(self, name: str) -> None:
        """Removes a file or folder; one that is not there counts as removed."""
        with suppress(DataNotFoundError), errors_named(self.address / name, "written"):
            self._filesystem.rm(f"{self._path}/{name}", recursive=True)


class _CutOffError(Exception):
    """Fewer bytes arrived than were promised."""


class _LargerError(Exception):
    """More bytes arrive than may be."""


def _limited(limit: int) -> Any:
    """Counts the bytes of a transfer, and ends it when there are too many."""
    from fsspec.callbacks import Callback

    class Limited(Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > limit:
                raise _LargerError

    return Limited()


def _tried(address: Address, work: Callable[[], T], action: str = "read") -> T:
    """Does something, some times where another time may succeed, and names its errors."""
    left = TRIES
    while True:
        left -= 1
        try:
            return work()
        except (_LargerError, DataError):
            raise
        except _CutOffError:
            if not left:
                raise
        except Exception as error:
            cause = root_of(error)
            if not left or not isinstance(cause, Exception) or not is_transient(cause):
                with errors_named(address, action):
                    raise
        time.sleep(WAIT_SECONDS * 2 ** (TRIES - left - 1))


def _described(
    address: Address, filesystem: Any, path: str, entry: Mapping[str, Any]
) -> RemoteFile:
    size = entry.get("size")
    is_folder = entry.get("type") == DIRECTORY
    return RemoteFile(
        address, filesystem, path, None if size is None else int(size), _version(entry), is_folder
    )


def _version(entry: Mapping[str, Any]) -> tuple[int, ...]:
    validators = [str(entry[key]) for key in VALIDATORS if entry.get(key) is not None]
    return (int(entry.get("size") or 0), _number(repr(validators))) if validators else ()


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())


def _below(path: str, top: str) -> str:
    """The path from a folder; all of it where it is not below, so that it is refused."""
    path, top = path.lstrip("/"), top.lstrip("/")
    if not top:
        return path
    return path[len(top) + 1 :] if path.startswith(f"{top}/") else ("" if path == top else path)


def _too_large(address: Address, size: str, free: int, folder: Path) -> DataError:
    return DataError(
        f"{address} has {size} bytes, and {folder} has room for {free:,}; accepted are files that "
        "fit there while they are read; make room, or set TMPDIR to another folder"
    )
