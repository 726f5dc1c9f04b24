"""Bytes of large files for several threads: read, inflated, and cached up to a bound."""

import os
import tempfile
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from unetkit._shared.files import open_input
from unetkit.io.tiff.streams import ALIGNMENT, require_end, require_padding

READ_BYTES = 1 << 23  # read or inflated at a time, unless one row is longer
PACKED_BYTES = 1 << 20  # of a deflate stream, read at a time
SHORT_ROW = 1 << 12  # bytes; reading such a row whole is as fast as reading a section of it

Read = Callable[[int, int], bytes]  # (offset, count) -> exactly `count` bytes


def version_of(file: IO[bytes] | os.stat_result) -> tuple[int, ...]:
    """Returns what tells versions of a file apart: times of change, size and inode."""
    state = file if isinstance(file, os.stat_result) else os.fstat(file.fileno())
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


class OpenFile:
    """A file that is opened once for reading; several threads may use `read_at`.

    It is also the file object that is given to tifffile, which moves its position; such calls must
    be made within `reserved` while other threads may read.

    Args:
        path: Path of the file.

    Raises:
        DataError: It is no regular file.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._handle: Any = open_input(path)  # until `close`
        self._lock = threading.Lock()
        self.version = version_of(self._handle)
        self.size = os.fstat(self._handle.fileno()).st_size

    @property
    def handle(self) -> Any:
        """Python's file object.

        Raises:
            OSError: The file was closed.
        """
        if self._handle is None:
            raise OSError("the file was closed")
        return self._handle

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._handle is None

    def read(self, count: int = -1) -> bytes:
        """Reads from the current position."""
        content: bytes = self.handle.read(count)
        return content

    def readinto(self, buffer: Any) -> int:
        """Reads from the current position into a buffer; returns the number of bytes."""
        count: int = self.handle.readinto(buffer)
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves the current position; returns the new one."""
        position: int = self.handle.seek(offset, whence)
        return position

    def tell(self) -> int:
        """Returns the current position."""
        position: int = self.handle.tell()
        return position

    def read_at(self, start: int, count: int) -> bytes:
        """Reads `count` bytes from the offset `start`.

        Raises:
            OSError: The file is shorter, or was closed.
        """
        if start < 8 or count < 1 or start + count > self.size:
            raise OSError(f"bytes {start:,} to {start + count:,} are not among its {self.size:,}")
        with self._lock:
            self.seek(start)
            content = self.read(count)
        if len(content) < count:
            raise OSError(f"{start + len(content):,} bytes, {start + count:,} needed")
        return content

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keeps other threads from reading, so that the position can be moved.

        Raises:
            OSError: The file was closed.
        """
        with self._lock:
            _ = self.handle
            yield

    def adopt(self, other: "OpenFile") -> None:
        """Continues with the handle of another object that has opened the same file."""
        self._handle, self._lock = other._handle, other._lock

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None


@dataclass(frozen=True)
class Rows:
    """Uncompressed rows of pixels, stored one after another.

    Args:
        read: Reads their bytes; the first row begins at 0.
        row_bytes: Size of one row in bytes.
        pixel_bytes: Size of one pixel in bytes; 0 where a row can only be converted as a whole.
        convert: Converts (rows, bytes) uint8 and the number of columns to (rows, columns, depth).
    """

    read: Read
    row_bytes: int
    pixel_bytes: int
    convert: Callable[[np.ndarray, int], np.ndarray]

    def fill(self, out: np.ndarray, rows: slice, columns: slice, width: int) -> None:
        """Reads a window of an image of this width into `out`."""
        begin, end = 0, self.row_bytes
        if self.pixel_bytes:
            begin, end = columns.start * self.pixel_bytes, columns.stop * self.pixel_bytes
            width, columns = columns.stop - columns.start, slice(None)
        is_narrow = self.row_bytes > max(SHORT_ROW, 2 * (end - begin))
        step = max(1, READ_BYTES // (end - begin if is_narrow else self.row_bytes))
        for row in range(rows.start, rows.stop, step):
            count = min(step, rows.stop - row)
            place = row * self.row_bytes
            if is_narrow:
                starts = range(place + begin, place + count * self.row_bytes, self.row_bytes)
                stored = b"".join(self.read(one, end - begin) for one in starts)
                unpacked = np.frombuffer(stored, np.uint8).reshape(count, -1)
            else:
                stored = self.read(place, count * self.row_bytes)
                unpacked = np.frombuffer(stored, np.uint8).reshape(count, -1)[:, begin:end]
            numbers = self.convert(unpacked, width)
            out[row - rows.start :][:count] = numbers[:, columns]


class InflatedFile:
    """A deflated strip or tile, inflated into a temporary file as far as it was asked for.

    Args:
        read: Reads the compressed stream, which begins at 0.
        count: Length of the stream in bytes.
        size: Length of the inflated data in bytes.
        most: Length that they may have, where a last strip may be filled up.
    """

    def __init__(self, read: Read, count: int, size: int, most: int = 0) -> None:
        self._packed, self._end, self._needed = read, count, size
        self._most = max(size, most)
        self._lock = threading.Lock()
        self._file: Any = None

    def read(self, start: int, count: int) -> bytes:
        """Reads `count` inflated bytes from the offset `start`.

        Raises:
            OSError, zlib.error: The stream is too short or damaged.
        """
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - until `close`
                self._inflater, self._next, self._size = zlib.decompressobj(), 0, 0
            try:
                self._inflate_to(start + count)
            except BaseException:  # what was inflated and not written is lost
                self._drop()
                raise
            self._file.seek(start)
            content: bytes = self._file.read(count)
            return content

    def close(self) -> None:
        """Removes the temporary file; a later `read` inflates from the beginning."""
        with self._lock:
            self._drop()

    def __del__(self) -> None:
        self._drop()  # a thread may have read once more after `close`

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _inflate_to(self, needed: int) -> None:
        self._file.seek(self._size)
        while self._size < needed:
            inflated = self._inflate(min(READ_BYTES, self._needed - self._size))
            if not inflated and self._is_over():
                raise OSError(f"{self._size:,} bytes, {needed:,} needed")
            self._file.write(inflated)
            self._size += len(inflated)
            if self._size >= self._needed:
                self._verify_end()

    def _verify_end(self) -> None:
        """Refuses a stream that does not end with its data, by a right checksum."""
        size, inflated = self._size, b"?"
        while size <= self._most and (inflated or not self._is_over()):
            inflated = self._inflate(READ_BYTES)
            size += len(inflated)
        require_end(self._inflater, size, self._most)
        rest = self._end - self._next
        after = self._packed(self._next, min(rest, ALIGNMENT)) if rest else b""
        require_padding(self._inflater.unused_data + after)

    def _inflate(self, most: int) -> bytes:
        packed = self._inflater.unconsumed_tail
        if not packed and not self._is_over():
            size = min(PACKED_BYTES, self._end - self._next)
            packed = self._packed(self._next, size)
            self._next += size
        return self._inflater.decompress(packed, most)

    def _is_over(self) -> bool:
        return self._inflater.eof or self._next >= self._end


class Cache:
    """Arrays that were used last, up to a number of bytes; the latest one is always kept."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[object, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> np.ndarray | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: object, array: np.ndarray) -> None:
        with self._lock:
            if key in self._kept:  # another thread has decoded it meanwhile
                return
            self._kept[key] = array
            self._bytes += array.nbytes
            while self._bytes > self._most and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0
