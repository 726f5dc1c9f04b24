"""Check that the structure of a TIFF lies within the file, so that a file that was cut is refused.

Readers stop at the first page that they don't find, and take the rest for a shorter stack or for an
image of fewer channels. Here the chain of pages is followed to its end, and each tag, strip and
tile must lie inside the file. No pixel is read.
"""

import struct
from dataclasses import dataclass

import numpy as np

from unetkit.io.tiff.file_bytes import OpenFile

# Bytes of a value by its type; a reader skips tags of other types.
TYPE_BYTES = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
WHOLE_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
# Tags.
WIDTH, HEIGHT, SAMPLES, STRIP_ROWS, PLANAR = 256, 257, 277, 278, 284
TILE_COLUMNS, TILE_ROWS, TILE_OFFSETS = 322, 323, 324
SUB_PAGES = 330
SEGMENTS = ((273, 279), (TILE_OFFSETS, 325))  # offsets and byte counts of strips, and of tiles
MOST_TAGS = 4096  # of a page


@dataclass(frozen=True)
class _Form:
    """Sizes and types of a classic TIFF or a BigTIFF.

    Args:
        order: "<" or ">".
        is_big: Whether offsets have 64 bits.
    """

    order: str
    is_big: bool

    @property
    def offset(self) -> str:
        return f"{self.order}{'Q' if self.is_big else 'L'}"

    @property
    def count(self) -> str:
        return f"{self.order}{'Q' if self.is_big else 'H'}"

    @property
    def entry(self) -> str:
        return f"{self.order}HH{'Q8s' if self.is_big else 'L4s'}"


@dataclass(frozen=True)
class _Tag:
    kind: int
    count: int
    start: int  # of its values in the file


def require_whole_structure(file: OpenFile, most_pages: int) -> None:
    """Follows the chain of pages to its end, and refuses whatever lies outside the file.

    Args:
        file: The open file; its position is moved.
        most_pages: Largest number of pages and sub-pages that are followed.

    Raises:
        OSError: A page, a tag, a strip or a tile points beyond the end of the file.

    Source: TIFF 6.0, section 2; BigTIFF of Aware Systems.
    """
    file.seek(0)
    head = file.read(16)
    form = _Form("<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+"))
    first = 8 if form.is_big else 4
    chains = [("page", struct.unpack_from(form.offset, head, first)[0])]
    seen: set[int] = set()
    while chains:
        name, start = chains.pop()
        number = 0
        while start and start not in seen and len(seen) <= most_pages:
            seen.add(start)
            tags, start = _read_page(file, form, f"{name} {number}", start)
            sub_pages = _values(file, form, tags, SUB_PAGES).tolist()
            chains += [("sub-page", offset) for offset in sub_pages]
            for starts, counts in SEGMENTS:
                _require_segments(file, form, tags, starts, counts, f"{name} {number}")
            number += 1


def _read_page(file: OpenFile, form: _Form, name: str, start: int) -> tuple[dict[int, _Tag], int]:
    """The tags of a page by code, and the offset of the next page."""
    count_size, entry_size = struct.calcsize(form.count), struct.calcsize(form.entry)
    count = struct.unpack(form.count, _read(file, name, start, count_size))[0]
    if not 0 < count <= MOST_TAGS:
        raise OSError(f"{name} has {count:,} tags")
    place = start + count_size
    size = count * entry_size + struct.calcsize(form.offset)
    table = _read(file, name, place, size)
    inline = 8 if form.is_big else 4
    tags: dict[int, _Tag] = {}
    for index in range(count):
        at = index * entry_size
        code, kind, number, value = struct.unpack_from(form.entry, table, at)
        if kind not in TYPE_BYTES:
            continue
        size = number * TYPE_BYTES[kind]
        where = place + at + entry_size - inline
        if size > inline:
            (where,) = struct.unpack(form.offset, value)
            _require_inside(file, f"tag {code} of {name}", where, size)
        tags.setdefault(code, _Tag(kind, number, where))
    return tags, struct.unpack(form.offset, table[-struct.calcsize(form.offset) :])[0]


def _require_segments(
    file: OpenFile, form: _Form, tags: dict[int, _Tag], starts: int, counts: int, name: str
) -> None:
    """Refuses strips or tiles beyond the end; those of no bytes are missing on purpose."""
    begin, sizes = (_values(file, form, tags, code) for code in (starts, counts))
    if len(begin) != len(sizes):  # refused when the page is opened
        return
    needed = _count_needed(file, form, tags, starts)
    if len(begin) > needed > 0:  # other readers pass over the rest
        raise OSError(f"{name} has {len(begin):,} strips or tiles, {needed:,} needed")
    size = np.uint64(file.size)
    is_outside = (sizes > 0) & ((begin > size) | (sizes > size - np.minimum(begin, size)))
    if is_outside.any():
        raise OSError(
            f"{is_outside.sum()} of {len(begin)} strips or tiles of {name} are not among its "
            f"{file.size} bytes"
        )


def _count_needed(file: OpenFile, form: _Form, tags: dict[int, _Tag], starts: int) -> int:
    """Number of strips or tiles that a page of its size needs."""

    def first(code: int, default: int) -> int:
        found = _values(file, form, tags, code)
        return int(found[0]) if len(found) else default

    height, width = first(HEIGHT, 0), first(WIDTH, 0)
    planes = first(SAMPLES, 1) if first(PLANAR, 1) == 2 else 1
    rows, columns = first(STRIP_ROWS, height) or height, width
    if starts == TILE_OFFSETS:
        rows, columns = first(TILE_ROWS, height), first(TILE_COLUMNS, width)
    return planes * -(-height // max(1, rows)) * -(-width // max(1, columns))


def _values(file: OpenFile, form: _Form, tags: dict[int, _Tag], code: int) -> np.ndarray:
    """The whole numbers of a tag, uint64; none if the page lacks it, or it has others."""
    tag = tags.get(code)
    if tag is None or tag.kind not in WHOLE_NUMBERS:
        return np.empty(0, np.uint64)
    dtype = np.dtype(form.order + WHOLE_NUMBERS[tag.kind])
    stored = _read(file, f"tag {code}", tag.start, tag.count * dtype.itemsize)
    return np.frombuffer(stored, dtype).astype(np.uint64)


def _read(file: OpenFile, name: str, start: int, size: int) -> bytes:
    _require_inside(file, name, start, size)
    file.seek(start)
    return file.read(size)


def _require_inside(file: OpenFile, name: str, start: int, size: int) -> None:
    if start + size > file.size:
        raise OSError(
            f"bytes {start:,} to {start + size:,} of {name} are not among its {file.size:,}"
        )
