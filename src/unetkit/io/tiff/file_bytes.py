"""Bytes and rows of large files for several threads: read, unpacked, and kept up to a bound."""

import tempfile
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

READ_BYTES = 1 << 23  # of rows at a time, if one is not longer
PACKED_BYTES = 1 << 20  # of a stream at a time
SHORT_ROW = 1 << 12  # bytes that are read as fast as a part of them

Read = Callable[[int, int], bytes]  # so many bytes from a place


@dataclass(frozen=True)
class Rows:
    """How rows of pixels, one after another and not compressed, become numbers.

    Args:
        read: Their bytes.
        row_bytes: Of one row.
        pixel_bytes: Of one pixel, or 0 where a row is understood as a whole only.
        convert: From (rows, bytes) and how many columns these are to (rows, columns, depth).
    """

    read: Read
    row_bytes: int
    pixel_bytes: int
    convert: Callable[[np.ndarray, int], np.ndarray]

    def fill(self, out: np.ndarray, start: int, rows: slice, columns: slice, width: int) -> None:
        """Writes a window of rows, of which the first begins at a place, into an array."""
        begin, end = 0, self.row_bytes
        if self.pixel_bytes:
            begin, end = columns.start * self.pixel_bytes, columns.stop * self.pixel_bytes
            width, columns = columns.stop - columns.start, slice(None)
        is_narrow = self.row_bytes > max(SHORT_ROW, 2 * (end - begin))
        step = max(1, READ_BYTES // (end - begin if is_narrow else self.row_bytes))
        for row in range(rows.start, rows.stop, step):
            count = min(step, rows.stop - row)
            place = start + row * self.row_bytes
            if is_narrow:
                starts = range(place + begin, place + count * self.row_bytes, self.row_bytes)
                stored = b"".join(self.read(one, end - begin) for one in starts)
                unpacked = np.frombuffer(stored, np.uint8).reshape(count, -1)
            else:
                stored = self.read(place, count * self.row_bytes)
                unpacked = np.frombuffer(stored, np.uint8).reshape(count, -1)[:, begin:end]
            numbers = self.convert(unpacked, width)
            out[row - rows.start :][:count] = numbers[:, columns]


class FileBytes:
    """Bytes of an open file, for several threads."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._size = file, size
        self._lock = threading.Lock()

    @property
    def is_closed(self) -> bool:
        """Whether nothing is read any more."""
        return self._file is None

    def read(self, start: int, count: int) -> bytes:
        """So many bytes from a place.

        Raises:
            OSError: The file does not have them, or is closed.
        """
        if start < 8 or count < 1 or start + count > self._size:
            raise OSError(f"bytes {start:,} to {start + count:,} are not among its {self._size:,}")
        with self._lock:
            self._require_open()
            self._file.seek(start)
            found: bytes = self._file.read(count)
        if len(found) < count:
            raise OSError(f"{start + len(found):,} bytes, {start + count:,} needed")
        return found

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Leaves the file to others, who may move its position, while no thread reads here.

        Raises:
            OSError: It is closed.
        """
        with self._lock:
            self._require_open()
            yield

    def close(self) -> bool:
        """Ends all reading; whether it had not ended before."""
        with self._lock:
            was_open = self._file is not None
            self._file = None
        return was_open

    def _require_open(self) -> None:
        if self._file is None:
            raise OSError("it was closed")


class Unpacked:
    """A deflated strip or tile in a temporary file, unpacked as far as it was asked for.

    Args:
        packed: Reads the file.
        start: Where the stream begins there.
        count: Bytes of it.
        size: Bytes that it is unpacked to.
    """

    def __init__(self, packed: Read, start: int, count: int, size: int) -> None:
        self._packed, self._start, self._end, self._most = packed, start, start + count, size
        self._lock = threading.Lock()
        self._file: Any = None

    def read(self, start: int, count: int) -> bytes:
        """So many unpacked bytes from a place.

        Raises:
            OSError, zlib.error: They are not there, or damaged.
        """
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - until `close`
                self._inflater, self._next, self._size = zlib.decompressobj(), self._start, 0
            try:
                self._unpack_to(start + count)
            except BaseException:  # what was unpacked and not written is lost
                self._drop()
                raise
            self._file.seek(start)
            unpacked: bytes = self._file.read(count)
            return unpacked

    def close(self) -> None:
        """Removes the temporary file; whoever reads again begins anew."""
        with self._lock:
            self._drop()

    def __del__(self) -> None:
        self._drop()  # of what was closed, and read once more by a thread that had begun before

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _unpack_to(self, needed: int) -> None:
        self._file.seek(self._size)
        while self._size < needed:
            unpacked = self._unpack(READ_BYTES)
            if not unpacked and self._is_over():
                raise OSError(f"{self._size:,} bytes, {needed:,} needed")
            self._file.write(unpacked)
            self._size += len(unpacked)
            if self._size >= self._most:
                self._unpack(1)  # its checksum, if this is the end

    def _unpack(self, most: int) -> bytes:
        packed = self._inflater.unconsumed_tail
        if not packed and not self._is_over():
            size = min(PACKED_BYTES, self._end - self._next)
            packed = self._packed(self._next, size)
            self._next += size
        return self._inflater.decompress(packed, most)

    def _is_over(self) -> bool:
        return self._inflater.eof or self._next >= self._end


class Cache:
    """What was used last, up to a number of bytes; the latest one in any case."""

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
            if key in self._kept:  # by another thread, at the same time
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
