"""Images as a network takes them, whatever they come from: files, streams, arrays.

Small images are decoded whole, so that damage is found at once. Large ones are read by windows
where their file allows it (TIFF, Zarr, NumPy); every conversion of pixels is applied to windows.
"""

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as PillowImage

from unetkit._shared.files import sha256_of
from unetkit._shared.wording import format_count
from unetkit.data.reading import file_sha256, hash_once
from unetkit.data.scale import Scale, image_to_network, windows_to_network
from unetkit.errors import DataError, DataNotFoundError, SizeError, full_disk_named
from unetkit.io import zarr_reader
from unetkit.io.arrays import NumpyWindows
from unetkit.io.decoding import is_nodata
from unetkit.io.images import (
    IMAGE_SUFFIXES,
    DecodedImage,
    ImageFile,
    pixels_of,
    read_image,
    require_file,
    require_palette,
    suffix_of,
)
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.pixel_size import PixelSize
from unetkit.io.tiff.file_bytes import version_of
from unetkit.io.tiff.reader import NODATA_TAG, TiffImage
from unetkit.io.windows import ArrayWindows, Windows
from unetkit.remote.addresses import Address, Location, as_location
from unetkit.remote.transfers import fetched, find_file, version_of_folder

# A larger image is not held in memory: 200 MB of colours, decoded twice over at times.
WHOLE_PIXELS = 1 << 26
SAMPLED_ROWS = 16  # of an array that is not in memory, to find its scale
ARRAY = ".npy"
SUFFIXES = (*IMAGE_SUFFIXES, zarr_reader.ZARR_SUFFIX)
STREAM = "the open file"


class Source:
    """An image that is read by windows, in the pixels that a model takes.

    Args:
        pixels: The image as it is stored.
        convert: Converts a window of it to a window that the model takes.
        channels: Number of channels of the model.
        is_large: Whether the image is not held in memory.
        nodata: Value, in all channels, of pixels without data; None if there is none.
        geotags: Tags of a GeoTIFF.
        gaps: Where the file says in another way that a window has no data, (h, w) bool, as a
            function of its rows and columns; None if it does not.
        pixel_size: Physical size of a pixel; None if the file has none.
    """

    def __init__(
        self,
        pixels: Windows,
        convert: Callable[[np.ndarray], np.ndarray],
        channels: int,
        is_large: bool = False,
        nodata: float | None = None,
        geotags: dict[int, Any] | None = None,
        gaps: Callable[[slice, slice], np.ndarray] | None = None,
        pixel_size: PixelSize | None = None,
    ) -> None:
        self._gaps, self.pixel_size = gaps, pixel_size
        self._pixels, self._convert = pixels, convert
        self.shape = (*pixels.shape[:2], channels)
        self.is_large = is_large
        self.nodata = nodata
        self.geotags = geotags or {}
        self.dtype = self.read(slice(0, 1), slice(0, 1)).dtype

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Reads a window, (h, w, C) of `dtype`.

        Raises:
            DataError: The window is damaged, or has a pixel that the model does not take.
        """
        window = self._pixels.read(rows, columns)
        try:
            return self._convert(window)
        except DataError as error:
            if not self.is_large:
                raise
            raise DataError(
                f"{error} (of the window that begins at row {rows.start}, column {columns.start})"
            ) from error

    def missing(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Returns where a window has no data, (h, w) bool; None for an image without gaps."""
        gaps = None if self._gaps is None else self._gaps(rows, columns)
        if self.nodata is None:
            return gaps
        missing = np.asarray(is_nodata(self._pixels.read(rows, columns), self.nodata).all(axis=2))
        return missing if gaps is None else missing | gaps

    @property
    def has_gaps(self) -> bool:
        """Whether there may be pixels without data."""
        return self.nodata is not None or self._gaps is not None

    def at_scale(self, scale: Scale) -> Windows:
        """Returns the image at the network's scale."""
        if scale.is_pixel_by_pixel:
            return self
        if self.is_large:
            return windows_to_network(self, scale)
        whole = self.read(slice(0, self.shape[0]), slice(0, self.shape[1]))
        return ArrayWindows(image_to_network(whole, scale))


FLOAT = 4  # bytes


@dataclass(frozen=True)
class ImageVersion:
    """A version of an image file.

    Args:
        state: What changes with the file, known without reading it; see `image_state`.
        sha256: SHA-256 of the content, in hexadecimal digits.
    """

    state: tuple[int, ...]
    sha256: str


class InputFile:
    """A file of one or several images for a model.

    It is opened when something is asked of it, and opened again if that is after `close`.

    Args:
        path: Path of the file, or address of an OME-Zarr image.
        format: Pixel format of the model.
    """

    def __init__(self, path: Location, format: PixelFormat) -> None:
        self.path, self._format = path, format
        self._arrays: list[Any] | None = None
        self._file: ImageFile | None = None
        self._count: int | None = 0  # not counted yet

    @property
    def count(self) -> int | None:
        """Number of images, each a page; None where the whole file is one image.

        Raises:
            DataNotFoundError, DataError: The file cannot be opened.
        """
        if self._count == 0:
            if is_array_file(self.path):
                number = len(self._opened_arrays())
                self._count = None if number == 1 else number
            else:
                self._count = None if self._is_one_image() else self._opened().count
        return self._count

    @property
    def format(self) -> str:
        """Format by the first bytes of the file, a key of `io.decoding.SUFFIXES_OF`; or "ZARR".

        Raises:
            DataNotFoundError, DataError: The file cannot be opened.
        """
        if is_array_file(self.path):
            return "NPY" if self.path.suffix.lower() == ARRAY else "ZARR"
        return self._opened().format

    def size(self, page: int | None = None) -> tuple[int, int]:
        """Returns (height, width) of an image.

        Raises:
            DataNotFoundError, DataError: The file cannot be opened.
        """
        if is_array_file(self.path):
            array = self._opened_arrays()[page or 0]
            return array.shape[0], array.shape[1]
        return self._opened().size(page)

    def needed_bytes(self, page: int | None = None) -> int:
        """Returns the most bytes that are in use while an image is read.

        Raises:
            DataNotFoundError, DataError: The file cannot be opened.
        """
        if not is_array_file(self.path):
            return self._opened().needed_bytes(page)
        array = self._opened_arrays()[page or 0]
        return 2 * FLOAT * math.prod(array.shape)

    def version(self) -> "ImageVersion":
        """Reads which version of the file this is; of an open one, as it was opened.

        Raises:
            DataNotFoundError, DataError: The file cannot be opened or read.
        """
        if isinstance(self.path, Address):
            return _version_of_address(self.path)
        if is_array_file(self.path):
            return image_version(self.path)
        with _still_there(self.path):
            return ImageVersion(self._opened().version, file_sha256(self._opened()))

    def compressions(self, page: int | None = None) -> set[int]:
        """Returns values of the tag Compression of an image in a TIFF; none of other formats.

        Raises:
            DataNotFoundError, DataError: The file cannot be opened.
        """
        return set(self._opened().windows(page).compressions) if self.format == "TIFF" else set()

    def is_map(self, page: int | None = None) -> bool:
        """Returns whether an image has a georeference, or says which pixels are without data.

        Raises:
            DataNotFoundError, DataError: The file cannot be opened.
        """
        if is_array_file(self.path) or self._opened().format != "TIFF":
            return False
        image = self._opened().windows(page)
        return bool(image.geotags) or image.nodata is not None or image.has_mask

    def require_one_image(self) -> None:
        """Refuses several images; pages that are the channels of one image are accepted.

        Raises:
            DataNotFoundError, DataError: There are several, or the file cannot be opened.
        """
        if not is_array_file(self.path) and self._opened().format != "TIFF":
            return  # animations are refused when they are read
        if self.count is not None:
            raise DataError(
                f"{self.path} holds {format_count(self.count, 'image')}; accepted is a file of "
                "one; to "
                "predict all of its pages: unetkit predict FILE, or in Python predict_files"
            )

    @contextmanager
    def open(self, page: int | None = None) -> Iterator[Source]:
        """Opens an image.

        Args:
            page: Number of the image from 0; None for the only one.

        Raises:
            DataNotFoundError, DataError: The file is absent, damaged, or of pixels that the model
                does not take.
        """
        if page is None:
            self.require_one_image()
        if is_array_file(self.path):
            yield _of_array(self._opened_arrays()[page or 0], self._format, str(self.path))
        elif self._opened().format == "TIFF":
            yield from self._open_tiff(self._opened(), page)
        elif math.prod(self._opened().size()) <= WHOLE_PIXELS:
            image = read_image(self._opened(), self._format, page)
            yield Source(ArrayWindows(image), _same, self._format.channels)
        else:  # decoded whole, but only once, and not kept in memory
            with _mapped(read_image(self._opened(), self._format, page)) as array:
                yield Source(ArrayWindows(array), _same, self._format.channels, True)

    def close(self) -> None:
        """Closes the file; whatever is asked later opens it again."""
        self._arrays = None
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _local_path(self) -> Path:
        if isinstance(self.path, Address):
            raise DataError(
                f"{self.path} is not an OME-Zarr image; accepted here are files of this machine"
            )
        return self.path

    def _opened(self) -> ImageFile:
        if self._file is None:
            self._file = ImageFile(self._local_path, self._format.channel_axis)
        return self._file

    def _opened_arrays(self) -> list[Any]:
        if self._arrays is None:
            self._arrays = _open_arrays(self.path, self._format)
        return self._arrays

    def _is_one_image(self) -> bool:
        """Whether the file holds one image, or is a TIFF with a grey page for each channel.

        Models of grey or colour images do not take such pages, unless they have their channels
        first: a grey page is an image for them.
        """
        file, format = self._opened(), self._format
        if file.count == 1:
            return True
        is_photo = format.channels in (1, 3) and format.channel_axis != "first"
        if is_photo or file.count != format.channels or file.format != "TIFF":
            return False
        page = file.windows(0)
        return page.shape[2] - page.has_alpha == 1

    def _open_tiff(self, file: ImageFile, page: int | None) -> Iterator[Source]:
        path, format, tiff = self._local_path, self._format, file.windows(page)
        nodata = tiff.nodata

        def convert(window: np.ndarray) -> np.ndarray:
            bands = window[..., :-1] if tiff.has_alpha else window
            if tiff.palette is not None:
                require_palette(path, bands, tiff.palette)
            image = DecodedImage(bands, tiff.palette, None, "TIFF", 1, 1, nodata=nodata)
            return format.accept(pixels_of(image, str(path), format.low[0]), str(path))

        # Results mark pixels without data by a value of their own.
        places = {tag: value for tag, value in tiff.geotags.items() if tag != NODATA_TAG}
        is_large = math.prod(tiff.shape[:2]) > WHOLE_PIXELS
        try:
            gaps, size = _gaps_of(tiff), tiff.pixel_size
            if is_large or nodata is not None or gaps is not None:
                yield Source(tiff, convert, format.channels, is_large, nodata, places, gaps, size)
            else:  # strips and tiles of some compressions are too large for windows
                whole = ArrayWindows(read_image(file, format, page))
                yield Source(whole, _same, format.channels, geotags=places, pixel_size=size)
        finally:
            tiff.close()


def _gaps_of(tiff: TiffImage) -> Callable[[slice, slice], np.ndarray] | None:
    """Where a mask in the file, or the opacity of a map, says that there is no data."""
    is_clear_map = tiff.has_alpha and tiff.has_georeference
    if not tiff.has_mask and not is_clear_map:
        return None

    def gaps(rows: slice, columns: slice) -> np.ndarray:
        found = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        masked = tiff.read_gaps(rows, columns)
        if masked is not None:
            found |= masked
        if is_clear_map:
            found |= tiff.read(rows, columns)[..., -1] == 0
        return found

    return gaps


Image = (
    np.ndarray | str | Path | Address | bytes | BinaryIO | PillowImage.Image | Windows | InputFile
)


@contextmanager
def open_source(image: Image, format: PixelFormat, page: int | None = None) -> Iterator[Source]:
    """Opens an image for a model; a file is closed afterwards.

    Args:
        image: A file of one image, its path, its address (extra `remote`) or its content in bytes;
            or an image of Pillow; or (H, W, C) or (H, W) pixel values: an array, a memory map, a
            Zarr array, or anything that is read by windows.
        format: Pixel format of the model.
        page: Number of the image in a file of several, from 0; None for the only one.

    Raises:
        DataNotFoundError, DataError: The file is absent, damaged, or of pixels that the model does
            not take.
        SizeError: The array has other axes or channels.
    """
    if isinstance(image, str | Path | Address):
        location = as_location(image)
        if isinstance(location, Address) and not is_array_file(location):
            with _fetched(location) as path, open_source(path, format, page) as source:
                yield source
            return
        image = InputFile(location, format)
    elif isinstance(image, bytes | bytearray | memoryview):
        image = BytesIO(image)
    elif isinstance(image, PillowImage.Image):
        image = array_of_pillow(image)
    if isinstance(image, InputFile):
        try:
            with image.open(page) as source:
                yield source
        finally:
            image.close()
    elif hasattr(image, "shape"):
        yield _of_array(image, format)
    elif hasattr(image, "read"):
        with _spooled(image) as path:
            try:
                with open_source(path, format, page) as source:
                    yield source
            except (DataError, DataNotFoundError) as error:
                raise type(error)(str(error).replace(str(path), STREAM)) from error
    else:
        raise SizeError(
            f"image is a {type(image).__name__}; accepted are a path, an open file, bytes of a "
            "file, images of Pillow, and arrays of pixels; convert it"
        )


@contextmanager
def _spooled(stream: BinaryIO) -> Iterator[Path]:
    """A stream's content as a file: image readers need to seek."""
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
def _fetched(address: Address) -> Iterator[Path]:
    """A file of another machine as one of this machine, whose errors have the address."""
    with fetched(address) as path:
        try:
            yield path
        except (DataError, DataNotFoundError, SizeError) as error:
            raise type(error)(str(error).replace(str(path), str(address))) from error


@contextmanager
def _mapped(image: np.ndarray) -> Iterator[np.ndarray]:
    """An image in a memory-mapped temporary file."""
    with tempfile.TemporaryFile(prefix="unetkit-") as file:
        with full_disk_named(Path(tempfile.gettempdir())):
            file.write(np.ascontiguousarray(image).data)
            file.flush()
        shape, dtype = image.shape, image.dtype
        del image
        yield np.memmap(file, dtype, "r", shape=shape)


def _same(window: np.ndarray) -> np.ndarray:
    return window


def _of_array(array: Any, format: PixelFormat, name: str = "image") -> Source:
    """A source of an array with pixels of a file (uint8, uint16) or of the model's scale."""
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or 0 in shape or dtype.kind not in "iuf":
        raise SizeError(
            f"{name} is {shape} {dtype}; accepted is (H, W, {format.channels}) of integers or "
            "floats, and at least one pixel; convert it"
        )
    if channels != format.channels and {channels, format.channels} != {1, 3}:
        raise SizeError(
            f"{name} is {shape} {dtype}; accepted is (H, W, {format.channels}); take the channels "
            "that the model was trained with"
        )
    windows: Windows = array if hasattr(array, "read") else ArrayWindows(array)
    is_large = not isinstance(array, np.ndarray) or isinstance(array, np.memmap)
    if dtype.kind == "f" and format.dtype != "float32":
        _require_scale(windows, format, name, None if is_large else 1)
    convert = partial(format.accept_numbers, source=name)
    if not is_large:  # any problem is found before work begins
        whole = convert(windows.read(slice(0, shape[0]), slice(0, shape[1])))
        return Source(ArrayWindows(whole), _same, format.channels)
    size = getattr(windows, "pixel_size", None)
    return Source(windows, convert, format.channels, is_large, pixel_size=size)


def _require_scale(windows: Windows, format: PixelFormat, name: str, step: int | None) -> None:
    """Refuses floats from 0 to 1 where a model takes larger integers, as they would look black.

    Args:
        windows: The pixels.
        format: Pixel format of the model.
        name: Name of the array in an error.
        step: 1 to look at every row; None for a few rows of an array that is not in memory.
    """
    height, width = windows.shape[:2]
    largest = 0.0
    for row in range(0, height, step or max(1, height // SAMPLED_ROWS)):
        line = windows.read(slice(row, row + 1), slice(0, width))
        if not np.all((line >= 0) & (line <= 1)):
            return
        largest = max(largest, float(line.max()))
    if largest > 0:
        white = np.iinfo(format.dtype).max
        raise DataError(
            f"{name} has floats from 0 to {largest:.4g}; accepted are values from 0 to {white}, as "
            f"in the model's {format.dtype} images, among which these would be black; multiply by "
            f"{white}, or convert to {format.dtype}"
        )


def array_of_pillow(image: PillowImage.Image) -> np.ndarray:
    """Pixels of an image of Pillow as it is shown, without opacity, (H, W) or (H, W, 3).

    >>> array_of_pillow(PillowImage.new("CMYK", (2, 1))).tolist()
    [[[255, 255, 255], [255, 255, 255]]]
    """
    if image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "I", "F") and not image.mode.startswith("I;"):
        image = image.convert("RGB")
    return np.asarray(image)


def is_array_file(path: Location) -> bool:
    """Returns whether a file or folder holds arrays of NumPy or Zarr."""
    is_array = path.suffix.lower() == ARRAY and not isinstance(path, Address)
    return is_array or zarr_reader.is_zarr(path)


def is_image(path: Path) -> bool:
    """Returns whether a file or folder is an image by its name, and not hidden."""
    return (
        not path.name.startswith(".")
        and suffix_of(path) in SUFFIXES
        and (path.is_file() or is_array_file(path))
    )


def _open_arrays(path: Location, format: PixelFormat) -> list[Any]:
    """The images of a file of arrays, each read by windows."""
    if isinstance(path, Address) or zarr_reader.is_zarr(path):
        return list(zarr_reader.open_zarr(path, format.channel_axis))
    require_file(path)
    try:
        array = NumpyWindows(path)
    except Exception as error:  # NumPy lets through whatever a wrong header leads to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} is not an array that can be read ({reason}); accepted are .npy files of "
            "(H, W) or (H, W, C) numbers; save it again with numpy.save"
        ) from error
    return [array]


def image_state(path: Path) -> tuple[int, ...]:
    """Returns what changes with a file, or with a Zarr folder: times, size, and inode of a file.

    Raises:
        DataError: It does not exist any more, or the system cannot read it.
    """
    with _still_there(path):
        return stamp(path) if path.is_dir() else version_of(path.stat())


def image_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, or of all files of a Zarr folder.

    Raises:
        DataError: It does not exist any more, or the system cannot read it.
    """
    with _still_there(path):
        if path.is_dir():
            return hash_once(path, image_state(path), lambda: sha256_of(path))
        return file_sha256(path)


def image_version(path: Path) -> ImageVersion:
    """Reads which version of an image file this is; its state is never newer than its content.

    Raises:
        DataError: It does not exist any more, or the system cannot read it.
    """
    return ImageVersion(image_state(path), image_sha256(path))


def _version_of_address(address: Address) -> ImageVersion:
    """Version of an OME-Zarr image of another machine, by what its server lists of its chunks."""
    state = () if address.is_http else version_of_folder(find_file(address))
    return ImageVersion(state, hashlib.sha256(repr(state).encode()).hexdigest())


@contextmanager
def _still_there(path: Path) -> Iterator[None]:
    """Turns errors of the system about an image that was opened before into one of the image."""
    try:
        yield
    except DataNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{path} cannot be read any more ({reason}); accepted are files that stay as they are"
        ) from error


def stamp(path: Path) -> tuple[int, int]:
    """Returns size in bytes and time of last change in nanoseconds, of a file or a whole folder.

    Raises:
        OSError: It does not exist any more.
    """
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    states = [file.stat() for file in files]
    sizes = [state.st_size for state, file in zip(states, files, strict=True) if file != path]
    return sum(sizes or [states[0].st_size]), max(state.st_mtime_ns for state in states)
