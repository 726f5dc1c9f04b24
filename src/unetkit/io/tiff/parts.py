"""The parts of a TIFF picture, read by windows: a page, a run of plain numbers, a sample.

Only what a window needs is read: the strips and tiles that it touches, or, where numbers lie in the
file as they are, only their rows. Decoded strips and tiles are kept for the next windows, as far as
a bound allows. A deflated one that is too large to be unpacked in memory goes to a temporary file.

What strips and tiles hold is decoded in `segments`.
"""

import math
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile

from unetkit.errors import DataError
from unetkit.io.tiff import pages as tiff
from unetkit.io.tiff.file_bytes import Cache, FileBytes, Read, Rows, Unpacked
from unetkit.io.tiff.segments import (
    DEFLATE,
    UNCOMPRESSED,
    Grid,
    Segments,
    is_plain,
    segments_of,
    straight,
)

SEGMENT_BYTES = 1 << 27  # of a strip or tile that is unpacked in memory; Pillow warns of more
MORE_BYTES = 1 << 20  # no codec makes more than these of nothing, and twice what there is
UNPACKED_FILES = 16  # temporary ones, of a page
BATCH_BYTES = 1 << 22  # unpacked at a time: a call of Pillow takes as long as 100 kB


class PartWindows(Protocol):
    """Some channels of a picture, not turned upright, read by windows.

    Attributes:
        shape: (height, width, channels).
        dtype: Of the numbers.
        is_final: Whether black is 0 already.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def is_final(self) -> bool: ...

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        """Writes a window into an array of its size.

        Raises:
            DataError, OSError: What it needs is damaged, or cannot be read by windows.
        """
        ...

    def close(self) -> None:
        """Frees temporary files."""
        ...


def open_part(
    tif: tifffile.TiffFile, path: Path, part: tiff.Part, file: FileBytes, cache: Cache
) -> PartWindows:
    """Finds out how a part is read by windows; pixels are not looked at.

    Raises:
        DataError: Its structure is damaged.
    """
    series = part.series

    def open_page(page: Any) -> PartWindows:
        return _open_page(tif, path, page, file, cache)

    if not part.whole:
        return open_page(series.pages[part.page])
    if part.page is None and len(series.pages) == series.shape[0]:
        return _RowPages([open_page(page) for page in series.pages], series.shape[2])
    shape = tiff.plane_shape(part)
    if series.dataoffset is None:
        page, sample = tiff.sample_of(path, part)
        return _Sample(open_page(page), sample)
    planes, depth = 1, 1
    if len(shape) == 2:
        height, width = shape
    elif part.page is not None and series.axes.endswith("SYX"):
        planes, height, width = shape
    else:
        height, width, depth = shape
    stored = series.dtype.newbyteorder(tif.byteorder)
    pixel_bytes = depth * stored.itemsize
    start = series.dataoffset + (part.page or 0) * math.prod(shape) * stored.itemsize

    def convert(unpacked: np.ndarray, columns: int) -> np.ndarray:
        return np.ascontiguousarray(unpacked).view(stored).reshape(-1, columns, depth)

    rows = Rows(file.read, width * pixel_bytes, pixel_bytes, convert)
    return _Run(rows, start, (height, width, planes * depth), planes, np.dtype(series.dtype))


def _open_page(
    tif: tifffile.TiffFile, path: Path, page: Any, file: FileBytes, cache: Cache
) -> PartWindows:
    tiff.require_page(path, page)
    if not _is_one_run(page):
        return _Segmented(segments_of(tif, path, page), file.read, cache)
    keyframe = page.keyframe
    height, width = keyframe.imagelength, keyframe.imagewidth
    samples = max(1, keyframe.samplesperpixel)
    planes = samples if keyframe.planarconfig == 2 else 1
    row_bytes = width * samples // planes * keyframe.bitspersample // 8
    grid = Grid(height, width, height, width, planes, samples // planes, row_bytes, False)
    dtype = np.dtype(keyframe.dtype)
    segments = Segments(path, page, grid, tif.byteorder, dtype, samples)
    rows = Rows(_straight(file.read, keyframe), *_row_of(segments))
    return _Run(rows, page.dataoffsets[0], (height, width, samples), planes, dtype)


def _row_of(segments: Segments) -> tuple[int, int, Callable[[np.ndarray, int], np.ndarray]]:
    """What `Rows` needs to know of rows that are not compressed."""
    keyframe, grid = segments.page.keyframe, segments.grid
    is_cut = keyframe.bitspersample >= 8 and int(keyframe.predictor) == 1
    pixel_bytes = grid.depth * keyframe.bitspersample // 8 if is_cut else 0
    return grid.row_bytes, pixel_bytes, segments.numbers


def _straight(read: Read, keyframe: Any) -> Read:
    return lambda start, count: straight(read(start, count), keyframe)


def _is_one_run(page: Any) -> bool:
    """Whether the numbers of a page lie in the file row after row, whatever its strips say."""
    keyframe = page.keyframe
    if not keyframe.is_contiguous or not is_plain(keyframe) or not len(page.dataoffsets):
        return False
    ends = [a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False)]
    return ends[:-1] == list(page.dataoffsets[1:])


@dataclass(frozen=True)
class _Run:
    """Planes of rows, one after another in the file from a place on."""

    rows: Rows
    start: int
    shape: tuple[int, int, int]
    planes: int
    dtype: np.dtype
    is_final = False

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        height, width, channels = self.shape
        depth = channels // self.planes
        for plane in range(self.planes):
            start = self.start + plane * height * self.rows.row_bytes
            target = out[..., plane * depth : (plane + 1) * depth]
            try:
                self.rows.fill(target, start, rows, columns, width)
            except OSError as error:
                raise OSError(f"rows {rows.start} to {rows.stop - 1}: {error}") from error

    def close(self) -> None:
        pass


class _Segmented:
    """A page in strips or tiles."""

    def __init__(self, segments: Segments, read: Read, cache: Cache) -> None:
        self._segments, self._read, self._cache = segments, read, cache
        grid = segments.grid
        self.shape = (grid.height, grid.width, segments.channels)
        self.dtype = segments.dtype
        self.is_final = not is_plain(segments.page.keyframe)
        self._segment_bytes = grid.rows * max(
            grid.row_bytes, grid.columns * self.shape[2] // grid.planes * self.dtype.itemsize
        )
        self._large: OrderedDict[int, Unpacked] = OrderedDict()
        self._lock = threading.Lock()

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        if self._segments.refusal is not None:
            raise DataError(self._segments.refusal)
        grid, keyframe = self._segments.grid, self._segments.page.keyframe
        is_packed = int(keyframe.compression) != UNCOMPRESSED or self.is_final
        if is_packed and self._segment_bytes > SEGMENT_BYTES:
            self._require_stream()
            fill = self._fill_from_rows
        else:
            fill = self._fill_from_segments if is_packed else self._fill_from_rows
        depth = self.shape[2] // grid.planes
        for plane in range(grid.planes):
            fill(out[..., plane * depth : (plane + 1) * depth], plane, rows, columns)

    def close(self) -> None:
        with self._lock:
            for unpacked in self._large.values():
                unpacked.close()
            self._large.clear()

    def _fill_from_segments(self, out: np.ndarray, plane: int, rows: slice, columns: slice) -> None:
        grid = self._segments.grid
        missing = []
        for index in _touched(grid, rows, columns):
            numbers = self._cache.get((self, plane, index))
            if numbers is None:
                missing.append(index)
            else:
                _place(out, numbers, grid.corner(index), rows, columns)
        most = max(1, BATCH_BYTES // self._segment_bytes)
        for start in range(0, len(missing), most):
            batch = missing[start : start + most]
            for index, numbers in zip(batch, self._decode(plane, batch), strict=True):
                # One of a batch would keep all of it in memory.
                numbers = numbers if len(batch) == 1 else numbers.copy()
                self._cache.put((self, plane, index), numbers)
                _place(out, numbers, grid.corner(index), rows, columns)

    def _decode(self, plane: int, indices: list[int]) -> list[np.ndarray]:
        packed = [self._read_packed(plane, index) for index in indices]
        try:
            return self._segments.decode(indices, packed)
        except (DataError, MemoryError):
            raise
        except Exception as error:  # of which codecs have many
            if len(indices) > 1:
                return [self._decode(plane, [index])[0] for index in indices]
            raise OSError(f"{self._name(plane, indices[0])}: {error}") from error

    def _read_packed(self, plane: int, index: int) -> bytes:
        start, count = self._place_of(plane, index)
        most = 2 * self._segment_bytes + MORE_BYTES
        try:
            return self._read(start, min(count, most))
        except OSError as error:
            raise OSError(f"{self._name(plane, index)}: {error}") from error

    def _fill_from_rows(self, out: np.ndarray, plane: int, rows: slice, columns: slice) -> None:
        grid, row_of = self._segments.grid, _row_of(self._segments)
        for index in _touched(grid, rows, columns):
            row, column = grid.corner(index)
            read = self._open_segment(plane, index)
            inner = [
                slice(max(part.start - at, 0), min(part.stop - at, most))
                for part, at, most in ((rows, row, grid.rows), (columns, column, grid.columns))
            ]
            target = out[max(row - rows.start, 0) :, max(column - columns.start, 0) :]
            target = target[: inner[0].stop - inner[0].start, : inner[1].stop - inner[1].start]
            try:
                Rows(read, *row_of).fill(target, 0, inner[0], inner[1], grid.columns)
            except (OSError, zlib.error) as error:
                raise OSError(f"{self._name(plane, index)}: {error}") from error

    def _open_segment(self, plane: int, index: int) -> Read:
        """Reads the rows of a segment, from 0 on."""
        grid, keyframe = self._segments.grid, self._segments.page.keyframe
        start, count = self._place_of(plane, index)
        if int(keyframe.compression) == UNCOMPRESSED:

            def read(place: int, size: int) -> bytes:
                if place + size > count:
                    raise OSError(f"{count:,} bytes, {place + size:,} needed")
                return straight(self._read(start + place, size), keyframe)

            return read
        place = plane * grid.count + index
        with self._lock:
            if place not in self._large:
                packed = _straight(self._read, keyframe)
                size = grid.rows_of(index) * grid.row_bytes
                self._large[place] = Unpacked(packed, start, count, size)
            self._large.move_to_end(place)
            while len(self._large) > UNPACKED_FILES:
                self._large.popitem(last=False)[1].close()
            return self._large[place].read

    def _require_stream(self) -> None:
        """Refuses what can be unpacked in memory only, and is too large for it."""
        grid, keyframe = self._segments.grid, self._segments.page.keyframe
        if self.is_final or int(keyframe.compression) not in DEFLATE:
            name = getattr(keyframe.compression, "name", keyframe.compression)
            raise DataError(
                f"{self._segments.path} has strips or tiles of {grid.rows}x{grid.columns} pixels "
                f"in the compression {name}; accepted are up to {SEGMENT_BYTES:,} bytes each, or "
                "numbers that are deflated or not compressed; save it in tiles"
            )

    def _place_of(self, plane: int, index: int) -> tuple[int, int]:
        place = plane * self._segments.grid.count + index
        return self._segments.page.dataoffsets[place], self._segments.page.databytecounts[place]

    def _name(self, plane: int, index: int) -> str:
        name, page = self._segments.grid.name(plane, index), self._segments.page.index
        return f"{name} of page {page}" if page else name


def _touched(grid: Grid, rows: slice, columns: slice) -> Iterator[int]:
    """The segments of a plane that hold a window."""
    for down in range(rows.start // grid.rows, -(-rows.stop // grid.rows)):
        for right in range(columns.start // grid.columns, -(-columns.stop // grid.columns)):
            yield down * grid.across + right


def _place(
    out: np.ndarray, numbers: np.ndarray, corner: tuple[int, int], rows: slice, columns: slice
) -> None:
    """Writes what a segment, which begins at a corner of the page, has of a window."""
    row, column = corner[0] - rows.start, corner[1] - columns.start
    target = out[max(row, 0) : row + len(numbers), max(column, 0) : column + numbers.shape[1]]
    source = numbers[max(-row, 0) :, max(-column, 0) :]
    target[:] = source[: target.shape[0], : target.shape[1]]


@dataclass(frozen=True)
class _Sample:
    """One channel of a page."""

    page: PartWindows
    sample: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.page.shape[:2], 1)

    @property
    def dtype(self) -> np.dtype:
        return self.page.dtype

    @property
    def is_final(self) -> bool:
        return self.page.is_final

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        pixels = np.empty((*out.shape[:2], self.page.shape[2]), self.dtype)
        self.page.fill(pixels, rows, columns)
        out[:] = pixels[..., self.sample : self.sample + 1]

    def close(self) -> None:
        self.page.close()


@dataclass(frozen=True)
class _RowPages:
    """A picture whose rows are pages, each of columns and channels."""

    pages: list[PartWindows]
    channels: int
    is_final = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.pages), self.pages[0].shape[0], self.channels)

    @property
    def dtype(self) -> np.dtype:
        return self.pages[0].dtype

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        for row, page in zip(out, self.pages[rows], strict=True):
            page.fill(row[..., None], columns, slice(0, self.channels))

    def close(self) -> None:
        for page in self.pages:
            page.close()
