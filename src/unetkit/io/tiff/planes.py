"""The parts of which a TIFF image is composed, read by windows: a page, an array, one sample.

Only what a window needs is read: the strips and tiles that it touches, or, where numbers are stored
uncompressed, only their rows. Decoded strips and tiles are cached for the next windows, up to a
bound. A deflated one that is too large to be decoded in memory is inflated into a temporary file.

`segments` decodes what strips and tiles hold.
"""

import math
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from unetkit.errors import DataError
from unetkit.io.tiff.file_bytes import Cache, InflatedFile, OpenFile, Read, Rows
from unetkit.io.tiff.segments import (
    DEFLATE,
    MAX_BYTES,
    MORE_BYTES,
    UNCOMPRESSED,
    Grid,
    Segments,
    is_decoded_here,
    msb_first,
    refused_codec,
    segments_of,
)

SEGMENT_BYTES = 1 << 27  # of a strip or tile that is decoded in memory
INFLATED_FILES = 16  # temporary files of a page


class PlaneReader(Protocol):
    """Some channels of an image, not turned upright, read by windows.

    Attributes:
        shape: (height, width, channels).
        dtype: Type of the numbers.
        is_final: Whether 0 is black already, and the orientation applied.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def is_final(self) -> bool: ...

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        """Reads a window into an array of its size.

        Raises:
            DataError, OSError: What the window needs is damaged, or cannot be read by windows.
        """
        ...

    def close(self) -> None:
        """Removes temporary files."""
        ...


@dataclass(frozen=True)
class Plane:
    """Where some channels of an image are stored.

    Args:
        series: Series of tifffile.
        page: Number of the page in the series, or of the plane in an array that is read as a whole;
            None for all of it.
        is_array: Whether the series is read as one array.
    """

    series: Any
    page: int | None
    is_array: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of a plane of an array, in the order of its axes."""
        has_samples = self.page is None or self.series.axes.endswith(("SYX", "YXS"))
        return self.series.shape[-3:] if has_samples else self.series.shape[-2:]


@dataclass(frozen=True)
class PlaneOpener:
    """Opens the planes of an image.

    Args:
        tif: The file's structure.
        path: Path of the file.
        file: The file.
        cache: Decoded segments.
        is_whole: Whether the image will be read whole: strips and tiles of any size are then
            decoded in memory.
        pages: The pages of tifffile that were opened; filled by `open`.
    """

    tif: tifffile.TiffFile
    path: Path
    file: OpenFile
    cache: Cache
    is_whole: bool
    pages: list[Any] = field(default_factory=list)

    def open(self, plane: Plane) -> PlaneReader:
        """Finds out how a plane is read by windows; pixels are not read.

        Raises:
            DataError: Its structure is damaged, or nothing decodes it.
        """
        series = plane.series
        if not plane.is_array:
            return self._open_page(series.pages[plane.page])
        if plane.page is None and len(series.pages) == series.shape[0]:
            return _RowPages([self._open_page(page) for page in series.pages], series.shape[2])
        shape = plane.shape
        if series.dataoffset is None:
            return self._open_sample(plane)
        planes, depth = 1, 1
        if len(shape) == 2:
            height, width = shape
        elif plane.page is not None and series.axes.endswith("SYX"):
            planes, height, width = shape
        else:
            height, width, depth = shape
        stored = series.dtype.newbyteorder(self.tif.byteorder)
        pixel_bytes = depth * stored.itemsize
        start = series.dataoffset + (plane.page or 0) * math.prod(shape) * stored.itemsize

        def convert(unpacked: np.ndarray, columns: int) -> np.ndarray:
            return np.ascontiguousarray(unpacked).view(stored).reshape(-1, columns, depth)

        rows = Rows(self.file.read_at, width * pixel_bytes, pixel_bytes, convert)
        return _Run(rows, start, (height, width, planes * depth), planes, np.dtype(series.dtype))

    def _open_sample(self, plane: Plane) -> PlaneReader:
        """Opens a sample of a page that the metadata call a place on another axis."""
        series, samples = plane.series, plane.series.keyframe.samplesperpixel
        size = len(series.pages) * samples * math.prod(plane.shape)
        if plane.page is None or size != series.size:
            raise DataError(
                f"{self.path} has compressed volumes; accepted are planes; save it without "
                "compression"
            )
        page, sample = divmod(plane.page, samples)
        return _Sample(self._open_page(series.pages[page]), sample)

    def _open_page(self, page: Any) -> PlaneReader:
        if page is None:  # metadata may name pages that do not exist
            raise DataError(f"{self.path} lacks a page; accepted are whole files; replace it")
        self.pages.append(page)
        keyframe = page.keyframe
        if not is_decoded_here(keyframe):
            return _PillowPage(self.path, page)
        if not _is_one_run(page):
            segments = segments_of(self.tif, self.path, page)
            most_bytes = MAX_BYTES if self.is_whole else SEGMENT_BYTES
            return _Segmented(segments, self.file.read_at, self.cache, most_bytes)
        height, width = keyframe.imagelength, keyframe.imagewidth
        samples = max(1, keyframe.samplesperpixel)
        planes = samples if keyframe.planarconfig == 2 else 1
        # Strips that follow one another are one strip.
        grid = Grid(height, width, height, width, planes, samples // planes,
                    width * samples // planes * keyframe.bitspersample // 8, False)  # fmt: skip
        segments = segments_of(self.tif, self.path, page, grid)
        rows = Rows(_msb_first(self.file.read_at, keyframe), *_row_format(segments))
        shape = (height, width, segments.channels)
        return _Run(rows, page.dataoffsets[0], shape, planes, segments.dtype)


def _row_format(segments: Segments) -> tuple[int, int, Callable[[np.ndarray, int], np.ndarray]]:
    """The arguments of `Rows` for uncompressed rows of a page."""
    keyframe, grid = segments.page.keyframe, segments.grid
    is_cut = keyframe.bitspersample >= 8 and int(keyframe.predictor) == 1
    pixel_bytes = grid.depth * keyframe.bitspersample // 8 if is_cut else 0
    return grid.row_bytes, pixel_bytes, segments.numbers


def _msb_first(read: Read, keyframe: Any) -> Read:
    return lambda start, count: msb_first(read(start, count), keyframe)


def _is_one_run(page: Any) -> bool:
    """Whether the pixels of a page are stored row after row, whatever its strips are."""
    keyframe = page.keyframe
    needed = keyframe.size * keyframe.bitspersample // 8
    if not keyframe.is_contiguous or sum(page.databytecounts) < max(needed, 1):
        return False
    ends = [a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False)]
    return ends[:-1] == list(page.dataoffsets[1:])


@dataclass(frozen=True)
class _Run:
    """Planes of rows, one after another in the file from an offset on."""

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

    is_final = False

    def __init__(self, segments: Segments, read: Read, cache: Cache, most_bytes: int) -> None:
        self._segments, self._read, self._cache = segments, read, cache
        self._most_bytes = most_bytes
        grid = segments.grid
        self.shape = (grid.height, grid.width, segments.channels)
        self.dtype = segments.dtype
        self._segment_bytes = grid.rows * max(
            grid.row_bytes, grid.columns * self.shape[2] // grid.planes * self.dtype.itemsize
        )
        self._inflated: OrderedDict[int, InflatedFile] = OrderedDict()
        self._lock = threading.Lock()

    def fill(self, out: np.ndarray, rows: slice, columns: slice) -> None:
        grid = self._segments.grid
        compression = int(self._segments.page.keyframe.compression)
        fill = self._fill_from_segments
        if compression == UNCOMPRESSED:
            fill = self._fill_from_rows
        elif self._segment_bytes > self._most_bytes:
            if compression not in DEFLATE:
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
        grid, missing = self._segments.grid, []
        for index in _touched(grid, rows, columns):
            numbers = self._cache.get((self, plane, index))
            if numbers is None:
                missing.append(index)
            else:
                _place(out, numbers, grid.corner(index), rows, columns)
        for index in missing:
            numbers = self._decode(plane, index)
            self._cache.put((self, plane, index), numbers)
            _place(out, numbers, grid.corner(index), rows, columns)

    def _decode(self, plane: int, index: int) -> np.ndarray:
        start, count = self._place_of(plane, index)
        try:
            packed = self._read(start, min(count, 2 * self._segment_bytes + MORE_BYTES))
            return self._segments.decode(index, packed)
        except (DataError, MemoryError):
            raise
        except Exception as error:  # codecs raise errors of many types
            raise OSError(f"{self._name(plane, index)}: {error}") from error

    def _fill_from_rows(self, out: np.ndarray, plane: int, rows: slice, columns: slice) -> None:
        grid, row_format = self._segments.grid, _row_format(self._segments)
        for index in _touched(grid, rows, columns):
            row, column = grid.corner(index)
            read = self._open_segment(plane, index)
            inner = [
                slice(max(asked.start - at, 0), min(asked.stop - at, most))
                for asked, at, most in ((rows, row, grid.rows), (columns, column, grid.columns))
            ]
            target = out[max(row - rows.start, 0) :, max(column - columns.start, 0) :]
            target = target[: inner[0].stop - inner[0].start, : inner[1].stop - inner[1].start]
            try:
                Rows(read, *row_format).fill(target, 0, inner[0], inner[1], grid.columns)
            except (OSError, zlib.error) as error:
                raise OSError(f"{self._name(plane, index)}: {error}") from error

    def _open_segment(self, plane: int, index: int) -> Read:
        """Returns a function that reads the unpacked bytes of a segment, from 0 on."""
        grid, keyframe = self._segments.grid, self._segments.page.keyframe
        start, count = self._place_of(plane, index)
        if int(keyframe.compression) == UNCOMPRESSED:

            def read(place: int, size: int) -> bytes:
                if place + size > count:
                    raise OSError(f"{count:,} bytes, {place + size:,} needed")
                return msb_first(self._read(start + place, size), keyframe)

            return read
        place = plane * grid.count + index
        with self._lock:
            if place not in self._inflated:
                packed = _msb_first(self._read, keyframe)
                size = grid.rows_of(index) * grid.row_bytes
                self._inflated[place] = InflatedFile(packed, start, count, size)
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
    """Copies to a window what a segment, which begins at a corner of the page, has of it."""
    row, column = corner[0] - rows.start, corner[1] - columns.start
    target = out[max(row, 0) : row + len(numbers), max(column, 0) : column + numbers.shape[1]]
    source = numbers[max(-row, 0) :, max(-column, 0) :]
    target[:] = source[: target.shape[0], : target.shape[1]]


class _PillowPage:
    """A page that only Pillow decodes, as a whole.

    Args:
        path: Path of the file, which Pillow opens by itself.
        page: Page of tifffile.

    Raises:
        DataError: Pillow does not know its compression or its colors.
    """

    is_final = True

    def __init__(self, path: Path, page: Any) -> None:
        self._path, self._page = path, page
        self._array: np.ndarray | None = None
        self._lock = threading.Lock()
        with self._opened() as image:  # its mode tells the type before any pixel is decoded
            sample = self._as_array(Image.new(image.mode, (1, 1)))
            self.shape = (image.height, image.width, sample.shape[2])
        self.dtype = sample.dtype
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


@dataclass(frozen=True)
class _Sample:
    """One channel of a page."""

    page: PlaneReader
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
    """An image whose rows are pages, each of columns and channels."""

    pages: list[PlaneReader]
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
