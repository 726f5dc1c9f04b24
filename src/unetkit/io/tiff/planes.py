"""Readers of the parts of which a TIFF image is composed: pages, a sample of them, rows on pages.

Only what a window needs is read: the strips and tiles that it touches, or, where numbers are stored
uncompressed, only their rows. Decoded strips and tiles are cached for the next windows, up to a
bound; small ones are read together where they lie side by side, and decoded by a few threads. A
deflated one that is too large to be decoded in memory is inflated into a temporary file.

`segments` decodes what strips and tiles hold.
"""

import math
import os
import threading
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from unetkit._shared.threads import in_order
from unetkit.errors import DataError
from unetkit.io.tiff.file_bytes import READ_BYTES, Cache, InflatedFile, Read, Rows
from unetkit.io.tiff.segments import (
    DEFLATE,
    MAX_BYTES,
    MORE_BYTES,
    UNCOMPRESSED,
    Grid,
    Segments,
    msb_first,
    refused_codec,
)

SEGMENT_BYTES = 1 << 27  # of a strip or tile that is decoded in memory
INFLATED_FILES = 16  # temporary files of a page
BATCH_BYTES = 1 << 20  # unpacked, of small segments that one thread decodes
THREADS = min(4, os.cpu_count() or 1)  # codecs run outside Python's lock


class PlaneReader(ABC):
    """Some channels of an image, not turned upright, read by windows.

    Args:
        shape: (height, width, channels).
        dtype: Type of the numbers.
        is_final: Whether 0 is black already, and the orientation applied.
    """

    def __init__(
        self, shape: tuple[int, int, int], dtype: np.dtype, is_final: bool = False
    ) -> None:
        self.shape, self.dtype, self.is_final = shape, dtype, is_final

    @abstractmethod
    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        """Reads a window into an array of its size.

        Raises:
            DataError, OSError: What the window needs is damaged, or cannot be read by windows.
        """

    @abstractmethod
    def close(self) -> None:
        """Removes temporary files."""


class SegmentReader(PlaneReader):
    """A page in strips or tiles.

    Args:
        segments: How they are decoded.
        places: Offset and count of the bytes of each, of all planes one after another.
        read: Reads the file.
        cache: Decoded segments.
        is_whole: Whether segments of any size are decoded in memory.
        is_run: Whether the rows of a plane follow one another, whatever strips the file names.
    """

    def __init__(
        self, segments: Segments, places: list[tuple[int, int]], read: Read, cache: Cache,
        is_whole: bool, is_run: bool,
    ) -> None:  # fmt: skip
        grid = segments.grid
        super().__init__((grid.height, grid.width, segments.channels), segments.dtype)
        self._segments, self._places, self._read, self._cache = segments, places, read, cache
        self._most_bytes = MAX_BYTES if is_whole else SEGMENT_BYTES
        self._is_run = is_run
        self._segment_bytes = grid.rows * max(
            grid.row_bytes, grid.columns * self.shape[2] // grid.planes * self.dtype.itemsize
        )
        self._inflated: OrderedDict[int, InflatedFile] = OrderedDict()
        self._lock = threading.Lock()

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        grid, compression = self._segments.grid, self._segments.compression
        fill = self._fill_from_segments
        if compression == UNCOMPRESSED or self._segment_bytes > self._most_bytes:
            if compression not in {UNCOMPRESSED, *DEFLATE}:
                raise self._too_large()
            fill = self._fill_from_rows
        depth = self.shape[2] // grid.planes
        for plane in range(grid.planes):
            fill(out[..., plane * depth : (plane + 1) * depth], plane, rows, columns)

    def close(self) -> None:
        with self._lock:
            for inflated in self._inflated.values():
                inflated.close()
            self._inflated.clear()

    def _fill_from_segments(self, out: np.ndarray, plane: int, rows: slice, columns: slice) -> None:
        grid, touched = self._segments.grid, list(_touched(self._segments.grid, rows, columns))
        step = max(1, BATCH_BYTES // self._segment_bytes)

        def fill(indices: list[int]) -> None:
            keys = {index: (self, plane, index) for index in indices}
            found = {
                index: numbers
                for index, key in keys.items()
                if (numbers := self._cache.get(key)) is not None
            }
            for index, numbers in self._decode(plane, [i for i in indices if i not in found]):
                self._cache.put(keys[index], numbers)
                found[index] = numbers
            if grid.across == 1 and step > 1:  # the rows of many strips are copied together
                tops = [index * grid.rows - rows.start for index in indices]
                strips = [
                    found[index][max(-top, 0) : rows.stop - rows.start - top, columns]
                    for index, top in zip(indices, tops, strict=True)
                ]
                np.concatenate(strips, out=out[max(tops[0], 0) : tops[-1] + grid.rows])
                return
            for index in indices:
                _place(out, found[index], grid.corner(index), rows, columns)

        batches = [touched[i : i + step] for i in range(0, len(touched), step)]
        threads = min(THREADS, len(batches)) if self._segment_bytes <= READ_BYTES else 1
        for _ in in_order(fill, batches, threads) if threads > 1 else map(fill, batches):
            pass

    def _decode(self, plane: int, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        first, most = plane * self._segments.grid.count, 2 * self._segment_bytes + MORE_BYTES
        places = [self._places[first + index] for index in indices]
        read = self._read_together(places)
        for index, (start, count) in zip(indices, places, strict=True):
            try:
                numbers = self._segments.decode(index, read(start, min(count, most)))
            except (DataError, MemoryError):
                raise
            except Exception as error:  # codecs raise errors of many types
                raise OSError(f"{self._name(plane, index)}: {error}") from error
            yield index, numbers

    def _read_together(self, places: list[tuple[int, int]]) -> Read:
        """Reads segments that lie side by side at once; returns a function that reads each."""
        if len(places) < 2:
            return self._read
        start, counts = min(places)[0], [count for _, count in places]
        size = max(map(sum, places)) - start
        if min(counts) < 1 or size > min(2 * sum(counts), READ_BYTES):
            return self._read
        try:
            stored = self._read(start, size)
        except OSError:  # which of them is not in the file is told when each is read
            return self._read
        return lambda offset, count: stored[offset - start : offset - start + count]

    def _fill_from_rows(self, out: np.ndarray, plane: int, rows: slice, columns: slice) -> None:
        segments, grid = self._segments, self._segments.grid
        for index in _touched(grid, rows, columns):
            row, column = grid.corner(index)
            stored = Rows(
                self._open_segment(plane, index), grid.row_bytes, segments.pixel_bytes,
                segments.numbers,
            )  # fmt: skip
            inner = [
                slice(max(asked.start - at, 0), min(asked.stop - at, most))
                for asked, at, most in ((rows, row, grid.rows), (columns, column, grid.columns))
            ]
            target = out[max(row - rows.start, 0) :, max(column - columns.start, 0) :]
            target = target[: inner[0].stop - inner[0].start, : inner[1].stop - inner[1].start]
            try:
                stored.fill(target, inner[0], inner[1], grid.columns)
            except (OSError, zlib.error) as error:
                name = self._name(plane, index)
                if self._is_run:
                    name = f"rows {rows.start} to {rows.stop - 1}"
                raise OSError(f"{name}: {error}") from error

    def _open_segment(self, plane: int, index: int) -> Read:
        """Returns a function that reads the unpacked bytes of a segment, from 0 on."""
        grid, keyframe = self._segments.grid, self._segments.page.keyframe
        place = plane * grid.count + index
        start, count = self._places[place]

        def read(offset: int, size: int) -> bytes:
            if offset + size > count:
                raise OSError(f"{count:,} bytes, {offset + size:,} needed")
            return msb_first(self._read(start + offset, size), keyframe)

        if self._segments.compression == UNCOMPRESSED:
            return read
        with self._lock:
            if place not in self._inflated:
                size = grid.rows_of(index) * grid.row_bytes
                most = grid.rows * grid.row_bytes
                self._inflated[place] = InflatedFile(read, count, size, most)
            self._inflated.move_to_end(place)
            while len(self._inflated) > INFLATED_FILES:
                self._inflated.popitem(last=False)[1].close()
            return self._inflated[place].read

    def _too_large(self) -> DataError:
        grid, compression = self._segments.grid, self._segments.page.keyframe.compression
        return DataError(
            f"{self._segments.path} has strips or tiles of {grid.rows}x{grid.columns} pixels "
            f"in the compression {getattr(compression, 'name', compression)}; accepted are up to "
            f"{self._most_bytes:,} bytes each, or pixels that are deflated or not compressed; save "
            "it in tiles"
        )

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
    """Copies to a window what a segment, which begins at a corner of the page, has of it."""
    row, column = corner[0] - rows.start, corner[1] - columns.start
    target = out[max(row, 0) : row + len(numbers), max(column, 0) : column + numbers.shape[1]]
    source = numbers[max(-row, 0) :, max(-column, 0) :]
    target[:] = source[: target.shape[0], : target.shape[1]]


class PillowReader(PlaneReader):
    """A page that only Pillow decodes, as a whole.

    Args:
        path: Path of the file, which Pillow opens by itself.
        page: Page of tifffile.

    Raises:
        DataError: Pillow does not know its compression or its colors.
    """

    def __init__(self, path: Path, page: Any) -> None:
        self._path, self._page = path, page
        self._array: np.ndarray | None = None
        self._lock = threading.Lock()
        with self._opened() as image:  # its mode tells the type before any pixel is decoded
            sample = self._as_array(Image.new(image.mode, (1, 1)))
            shape = (image.height, image.width, sample.shape[2])
        super().__init__(shape, sample.dtype, is_final=True)
        if math.prod(self.shape) * self.dtype.itemsize > MAX_BYTES:
            raise refused_codec(path, page.keyframe)

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        with self._lock:
            if self._array is None:
                with self._opened() as image:
                    self._array = self._as_array(image)
            out[:] = self._array[rows, columns]

    def close(self) -> None:
        with self._lock:
            self._array = None

    def _opened(self) -> Image.Image:
        try:
            image = Image.open(self._path)
            image.seek(self._page.index)
        except UnidentifiedImageError:
            raise refused_codec(self._path, self._page.keyframe) from None
        return image

    def _as_array(self, image: Image.Image) -> np.ndarray:
        """(H, W, C) of an image of Pillow; colors are converted to RGB."""
        is_color = image.mode in ("CMYK", "YCbCr", "LAB", "HSV")
        array = np.asarray(image.convert("RGB") if is_color else image)
        array = array if array.ndim == 3 else array[..., None]
        if not array.size or (
            not is_color and array.shape[2] != self._page.keyframe.samplesperpixel
        ):
            raise refused_codec(self._path, self._page.keyframe)
        return array


class SampleReader(PlaneReader):
    """One channel of a page."""

    def __init__(self, page: PlaneReader, sample: int) -> None:
        super().__init__((*page.shape[:2], 1), page.dtype, page.is_final)
        self._page, self._sample = page, sample

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        pixels = np.empty((*out.shape[:2], self._page.shape[2]), self.dtype)
        self._page.fill(pixels, rows, columns)
        out[:] = pixels[..., self._sample : self._sample + 1]

    def close(self) -> None:
        self._page.close()


class RowPagesReader(PlaneReader):
    """An image whose rows are pages, each of columns and channels."""

    def __init__(self, pages: list[PlaneReader], channels: int) -> None:
        super().__init__((len(pages), pages[0].shape[0], channels), pages[0].dtype)
        self._pages = pages

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        for row, page in zip(out, self._pages[rows], strict=True):
            page.fill(row[..., None], columns, slice(0, self.shape[2]))

    def close(self) -> None:
        for page in self._pages:
            page.close()
