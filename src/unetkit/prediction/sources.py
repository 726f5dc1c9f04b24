"""Pictures as a network takes them, whatever they come from: files, streams, arrays.

Small pictures are decoded whole, so that damage shows at once. Large ones are read by windows where
their file can be (TIFF, Zarr, NumPy), and everything that happens to a pixel happens to a window.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unetkit.data.scale import Scale, image_to_network, windows_to_network
from unetkit.errors import DataError, DataNotFoundError, SizeError, full_disk_named
from unetkit.io import zarr_reader
from unetkit.io.images import (
    IMAGE_SUFFIXES,
    Picture,
    count_pictures,
    pixels_of,
    read_image,
    require_file,
    require_palette,
    sides,
    sniff,
)
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff.reader import NODATA_TAG, open_tiff_windows
from unetkit.io.windows import ArrayWindows, Windows

# Beyond, a picture is not held in memory: 200 MB of colours, decoded twice over at times.
WHOLE_PIXELS = 1 << 26
ARRAY, ZARR = ".npy", ".zarr"
SUFFIXES = (*IMAGE_SUFFIXES, ARRAY, ZARR)
STREAM = "the open file"
Image = np.ndarray | str | Path | BinaryIO | Windows


class Source:
    """A picture that is read by windows in the numbers that a model takes.

    Args:
        pixels: The picture's own numbers.
        convert: From a window of these to a window that the model takes.
        channels: Of the model.
        is_large: Whether it is not held in memory.
        nodata: The number, in all channels, of pixels where nothing was recorded; or None.
        geotags: Tags of a TIFF that say where on Earth it lies.
    """

    def __init__(
        self,
        pixels: Windows,
        convert: Callable[[np.ndarray], np.ndarray],
        channels: int,
        is_large: bool = False,
        nodata: float | None = None,
        geotags: dict[int, Any] | None = None,
    ) -> None:
        self._pixels, self._convert = pixels, convert
        self.shape = (*pixels.shape[:2], channels)
        self.is_large = is_large
        self.nodata = nodata
        self.geotags = geotags or {}
        self.dtype = self.read(slice(0, 1), slice(0, 1)).dtype

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of the picture, (h, w, C) of `dtype`.

        Raises:
            DataError: It cannot be read, or a number is none that the model's pictures can have.
        """
        window = self._pixels.read(rows, columns)
        try:
            return self._convert(window)
        except DataError as error:
            if not self.is_large:
                raise
            raise DataError(
                f"{error} (of the part that begins at row {rows.start}, column {columns.start})"
            ) from error

    def missing(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Where a part has no data, (h, w) bool; None where the picture always has."""
        if self.nodata is None:
            return None
        return np.asarray(is_nodata(self._pixels.read(rows, columns), self.nodata).all(axis=2))

    def at_scale(self, scale: Scale) -> Windows:
        """The picture as the network sees it."""
        if scale.is_pixel_by_pixel:
            return self
        if self.is_large:
            return windows_to_network(self, scale)
        whole = self.read(slice(0, self.shape[0]), slice(0, self.shape[1]))
        return ArrayWindows(image_to_network(whole, scale))


@contextmanager
def open_source(image: Image, format: PixelFormat, page: int | None = None) -> Iterator[Source]:
    """Opens a picture for a model.

    Args:
        image: A file of one picture or its path; or (H, W, C) or (H, W) pixel values: an array, a
            memory map, a Zarr array, or anything that is read by windows.
        format: Of the model's pictures.
        page: Number of the picture in a file of several, from 0; None for the only one.

    Raises:
        DataNotFoundError, DataError: The file is absent, damaged, or of numbers that the model's
            pictures do not have.
        SizeError: The array has other axes or channels.
    """
    if isinstance(image, str | Path):
        with _open_path(Path(image), format, page) as source:
            yield source
    elif hasattr(image, "shape"):
        yield _of_array(image, format)
    elif hasattr(image, "read"):
        with _spooled(image) as path:
            try:
                with _open_path(path, format, page) as source:
                    yield source
            except (DataError, DataNotFoundError) as error:
                raise type(error)(str(error).replace(str(path), STREAM)) from error
    else:
        raise SizeError(
            f"image is a {type(image).__name__}; accepted are a path, an open file, and arrays of "
            "pixels; convert it"
        )


@contextmanager
def _spooled(stream: BinaryIO) -> Iterator[Path]:
    """A stream's content as a file: readers of pictures go to and fro in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        content = stream.read()
        if not isinstance(content, bytes):
            raise DataError(
                f"{STREAM} gives {type(content).__name__}; accepted are bytes; open it with mode "
                "'rb'"
            )
        path.write_bytes(content)
        yield path


@contextmanager
def _mapped(path: Path, format: PixelFormat, page: int | None) -> Iterator[np.ndarray]:
    """A picture that cannot be read by windows, on the disk."""
    image = read_image(path, format, page)
    with tempfile.TemporaryFile(prefix="unetkit-") as file:
        with full_disk_named(Path(tempfile.gettempdir())):
            file.write(np.ascontiguousarray(image).data)
            file.flush()
        shape, dtype = image.shape, image.dtype
        del image
        yield np.memmap(file, dtype, "r", shape=shape)


@contextmanager
def _open_path(path: Path, format: PixelFormat, page: int | None) -> Iterator[Source]:
    if page is None:
        require_one_picture(path, format)
    if is_array_file(path):
        yield _of_array(_open_arrays(path, format)[page or 0], format, str(path))
        return
    file_format = sniff(path)
    if file_format != "TIFF":
        if math.prod(sides(path, file_format)) <= WHOLE_PIXELS:
            yield Source(ArrayWindows(read_image(path, format, page)), _same, format.channels)
        else:  # decoded whole, but only once, and not kept in memory
            with _mapped(path, format, page) as array:
                yield Source(ArrayWindows(array), _same, format.channels, True)
        return
    with open_tiff_windows(path, page, format.channel_axis) as windows:

        def convert(window: np.ndarray) -> np.ndarray:
            bands = window[..., :-1] if windows.has_alpha else window
            if windows.nodata is not None and bands.dtype.kind == "f":
                bands = np.where(is_nodata(bands, windows.nodata), format.low[0], bands)
            if windows.palette is not None:
                require_palette(path, bands, windows.palette)
            picture = Picture(bands, windows.palette, None, "TIFF", 1, 1)
            return format.accept(pixels_of(picture, str(path)), str(path))

        # What stands for no data is another number in the results.
        places = {tag: value for tag, value in windows.geotags.items() if tag != NODATA_TAG}
        height, width, _ = windows.shape
        is_large = height * width > WHOLE_PIXELS
        if is_large or windows.nodata is not None:
            yield Source(windows, convert, format.channels, is_large, windows.nodata, places)
        else:  # some compressions are read whole only
            whole = ArrayWindows(read_image(path, format, page))
            yield Source(whole, _same, format.channels, geotags=places)


def _same(window: np.ndarray) -> np.ndarray:
    return window


def _of_array(array: Any, format: PixelFormat, name: str = "image") -> Source:
    """A source of an array, whose numbers are a file's (uint8, uint16) or on the model's scale."""
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or 0 in shape or dtype.kind not in "iuf":
        raise SizeError(
            f"{name} is {shape} {dtype}; accepted is (H, W, {format.channels}) of whole numbers "
            "or fractions, and at least one pixel; convert it"
        )
    if channels != format.channels and {channels, format.channels} != {1, 3}:
        raise SizeError(
            f"{name} is {shape} {dtype}; accepted is (H, W, {format.channels}); take the channels "
            "that the model knows"
        )
    windows: Windows = array if hasattr(array, "read") else ArrayWindows(array)
    is_large = not isinstance(array, np.ndarray) or isinstance(array, np.memmap)
    convert = partial(format.accept_numbers, source=name)
    if not is_large:  # whatever is wrong with it shows before any work
        whole = convert(windows.read(slice(0, shape[0]), slice(0, shape[1])))
        return Source(ArrayWindows(whole), _same, format.channels)
    return Source(windows, convert, format.channels, is_large)


def is_array_file(path: Path) -> bool:
    """Whether a file or folder holds arrays: NumPy's, or Zarr's."""
    return path.suffix.lower() == ARRAY or zarr_reader.is_zarr(path)


def is_nodata(window: np.ndarray, nodata: float) -> np.ndarray:
    """Where numbers are the one that stands for no data, which may be nan."""
    return np.isnan(window) if math.isnan(nodata) else np.equal(window, nodata)


def is_image(path: Path) -> bool:
    """Whether a file or folder is one by its name, and not hidden."""
    return (
        not path.name.startswith(".")
        and path.suffix.lower() in SUFFIXES
        and (path.is_file() or is_array_file(path))
    )


def count_sources(path: Path, format: PixelFormat) -> int | None:
    """How many pictures a file holds, each a page; None where it is one picture.

    Raises:
        DataNotFoundError, DataError: The file cannot be opened.
    """
    if is_array_file(path):
        count = len(_open_arrays(path, format))
        return None if count == 1 else count
    return None if _is_one_picture(path, format) else count_pictures(path, format.channel_axis)


def require_one_picture(path: Path, format: PixelFormat) -> None:
    """Refuses pages that would be read as channels, though they are none to this model.

    Raises:
        DataError: A file has some.
    """
    if not is_array_file(path) and sniff(path) != "TIFF":
        return  # what is animated is refused when it is read
    count = count_sources(path, format)
    if count is not None:
        raise DataError(
            f"{path} holds {count} pictures; accepted is a file of one; predict all of its pages "
            "with predict_files, or pass one as an array"
        )


def _is_one_picture(image: Path, format: PixelFormat) -> bool:
    """Whether a file holds one picture, or is a TIFF with a grey page for each of its channels.

    Models of grey and colour know no such pages, unless they say that channels come first: a grey
    page is a picture that they take.
    """
    count = count_pictures(image, format.channel_axis)
    if count == 1:
        return True
    is_photo = format.channels in (1, 3) and format.channel_axis != "first"
    if is_photo or count != format.channels or sniff(image) != "TIFF":
        return False
    with open_tiff_windows(image, 0, format.channel_axis) as page:
        return page.shape[2] - page.has_alpha == 1


def _open_arrays(path: Path, format: PixelFormat) -> list[Any]:
    """The pictures of a file of arrays, each read by windows."""
    if zarr_reader.is_zarr(path):
        return list(zarr_reader.open_zarr(path, format.channel_axis))
    require_file(path)
    try:
        with open(path, "rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError("another signature")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.ndim not in (2, 3):
            raise ValueError(f"shape {array.shape}")
    except Exception as error:  # NumPy lets through whatever a wrong header leads to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} is no array that can be read ({reason}); accepted are .npy files of (H, W) or "
            "(H, W, C) numbers; save it again with numpy.save"
        ) from error
    return [array]


def stamp(path: Path) -> tuple[int, int]:
    """Bytes, and time of the last change in nanoseconds, of a file or of all files of a folder.

    Raises:
        OSError: It is gone.
    """
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    states = [file.stat() for file in files]
    sizes = [state.st_size for state, file in zip(states, files, strict=True) if file != path]
    return sum(sizes or [states[0].st_size]), max(state.st_mtime_ns for state in states)


def look(path: Path, format: PixelFormat, page: int | None = None) -> tuple[int, int, bool]:
    """Height and width of a picture in a file, and whether it is a map with a place or gaps.

    Raises:
        DataNotFoundError, DataError: The file cannot be opened.
    """
    if is_array_file(path):
        array = _open_arrays(path, format)[page or 0]
        return array.shape[0], array.shape[1], False
    file_format = sniff(path)
    if file_format == "TIFF":
        with open_tiff_windows(path, page, format.channel_axis) as windows:
            is_map = bool(windows.geotags) or windows.nodata is not None
            return windows.shape[0], windows.shape[1], is_map
    height, width = sides(path, file_format)
    return height, width, False
