"""Unpack .tar.gz archives safely.

Paths, sizes and contents of an archive are untrusted, even when its checksum is right. Members are
read one by one, only plain files inside the target folder are written, and reading stops at a bound
of unpacked bytes. `tarfile` alone, with its filter for data, accepts duplicate and absolute paths,
links, and archives that unpack to any size (docs/log.md, 2026-11-29).
"""

import gzip
import math
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from unetkit._shared.display import Display
from unetkit._shared.files import open_input
from unetkit.errors import DataError

MIB = 1 << 20  # bytes in a step of the displayed progress
MAX_MEMBERS = 100_000  # of an archive; published data sets have far fewer
MAX_NAME = 255  # bytes, which every file system accepts
# Errors that tarfile, gzip and Python raise for bytes that are not a complete archive.
_DAMAGE = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, RecursionError)


class ByteProgress:
    """Progress of a task on a display, in mebibytes; bytes that are read again do not count.

    Args:
        display: Display on which the task appears with the first byte.
        name: Name of the task.
        total: Number of bytes of the whole task.
    """

    def __init__(self, display: Display, name: str, total: int) -> None:
        self._begin = lambda: display.task(name, math.ceil(total / MIB))
        self._advance: Callable[[], None] | None = None
        self._shown = 0

    def reach(self, position: int) -> None:
        """Advances the task to a position in bytes."""
        self._advance = self._advance or self._begin()
        while self._shown * MIB < position:
            self._shown += 1
            self._advance()


class _UnsafeError(Exception):
    """Content of an archive that must not be unpacked."""


class _BoundedGzip(gzip.GzipFile):
    """Reads at most `limit` unpacked bytes, in small pieces, to bound disk and memory."""

    limit = 0

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MIB:  # tarfile reads some headers as a whole
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
        path: Path of the archive.
        folder: Existing folder; files unpacked before an error stay in it.
        max_size: Largest accepted size of the uncompressed tar in bytes, headers included.
        is_stray: Function that returns whether to leave out the member of a name.
        display: Display of the progress.

    Returns:
        Names of the members that were left out.

    Raises:
        DataError: The archive is damaged, is larger than `max_size`, or has a member that is
            neither file nor folder, is outside `folder`, or occurs twice.
    """
    left_out, place = [], "at its beginning"
    size = path.stat().st_size
    progress = ByteProgress(display, f"unpacking {path.name}", size)
    try:
        with open_input(path) as packed, _BoundedGzip(fileobj=packed) as stream:
            stream.limit = max_size
            for count, member in enumerate(tarfile.TarFile(fileobj=stream)):
                place = f"at member {member.name!r}"
                if count >= MAX_MEMBERS:
                    raise _UnsafeError(f"more than {MAX_MEMBERS:,} members")
                _require_safe(member, folder)
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
            "and inside the folder, up to a bound; use the published archive"
        ) from error
    except _DAMAGE as error:
        raise DataError(
            f"archive {path} is damaged {place} ({error}); accepted is a complete .tar.gz; "
            "download it again"
        ) from error
    return left_out


def _require_safe(member: tarfile.TarInfo, folder: Path) -> None:
    if member.issym() or member.islnk():
        raise _UnsafeError("a link")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise _UnsafeError("a member that is neither file nor folder")
    if member.size < 0:
        raise _UnsafeError("a negative size")
    parts = member.name.split("/")
    # On Windows, backslashes and colons separate names, too.
    if not parts[0] or ".." in parts or "\\" in member.name or ":" in member.name:
        raise _UnsafeError("a path outside the folder")
    if len(os.fsencode(member.name)) > MAX_NAME:
        raise _UnsafeError("a name that is too long")
    if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
        tarfile.data_filter(member, str(folder))


def _unpack_member(member: tarfile.TarInfo, stream: gzip.GzipFile, folder: Path) -> None:
    """Writes one file or folder with the default permissions, not those of the archive."""
    target = folder / PurePosixPath(member.name)
    try:
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise _UnsafeError("a path that exists already") from error
    with file:
        stream.seek(member.offset_data)
        for start in range(0, member.size, MIB):
            length = min(MIB, member.size - start)
            if file.write(stream.read(length)) < length:
                raise EOFError("its last file is incomplete")
