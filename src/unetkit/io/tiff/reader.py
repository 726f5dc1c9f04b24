"""Read an image of a TIFF file, whole or by windows in memory that does not grow with the image.

`pages` finds which pages and axes make up an image. Here each of its planes is given the reader
that reads least; `planes` has the readers, which keep what they decoded for the next window.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.errors import DataError, SizeError
from unetkit.io.pixel_size import PixelSize, pixel_size_of_tiff
from unetkit.io.tiff.file_bytes import Cache
from unetkit.io.tiff.pages import (
    GREY_LEVELS,
    LOSSY,
    Pages,
    Plane,
    black_is_zero,
    has_alpha,
    orientation_of,
    palette_of,
    reading_errors,
    turn,
)
from unetkit.io.tiff.planes import (
    PillowReader,
    PlaneReader,
    RowPagesReader,
    SampleReader,
    SegmentReader,
)
from unetkit.io.tiff.segments import MAX_BYTES, Grid, Segments, is_decoded_here

CACHE_BYTES = 1 << 26
MAX_SIDE = (1 << 31) - 1  # rows or columns
MAX_PIXELS = 178_956_970  # Pillow's own bound: what decodes in about half a gigabyte
# Pixel scale, tie points, transformation; keys, numbers and texts of GeoTIFF; GDAL's "no data".
GEOTAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42113)
NODATA_TAG = 42113
PHOTOMETRIC = 262  # tag


class TiffImage:
    """An image in an open TIFF file; any thread may read from it, at any time.

    Args:
        path: Path of the file.
        pages: The structure of the open file.
        page: Number of the image from 0; None for the only one, or for all pages as channels.
        channel_axis: "auto" for what the file says of channels and opacity; with "first" and
            "last" no channel is opacity.
        cache_bytes: Size of the cache of decoded strips and tiles; the latest one is kept even if
            it is larger. The windows of one row of windows touch the same strips: without room for
            these, each strip is decoded again for every window.
        is_whole: Whether the image will be read whole; it is refused if it is too large.
        as_stored: Whether numbers are kept where 0 is white, instead of inverted.

    Attributes:
        shape: (height, width, channels), upright; opacity is one of the channels.
        dtype: Type of the pixels.
        palette: (n, 3) uint8 where pixels are indices of colours, or None.
        has_alpha: Whether the last channel is opacity.
        orientation: EXIF orientation of the stored image, 1 to 8.
        count: Number of images in the file; 1 where its pages are channels.
        is_lossy: Whether the compression changes pixels.
        compressions: Values of the tag Compression in the pages of the image and its mask.
        is_stack: Whether several channels are planes of grey levels rather than colours.
        is_planar: Whether colours are stored as an image of each channel, one after another.
        has_mask: Whether a page of the file says where the image has data.

    Raises:
        DataError: The file has no such image, its structure is damaged, its pages differ in size,
            or nothing decodes its compression. Pixels are not read.
    """

    def __init__(
        self,
        path: Path,
        pages: Pages,
        page: int | None = None,
        channel_axis: str = "auto",
        cache_bytes: int = CACHE_BYTES,
        is_whole: bool = False,
        as_stored: bool = False,
    ) -> None:
        self._path, self._file, self._as_stored = path, pages.file, as_stored
        self._pixel_sizes = pages.pixel_sizes
        self._mask: TiffImage | None = None
        if pages.mask is not None:
            self._mask = TiffImage(path, pages.of_mask(), 0, "last", cache_bytes, is_whole, True)
        self._cache = Cache(cache_bytes)
        with reading_errors(path), pages.file.reserved():
            planes, self.count = pages.choose(path, page)
            if is_whole:
                _require_room(path, planes)
            self._first, self._is_whole = planes[0], is_whole
            self._stored: list[Any] = []  # the pages of tifffile that were opened
            self._planes = [self._open_plane(plane) for plane in planes]
            keyframe = planes[0].series.keyframe
            tag = keyframe.tags.get(PHOTOMETRIC)
            if tag is None or not isinstance(tag.value, int):
                raise DataError(
                    f"{path} does not say what its numbers mean (tag PhotometricInterpretation); "
                    "accepted are TIFF files with this tag; save it again"
                )
            self._photometric = int(keyframe.photometric)
            self.orientation = orientation_of(keyframe)
            self.palette = palette_of(path, keyframe)
            self.is_lossy = int(keyframe.compression) in LOSSY
            self.compressions = {int(plane.series.keyframe.compression) for plane in planes}
            self.is_stack = self._photometric in GREY_LEVELS
            is_separate = keyframe.samplesperpixel > 1 and keyframe.planarconfig == 2
            self.is_planar = is_separate and not self.is_stack
        if self._mask is not None:
            self.compressions |= self._mask.compressions
        sizes = sorted({plane.shape[:2] for plane in self._planes})
        if len(sizes) > 1:
            raise DataError(
                f"{path} has pages of {' and '.join(f'{h}x{w}' for h, w in sizes)} pixels; "
                "accepted as one image are pages of one size; name a page, or split the file"
            )
        height, width = sizes[0]
        if max(height, width) > MAX_SIDE:
            raise DataError(
                f"{path} is too large ({height}x{width} pixels); accepted are up to {MAX_SIDE:,} "
                "rows and columns; cut it into pieces"
            )
        channels = sum(plane.shape[2] for plane in self._planes)
        if self._planes[0].is_final:
            self.orientation = 1
        self.shape = (height, width, channels)
        if self.orientation >= 5:
            self.shape = (width, height, channels)
        dtype = np.result_type(*(plane.dtype for plane in self._planes)).newbyteorder("=")
        self.dtype = np.dtype(np.uint8) if self.palette is not None and dtype.kind == "b" else dtype
        is_one = len(planes) == 1 and channel_axis == "auto"
        self.has_alpha = is_one and has_alpha(keyframe, channels)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Reads a window.

        Args:
            rows: Rows of the window: a start and a larger stop inside the image, no step.
            columns: Columns of the window, likewise.

        Returns:
            (h, w, channels) of `dtype`.

        Raises:
            SizeError: The window is empty, or not inside the image.
            DataError: What it needs is damaged, or compressed in a way that cannot be read by
                windows; or the file was closed.
        """
        height, width, channels = self.shape
        rows, columns = self._inside("rows", rows, height), self._inside("columns", columns, width)
        if self.orientation in (3, 4, 7, 8):
            rows = slice(height - rows.stop, height - rows.start)
        if self.orientation in (2, 3, 6, 7):
            columns = slice(width - columns.stop, width - columns.start)
        if self.orientation >= 5:
            rows, columns = columns, rows
        self._require_open()
        with reading_errors(self._path):
            size = (rows.stop - rows.start, columns.stop - columns.start, channels)
            window = np.empty(size, self.dtype)
            first = 0
            for plane in self._planes:
                last = first + plane.shape[2]
                plane.fill(window[..., first:last], rows, columns)
                first = last
            if self._as_stored == self._planes[0].is_final:  # a final plane is inverted already
                window = black_is_zero(window, self._photometric)
            return turn(window, self.orientation)

    @property
    def has_mask(self) -> bool:
        return self._mask is not None and self._mask.shape[:2] == self.shape[:2]

    def read_gaps(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Returns where the mask in the file says that a window has no data, (h, w) bool.

        Args:
            rows: Rows of the window.
            columns: Columns of the window.

        Returns:
            True where there is no data; None if the file has no mask.

        Raises:
            SizeError, DataError: As by `read`.
        """
        if self._mask is None or not self.has_mask:
            return None
        return np.asarray(~self._mask.read(rows, columns).any(axis=2))

    def read_whole(self) -> np.ndarray:
        """Reads all pixels, (height, width, channels) of `dtype`.

        Raises:
            DataError: The file is damaged.
        """
        for page in self._stored:
            self._require_segments(page)
        return self.read(slice(0, self.shape[0]), slice(0, self.shape[1]))

    @property
    def geotags(self) -> dict[int, tuple[int, int, Any]]:
        """Tags of GeoTIFF and GDAL, as stored: {code: (type, count, value)}.

        These are `extratags` of tifffile's writer without their codes. They are valid for the image
        as it is stored, which is upright only if `orientation` is 1.

        Raises:
            DataError: They are damaged, or the file was closed.
        """
        self._require_open()
        with reading_errors(self._path), self._file.reserved():
            page = self._tagged_page()
            found = [page.tags[code] for code in GEOTAGS if code in page.tags]
            return {tag.code: (int(tag.dtype), tag.count, tag.value) for tag in found}

    @property
    def pixel_size(self) -> PixelSize | None:
        """The physical size of a pixel, if the file says it.

        Raises:
            DataError: The tags are damaged, or the file was closed.
        """
        self._require_open()
        with reading_errors(self._path), self._file.reserved():
            page = self._tagged_page()
            stated = self._pixel_sizes.get((page.imagewidth, page.imagelength))
            return stated or pixel_size_of_tiff(page)

    def _tagged_page(self) -> Any:
        """The page of tifffile whose tags describe the image."""
        if self._first.is_array:
            return self._first.series.keyframe
        page = self._first.series.pages[self._first.page]
        if page.is_frame:
            page = page.keyframe if page.is_virtual else page.aspage()
        return page

    @property
    def has_georeference(self) -> bool:
        """Whether the file says where on Earth the image is.

        Raises:
            DataError: The tags are damaged, or the file was closed.
        """
        return bool(self.geotags.keys() - {NODATA_TAG})

    @property
    def nodata(self) -> float | None:
        """The value of pixels without data (tag GDAL_NODATA); None if there is none.

        Raises:
            DataError: The tag is not a number.
        """
        if NODATA_TAG not in self.geotags:
            return None
        text = str(self.geotags[NODATA_TAG][2]).strip(" \0")
        try:
            return float(text) if text else None
        except ValueError:
            raise DataError(
                f"{self._path} has the no-data value {text[:50]!r} (tag {NODATA_TAG}); accepted is "
                "a number; correct the tag, or remove it"
            ) from None

    def close(self) -> None:
        """Frees the cache and removes temporary files; the file is closed by who opened it."""
        self._cache.clear()
        for plane in self._planes:
            plane.close()
        if self._mask is not None:
            self._mask.close()

    def _open_plane(self, plane: Plane) -> PlaneReader:
        """Finds out how a plane is read by windows; pixels are not read.

        Raises:
            DataError: Its structure is damaged, or nothing decodes it.
        """
        series = plane.series
        if not plane.is_array:
            return self._open_page(series.pages[plane.page])
        if plane.page is None and len(series.pages) == series.shape[0]:
            return RowPagesReader([self._open_page(page) for page in series.pages], series.shape[2])
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
        start = series.dataoffset + (plane.page or 0) * math.prod(shape) * series.dtype.itemsize
        return self._open_run(series.keyframe, start, height, width, planes, depth)

    def _open_sample(self, plane: Plane) -> PlaneReader:
        """Opens a sample of a page that the metadata call a place on another axis."""
        series, samples = plane.series, plane.series.keyframe.samplesperpixel
        size = len(series.pages) * samples * math.prod(plane.shape)
        if plane.page is None or size != series.size:
            raise DataError(
                f"{self._path} has compressed volumes; accepted are planes; save it without "
                "compression"
            )
        page, sample = divmod(plane.page, samples)
        return SampleReader(self._open_page(series.pages[page]), sample)

    def _open_page(self, page: Any) -> PlaneReader:
        if page is None:  # metadata may name pages that do not exist
            raise DataError(f"{self._path} lacks a page; accepted are whole files; replace it")
        self._stored.append(page)
        keyframe = page.keyframe
        if not is_decoded_here(keyframe):
            return PillowReader(self._path, page)
        if _is_one_run(page):
            samples = max(1, keyframe.samplesperpixel)
            planes = samples if keyframe.planarconfig == 2 else 1
            height, width = keyframe.imagelength, keyframe.imagewidth
            start = page.dataoffsets[0]
            return self._open_run(page, start, height, width, planes, samples // planes)
        segments = Segments(self._path, page)
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        return self._open_segments(segments, places, is_run=False)

    def _open_run(
        self, page: Any, start: int, height: int, width: int, planes: int, depth: int
    ) -> PlaneReader:
        """Opens rows that follow one another from an offset on, as one strip of each plane."""
        row_bytes = width * depth * page.keyframe.bitspersample // 8
        size = height * row_bytes
        grid = Grid(height, width, height, width, planes, depth, row_bytes, False)
        places = [(start + plane * size, size) for plane in range(planes)]
        return self._open_segments(Segments(self._path, page, grid), places, is_run=True)

    def _open_segments(
        self, segments: Segments, places: list[tuple[int, int]], is_run: bool
    ) -> PlaneReader:
        read, is_whole = self._file.read_at, self._is_whole
        return SegmentReader(segments, places, read, self._cache, is_whole, is_run)

    def _require_open(self) -> None:
        if self._file.is_closed:
            raise DataError(
                f"{self._path} was closed; accepted are windows of an open image; open it again"
            )

    def _require_segments(self, page: Any) -> None:
        """Refuses strips and tiles that are not inside the file."""
        places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        size = self._file.size
        missing = sum(offset < 8 or offset + count > size for offset, count in places)
        if missing:
            raise DataError(
                f"{self._path} cannot be read whole ({missing} of {len(places)} strips or tiles "
                f"are not among its {size} bytes); accepted are undamaged TIFF files; replace or "
                "remove it"
            )

    def _inside(self, name: str, asked: slice, size: int) -> slice:
        start, stop = asked.start, asked.stop
        is_whole = start is not None and stop is not None and asked.step in (None, 1)
        if not is_whole or not 0 <= start < stop <= size:
            raise SizeError(
                f"{name} {start} to {stop} with the step {asked.step} are not inside {self._path}; "
                f"accepted are a start and a larger stop from 0 to {size}, without a step"
            )
        return slice(int(start), int(stop))


def _require_room(path: Path, planes: list[Plane]) -> None:
    """Refuses an image that is too large to be read whole, before its structure is read."""
    keyframe = planes[0].series.keyframe
    sizes = [math.prod(plane.shape) if plane.is_array else keyframe.size for plane in planes]
    height, width = keyframe.imagelength, keyframe.imagewidth
    total = sum(sizes) * keyframe.dtype.itemsize
    if height * width > MAX_PIXELS or total > MAX_BYTES:
        raise DataError(
            f"{path} is too large ({height}x{width} pixels, {total:,} bytes); accepted are images "
            f"of up to {MAX_PIXELS:,} pixels and {MAX_BYTES:,} bytes; cut it into pieces"
        )


def _is_one_run(page: Any) -> bool:
    """Whether the pixels of a page are stored row after row, whatever its strips are."""
    keyframe = page.keyframe
    needed = keyframe.size * keyframe.bitspersample // 8
    if not keyframe.is_contiguous or sum(page.databytecounts) < max(needed, 1):
        return False
    ends = [a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False)]
    return ends[:-1] == list(page.dataoffsets[1:])
