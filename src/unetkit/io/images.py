"""Read image files, in the same way for training, evaluation and prediction.

An `ImageFile` is opened once. Its first bytes decide its format, not its suffix. Pixels are kept as
they are (8 bits, 16 bits or floats), upright, without opacity; `pixel_format` describes what they
mean to a model. A file that cannot be read whole is refused by its name. How formats are decoded is
left to `decoding` and `tiff`, and what the pixels of a mask mean to `data.masks`.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePath
from types import TracebackType

import numpy as np

from unetkit._shared.files import require_regular
from unetkit._shared.memory_budget import BUDGET
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.arrays import ArrayImages, open_arrays
from unetkit.io.decoding import (
    ANIMATED,
    ARRAY_FORMATS,
    IMAGE_SUFFIXES,
    PNG_SIGNATURE,
    SUFFIXES_OF,
    DecodedImage,
    bytes_to_decode,
    decode,
    is_nodata,
    open_with_pillow,
    require_few_frames,
    require_palette,
    without_alpha,
)
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.pages import Pages, keep_pages, open_pages
from unetkit.io.tiff.reader import CACHE_BYTES, TiffImage

SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    PNG_SIGNATURE: "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",  # without the container
    b"\x93NUMPY": "NPY",
    b"PK\x03\x04": "NPZ",
    b"\x5c\x01\0\0": "NIFTI",
    b"\0\0\x01\x5c": "NIFTI",
    b"\x1c\x02\0\0": "NIFTI",  # NIfTI-2
    b"\0\0\x02\x1c": "NIFTI",
}
_PNM = re.compile(rb"P[1-6f]\s")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
COPIES = 2  # of the pixels of a TIFF, while it is decoded and turned
TIFF_BYTES = 1 << 24  # of a decoded strip, and of the structure of the file
START = 132  # bytes of a file from which its format is seen; DICOM's name is at 128


def suffix_of(path: PurePath) -> str:
    """Returns the suffix of a file in lower case; ".nii.gz" is one.

    >>> suffix_of(PurePath("a.b.PNG")), suffix_of(PurePath("brain.nii.gz"))
    ('.png', '.nii.gz')
    """
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def is_image_name(path: PurePath) -> bool:
    """Whether a file has the suffix of an image."""
    return suffix_of(path) in IMAGE_SUFFIXES


class ImageFile:
    """An image file that is opened once; for one thread at a time.

    Args:
        path: Path of the file.
        channel_axis: Where a TIFF or NumPy file without metadata has its channels: "auto", "first"
            or "last".
        role: "image" or "mask": which array of a NumPy archive is read.

    Attributes:
        path: Path of the file.
        format: A key of `decoding.SUFFIXES_OF`, by its first bytes.
        version: Times of change, size and inode, by which versions of the file are told apart.

    Raises:
        DataNotFoundError, DataError: The file is absent, not a regular file, or of another format.

    >>> with ImageFile("photo.png") as file:  # doctest: +SKIP
    ...     file.format, file.size(), file.count
    ('PNG', (480, 640), 1)
    """

    def __init__(self, path: str | Path, channel_axis: str = "auto", role: str = "image") -> None:
        self.path, self.channel_axis, self.role = Path(path), channel_axis, role
        require_file(self.path)
        self._pages: Pages | None = None
        with _open_errors(self.path):
            self._file = OpenFile(self.path)
            try:
                start = self._file.read(START)
            except BaseException:
                self._file.close()
                raise
        self.version = self._file.version
        try:
            self.format = _format_of(self.path, start)
        except DataError:
            self._file.close()
            raise

    @cached_property
    def count(self) -> int:
        """Number of images in the file: pages of a stack, frames of an animation.

        Raises:
            DataError: The file is damaged.
        """
        if self.format == "TIFF":
            return len(self._tiff.images)
        if self.format in ARRAY_FORMATS:
            return self._arrays.count
        if self.format not in ANIMATED:
            return 1
        with open_with_pillow(self.path, self._file, self.format) as image:
            return require_few_frames(self.path, image)

    def size(self, page: int | None = None) -> tuple[int, int]:
        """Returns (height, width) without decoding; of a JPEG or PNG before it is turned upright.

        Args:
            page: Index of the image; None for the only one, or for pages that are channels.

        Raises:
            DataError: The file is damaged, or has no such image.
        """
        if self.format == "TIFF":
            height, width, _ = self.windows(page).shape
            return height, width
        if self.format in ARRAY_FORMATS:
            return self._arrays.size
        with open_with_pillow(self.path, self._file, self.format) as image:
            return image.height, image.width

    def windows(self, page: int | None = None, cache_bytes: int = CACHE_BYTES) -> TiffImage:
        """Returns an image of a TIFF file that is read by windows, while this file is open.

        Args:
            page: Index of the image; None for the only one, or for pages that are channels.
            cache_bytes: Size of the cache of decoded strips and tiles.

        Raises:
            DataError: The file is damaged, or has no such image.
        """
        return TiffImage(self.path, self._tiff, page, self.channel_axis, cache_bytes)

    @property
    def opened(self) -> OpenFile:
        """The bytes of the file."""
        return self._file

    def read(
        self,
        page: int | None = None,
        *,
        as_stored: bool = False,
        window: tuple[slice, slice] | None = None,
    ) -> DecodedImage:
        """Decodes an image whole, so that any damage is found, or a window of a TIFF.

        Args:
            page: Number of the image from 0; None for the only one, or for a TIFF whose pages are
                the channels of one image.
            as_stored: Whether numbers of a TIFF in which 0 is white are kept, as in masks, instead
                of inverted, as in images.
            window: Rows and columns of a TIFF, whose size is then not limited; None for all.

        Raises:
            DataError: The file is damaged or too large, or has no such image.
        """
        if self.format == "TIFF":
            return self._read_tiff(page, as_stored, window)
        with BUDGET.taken(self.needed_bytes(page), str(self.path)):
            if self.format in ARRAY_FORMATS:
                return self._read_array(page)
            return decode(self.path, self._file, self.format, page)

    def needed_bytes(self, page: int | None = None) -> int:
        """Returns the most bytes that are in use while an image is decoded, with its pixels.

        Args:
            page: Index of the image; None for the only one, or for pages that are channels.

        Raises:
            DataError: The file is damaged, or has no such image.
        """
        if self.format in ARRAY_FORMATS:
            return self._arrays.needed_bytes
        if self.format == "TIFF":
            tiff = self.windows(page)
            return _bytes_of_tiff(tiff.shape, tiff.dtype)
        return bytes_to_decode(self.path, self._file, self.format)

    def sha256(self) -> str:
        """Returns the SHA-256 of the content, in hexadecimal.

        Raises:
            OSError: The file cannot be read.
        """
        self._file.seek(0)
        return hashlib.file_digest(self._file.handle, "sha256").hexdigest()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._file.is_closed:
            return
        if self._pages is not None:
            keep_pages(self._pages)
        self._file.close()

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _tiff(self) -> Pages:
        if self._pages is None:
            self._pages = open_pages(self.path, self._file, self.channel_axis)
        return self._pages

    @cached_property
    def _arrays(self) -> ArrayImages:
        return open_arrays(self.path, self._file, self.format, self.channel_axis, self.role)

    def _read_array(self, page: int | None) -> DecodedImage:
        count = self._arrays.count
        if (page is None and count > 1) or not 0 <= (page or 0) < count:
            which = "accepted as one image is one of them" if page is None else f"no image {page}"
            raise DataError(f"{self.path} has {count} images; {which}; save it by itself")
        bands = self._arrays.read(page or 0)
        return DecodedImage(bands, None, None, self.format, 1, count, is_stack=True)

    def _read_tiff(
        self, page: int | None, as_stored: bool, window: tuple[slice, slice] | None
    ) -> DecodedImage:
        is_whole = window is None
        tiff = TiffImage(
            self.path,
            self._tiff,
            page,
            self.channel_axis,
            0 if is_whole else CACHE_BYTES,
            is_whole=is_whole,
            as_stored=as_stored,
        )
        whole = (slice(0, tiff.shape[0]), slice(0, tiff.shape[1]))
        rows, columns = window or whole
        shape = (rows.stop - rows.start, columns.stop - columns.start, tiff.shape[2])
        try:
            with BUDGET.taken(_bytes_of_tiff(shape, tiff.dtype), str(self.path)):
                bands = tiff.read_whole() if window is None else tiff.read(*window)
                nodata, is_map = tiff.nodata, tiff.has_georeference
                gaps = tiff.read_gaps(rows, columns)
        finally:
            tiff.close()
        if tiff.palette is not None:
            require_palette(self.path, bands, tiff.palette)
        image = DecodedImage(
            bands,
            tiff.palette,
            None,
            "TIFF",
            tiff.orientation,
            tiff.count,
            tiff.is_lossy,
            nodata,
            tiff.is_stack,
            gaps,
            is_planar=tiff.is_planar,
        )
        if not tiff.has_alpha:
            return image
        image = without_alpha(image)
        if is_map and image.alpha is not None:  # where a map is transparent, nothing was imaged
            clear = image.alpha == 0
            image = replace(image, gaps=clear if gaps is None else gaps | clear)
        return image


def read_image(
    file: ImageFile | str | Path, format: PixelFormat, page: int | None = None
) -> np.ndarray:
    """Reads an image as a model takes it.

    Args:
        file: The open file; or its path, from which it is opened and closed.
        format: Pixel format of the model.
        page: Index of the image; None for the only one, or for pages that are channels.

    Returns:
        (H, W, C) of the format's channels and type.

    Raises:
        DataNotFoundError, DataError: The file is absent, damaged, too large, or of channels or a
            type that do not fit.
    """
    if not isinstance(file, ImageFile):
        with ImageFile(file, format.channel_axis) as opened:
            return read_image(opened, format, page)
    name, image = str(file.path), file.read(page)
    return format.accept(pixels_of(image, name, format.low[0]), name)


def pixels_of(image: DecodedImage, source: str, fill: float = 0.0) -> np.ndarray:
    """Returns colours for palette indices, 0 and 255 for bits, and all other pixels as they are.

    Args:
        image: The image.
        source: Name of the image in an error.
        fill: Value in place of floats that the file declares to be without data.

    Returns:
        (H, W, C) uint8, uint16 or float32.

    Raises:
        DataError: Some pixels are not numbers, or larger than float32 holds.
    """
    bands = image.bands
    if image.palette is not None:
        colours = image.palette[bands[..., 0]]
        grey = np.array_equal(colours[..., :1].repeat(3, axis=2), colours)
        return colours[..., :1] if grey else colours
    if bands.dtype == bool:
        return bands.astype(np.uint8) * np.uint8(255)
    if bands.dtype in (np.uint8, np.uint16):
        return bands
    if bands.dtype.kind not in "iuf":
        raise DataError(
            f"{source} has {bands.dtype} pixels; accepted are integers and floats; convert it"
        )
    with np.errstate(over="ignore"):
        pixels = bands.astype(np.float32)
    if image.nodata is not None:
        pixels[is_nodata(bands, image.nodata)] = fill
    if image.gaps is not None:
        pixels[image.gaps] = fill
    if not np.isfinite(pixels).all():
        row, column = np.argwhere(~np.isfinite(pixels).all(axis=2))[0]
        raise DataError(
            f"{source} has a pixel that is not a finite number (at row {row}, column {column}); "
            "accepted are finite numbers; replace such pixels"
        )
    return pixels


def _bytes_of_tiff(shape: tuple[int, int, int], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize * COPIES + TIFF_BYTES


def require_file(path: Path) -> None:
    """Refuses pipes and devices: reading them may never end.

    Raises:
        DataNotFoundError, DataError: The file is absent, or not a regular file.
    """
    with _open_errors(path):
        require_regular(path)


def _format_of(path: Path, start: bytes) -> str:
    """The format that the first bytes of a file belong to."""
    for signature, format in SIGNATURES.items():
        if start.startswith(signature):
            return format
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if _PNM.match(start):
        return "PPM"
    if start[4:8] == b"ftyp":
        brands = start[8 : max(12, int.from_bytes(start[:4]))]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if start[8:12] in _HEIF_BRANDS:
            return "HEIF"
    if start[128:132] == b"DICM":
        return "DICOM"
    if start[:2] == b"\x1f\x8b" and path.name.lower().endswith(".nii.gz"):
        return "NIFTI"
    what = "is empty" if not start else "is not an image that can be read"
    raise DataError(f"{path} {what}; accepted are {', '.join(SUFFIXES_OF)}; replace or remove it")


@contextmanager
def _open_errors(path: Path) -> Iterator[None]:
    """Converts errors of the operating system to errors that name the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"image {path} does not exist; accepted is an image file; check the path"
        ) from error
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be opened ({getattr(error, 'strerror', None) or error}); accepted are "
            "files that may be read; change its permissions, or remove it"
        ) from error
