"""Read pictures in TIFF files by windows, in memory that does not grow with the picture.

A window is what `tiff.read_frame` gives for the whole, turned upright and cut out. Which pages and
axes make up a picture is decided in `tiff`; how little of a file is read for a window, and what is
kept for the next one, in `tiffparts`.
"""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from unetkit.errors import DataError, SizeError
from unetkit.io.tiff import pages
from unetkit.io.tiff.file_bytes import Cache, FileBytes
from unetkit.io.tiff.parts import open_part

CACHE_BYTES = 1 << 26
MAX_SIDE = (1 << 31) - 1  # rows or columns
# Pixel scale, tie points, transformation; keys, numbers and texts of GeoTIFF; GDAL's "no data".
GEOTAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42113)
NODATA_TAG = 42113


def open_tiff_windows(
    path: Path, frame: int | None, channel_axis: str = "auto", cache_bytes: int = CACHE_BYTES
) -> "TiffWindows":
    """Opens a picture in a TIFF file to be read by windows.

    Args:
        frame: Its number from 0; None for the only one, or for all pages as channels.
        channel_axis: As in `tiff.read_frame`.
        cache_bytes: Of decoded strips and tiles that are kept. The windows of one row of windows
            touch the same strips: have room for these, or each is decoded for every window.

    Raises:
        DataNotFoundError, DataError: The file is gone, its structure is damaged, or it has no such
            picture. Pixels are not looked at.
    """
    with pages.reading_errors(path):
        file = pages.open_file(path, channel_axis)
        try:
            parts, _ = pages.choose(file.frames, path, frame)
            return TiffWindows(path, file, parts, cache_bytes, channel_axis == "auto")
        except BaseException:
            file.tif.close()
            raise


class TiffWindows:
    """A picture in an open TIFF file; any thread may read from it, at any time.

    Args:
        path: Of the file.
        file: Open, and closed by `close`.
        parts: Whose channels make the picture up.
        cache_bytes: Of decoded strips and tiles; the latest one is kept even if it is larger.
        is_alpha_known: Whether a channel that the file calls opacity is none of the picture's.

    Attributes:
        shape: (height, width, channels), upright; opacity is one of the channels.
        dtype: Of the windows.
        palette: (n, 3) uint8 where the numbers are indices of it, or None.
        has_alpha: Whether the last channel is opacity.
        orientation: EXIF orientation, 1 to 8, as it was.

    Raises:
        DataError: Parts are missing, or of several sizes.
    """

    def __init__(
        self, path: Path, file: pages.File, parts: list[pages.Part], cache_bytes: int,
        is_alpha_known: bool,
    ) -> None:  # fmt: skip
        self._path, self._file, self._first = path, file, parts[0]
        self._bytes = FileBytes(file.tif.filehandle, file.tif.filehandle.size)
        self._cache = Cache(cache_bytes)
        self._parts = [open_part(file.tif, path, part, self._bytes, self._cache) for part in parts]
        sizes = {part.shape[:2] for part in self._parts}
        if len(sizes) > 1 or max(max(sizes)) > MAX_SIDE:
            raise DataError(
                f"{path} has pages of {' and '.join(f'{h}x{w}' for h, w in sorted(sizes))} pixels; "
                f"accepted as one picture are pages of one size, up to {MAX_SIDE:,} rows and "
                "columns; name a page, or part the file"
            )
        keyframe = parts[0].series.keyframe
        height, width = self._parts[0].shape[:2]
        channels = sum(part.shape[2] for part in self._parts)
        self.orientation = pages.orientation_of(keyframe)
        self.shape = (height, width, channels)
        if self.orientation >= 5:
            self.shape = (width, height, channels)
        self.palette = pages.palette_of(path, keyframe)
        dtype = np.result_type(*(part.dtype for part in self._parts)).newbyteorder("=")
        self.dtype = np.dtype(np.uint8) if self.palette is not None and dtype.kind == "b" else dtype
        has_alpha = len(parts) == 1 and pages.has_alpha(keyframe, channels)
        self.has_alpha = has_alpha and is_alpha_known

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """The pixels of a rectangle.

        Args:
            rows: With a start and a stop inside the picture, and no step.
            columns: Likewise.

        Returns:
            (h, w, channels) of `dtype`, in the numbers that `tiff.read_frame` gives.

        Raises:
            SizeError: The rectangle does not lie inside the picture, or is empty.
            DataError: What it needs is damaged, or packed in a way that is not read by windows; or
                the picture was closed.
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
        with pages.reading_errors(self._path):
            size = (rows.stop - rows.start, columns.stop - columns.start, channels)
            window = np.empty(size, self.dtype)
            first = 0
            for part in self._parts:
                last = first + part.shape[2]
                part.fill(window[..., first:last], rows, columns)
                first = last
            if not self._parts[0].is_final:
                photometric = int(self._first.series.keyframe.photometric)
                window = pages.black_is_zero(window, photometric)
            return pages.turn(window, self.orientation)

    @property
    def geotags(self) -> dict[int, tuple[int, int, Any]]:
        """What places the picture on Earth, as it is stored: of each tag its type, count and value.

        These are `extratags` of tifffile's writer, less their codes. They hold for the picture as
        it lies in the file, which is upright only if its orientation is 1.

        Raises:
            DataError: They are damaged, or the picture was closed.
        """
        self._require_open()
        with pages.reading_errors(self._path), self._bytes.reserved():
            page = self._first.series.keyframe
            if not self._first.whole:
                page = self._first.series.pages[self._first.page]
                if page.is_frame:
                    page = page.keyframe if page.is_virtual else page.aspage()
            found = [page.tags[code] for code in GEOTAGS if code in page.tags]
            return {tag.code: (int(tag.dtype), tag.count, tag.value) for tag in found}

    @property
    def nodata(self) -> float | None:
        """The number of pixels where nothing was recorded, in GDAL's words; None if there is none.

        Raises:
            DataError: The file names something else than a number.
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
        """Closes the file and frees what was kept; twice is no error."""
        if self._bytes.close():
            pages.close_file(self._file)
            self._cache.clear()
            for part in self._parts:
                part.close()

    def __enter__(self) -> "TiffWindows":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._bytes.is_closed:
            raise DataError(
                f"{self._path} was closed; accepted are windows of an open picture; open it again"
            )

    def _inside(self, name: str, asked: slice, size: int) -> slice:
        start, stop = asked.start, asked.stop
        is_whole = start is not None and stop is not None and asked.step in (None, 1)
        if not is_whole or not 0 <= start < stop <= size:
            raise SizeError(
                f"{name} {start} to {stop} with the step {asked.step} are none of {self._path}; "
                f"accepted are a start and a larger stop from 0 to {size}, without a step; correct "
                "them"
            )
        return slice(int(start), int(stop))
