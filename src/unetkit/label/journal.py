"""The journal of an image: changes of its mask that are not in the mask file yet.

A first line of JSON says of which image and on what mask the changes begin; records follow, each
with a checksum. Changes set pixels to values, whatever these were before: to apply a journal again
to a mask that already has some of it gives the same mask. A record that a crash cut is left out.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from unetkit._shared.files import read_bytes, write_atomically
from unetkit.errors import DataError, full_disk_named

ENDING = ".journal"
JOURNAL_RECORD = struct.Struct("<4sII16s")  # kind, bytes of content, CRC-32 of key and content, key
CHANGE, WRITTEN = b"CHNG", b"MASK"  # runs of pixels; digest of a mask file with all changes before
LARGEST_JOURNAL = 1 << 32  # bytes


@dataclass(frozen=True)
class JournalStart:
    """What a journal begins with.

    Args:
        image: Name of the image.
        height: Height of the image.
        width: Width of the image.
        base: SHA-256 of the mask file that the changes apply to; "" if there was none.
        revision: Number of changes before the first one.
        key: Key of the last of these changes, 32 hexadecimal digits; "" if there was none.
    """

    image: str
    height: int
    width: int
    base: str = ""
    revision: int = 0
    key: str = ""


@dataclass(frozen=True)
class Change:
    """A change of a mask.

    Args:
        key: Key that its sender chose, 16 bytes.
        runs: Runs of pixels, (n, 3) uint32: first pixel, number of pixels, value.
    """

    key: bytes
    runs: np.ndarray


class Journal:
    """A journal that is written to; each record is on the disk when `append` returns.

    Args:
        path: Path of the journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, start: JournalStart) -> None:
        """Begins a new journal in place of the old one."""
        line = json.dumps(asdict(start)).encode() + b"\n"

        def write(part: Path) -> None:
            with open(part, "wb") as file:
                _write_down(file, line)

        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, write)

    def append(self, change: Change) -> None:
        """Adds a change."""
        self._append(CHANGE, change.key, change.runs.astype("<u4").tobytes())

    def append_written(self, digest: str) -> None:
        """Adds that a mask file with all changes so far is about to be written."""
        self._append(WRITTEN, bytes(16), bytes.fromhex(digest))

    def _append(self, kind: bytes, key: bytes, content: bytes) -> None:
        head = JOURNAL_RECORD.pack(kind, len(content), zlib.crc32(key + content), key)
        with full_disk_named(self.path), open(self.path, "ab") as file:
            before = file.tell()
            try:
                _write_down(file, head + content)
            except OSError:
                file.truncate(before)
                raise


def _write_down(file: object, content: bytes) -> None:
    file.write(content)  # type: ignore[attr-defined]
    file.flush()  # type: ignore[attr-defined]
    os.fsync(file.fileno())  # type: ignore[attr-defined]


@dataclass(frozen=True)
class ReadJournal:
    """A journal that was read.

    Args:
        start: What it begins with.
        changes: Its changes, in order.
        digests: Digests of the mask files that it belongs to.
        lost: Number of bytes at its end that a crash cut off.
    """

    start: JournalStart
    changes: tuple[Change, ...]
    digests: frozenset[str]
    lost: int

    @property
    def end(self) -> JournalStart:
        """The start of a journal after this one."""
        key = self.changes[-1].key.hex() if self.changes else self.start.key
        return replace(self.start, revision=self.start.revision + len(self.changes), key=key)


def read_journal(path: Path) -> ReadJournal:
    """Reads a journal.

    Raises:
        DataError: It does not begin as one.
        OSError: It cannot be read.
    """
    content = read_bytes(path, LARGEST_JOURNAL)
    line, _, rest = content.partition(b"\n")
    try:
        start = JournalStart(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read as a journal of strokes ({error}); accepted is one that "
            "unetkit label wrote; remove it to go on with the mask file alone"
        ) from error
    changes, digests, used = [], {start.base}, 0
    for kind, key, body in _records(rest):
        used += JOURNAL_RECORD.size + len(body)
        if kind == CHANGE:
            changes.append(Change(key, np.frombuffer(body, "<u4").reshape(-1, 3)))
        else:
            digests.add(body.hex())
    return ReadJournal(start, tuple(changes), frozenset(digests), len(rest) - used)


def _records(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, key and content of each whole record."""
    place = 0
    while place + JOURNAL_RECORD.size <= len(content):
        kind, size, checksum, key = JOURNAL_RECORD.unpack_from(content, place)
        body = content[place + JOURNAL_RECORD.size : place + JOURNAL_RECORD.size + size]
        if kind not in (CHANGE, WRITTEN) or len(body) < size or zlib.crc32(key + body) != checksum:
            return
        yield kind, key, body
        place += JOURNAL_RECORD.size + size


def apply_runs(mask: np.ndarray, runs: np.ndarray) -> None:
    """Sets the pixels of runs to their values, in the order of the runs.

    Args:
        mask: Mask, (H, W), contiguous; is changed.
        runs: Runs, (n, 3): first pixel in reading order, number of pixels, value.

    >>> mask = np.zeros((2, 3), np.uint8)
    >>> apply_runs(mask, np.array([[1, 3, 7], [2, 1, 9]]))
    >>> mask
    array([[0, 7, 9],
           [7, 0, 0]], dtype=uint8)
    """
    pixels = mask.reshape(-1)
    for first, count, value in runs.tolist():
        pixels[first : first + count] = value
