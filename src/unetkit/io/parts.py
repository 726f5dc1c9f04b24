"""Read images whole or one block at a time, so that parts of one image can be images of their own.

A block of a TIFF is read by windows, in memory that does not grow with the image. An image of
another format is decoded whole, once for all blocks that are read one after another.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from unetkit.io.decoding import DecodedImage, upright_size
from unetkit.io.images import ImageFile, pixels_of
from unetkit.io.pixel_format import PixelFormat

KEPT_IMAGES = 2  # an image and its mask


@dataclass(frozen=True)
class Block:
    """A rectangle of an image, which stands for an image of its own.

    Args:
        row: Its first row in the image.
        column: Its first column.
        height: Number of rows.
        width: Number of columns.
        image_size: (height, width) of the whole image.
        side: Side in pixels that was asked for.
        gap: Pixels between neighbouring blocks.
    """

    row: int
    column: int
    height: int
    width: int
    image_size: tuple[int, int]
    side: int
    gap: int

    @property
    def rows(self) -> slice:
        """Rows of the block."""
        return slice(self.row, self.row + self.height)

    @property
    def columns(self) -> slice:
        """Columns of the block."""
        return slice(self.column, self.column + self.width)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the block of an array of the whole image, (H, W, ...), as a copy."""
        return np.ascontiguousarray(pixels[self.rows, self.columns])

    def record(self) -> dict[str, int]:
        """Returns what distinguishes blocks of one image, as split.json has it."""
        names = ("row", "column", "height", "width", "side", "gap")
        return {name: getattr(self, name) for name in names}


def size_of(file: ImageFile, page: int | None = None) -> tuple[int, int]:
    """Returns (height, width) of an image as it is read, upright, without decoding it.

    Args:
        file: The open file.
        page: Index of the image; None for the only one, or for pages that are channels.

    Raises:
        DataError: The file is damaged, or has no such image.
    """
    return upright_size(file.path, file.opened, file.format) or file.size(page)


def read_part(
    file: ImageFile, page: int | None = None, block: Block | None = None, *, as_stored: bool = False
) -> DecodedImage:
    """Decodes an image, or one block of it.

    Args:
        file: The open file.
        page: Index of the image; None for the only one, or for pages that are channels.
        block: The block; None for the whole image.
        as_stored: Whether numbers of a TIFF in which 0 is white are kept, as in masks.

    Raises:
        DataError: The file is damaged or too large, has no such image, or has another size than the
            image of the block.
    """
    if block is None:
        return file.read(page, as_stored=as_stored)
    if file.format == "TIFF":
        return file.read(page, as_stored=as_stored, window=(block.rows, block.columns))
    image = _read_kept(file, page)
    alpha = None if image.alpha is None else block.cut(image.alpha)
    gaps = None if image.gaps is None else block.cut(image.gaps)
    return replace(image, bands=block.cut(image.bands), alpha=alpha, gaps=gaps)


def read_with_missing(
    file: ImageFile, format: PixelFormat, page: int | None = None, block: Block | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads an image as a model takes it, and where it has no data.

    Args:
        file: The open file.
        format: Pixel format of the model.
        page: Index of the image; None for the only one, or for pages that are channels.
        block: The part of the image that is read; None for all of it.

    Returns:
        The image, (H, W, C), and where a GeoTIFF declares its pixels to be without data, (H, W)
        bool; None if it declares no such value.

    Raises:
        DataError: The file is damaged, too large, or of channels or a type that do not fit.
    """
    name, image = str(file.path), read_part(file, page, block)
    return format.accept(pixels_of(image, name, format.low[0]), name), image.missing


_Key = tuple[object, ...]
_kept: OrderedDict[_Key, DecodedImage] = OrderedDict()
_lock = threading.Lock()


def _read_kept(file: ImageFile, page: int | None) -> DecodedImage:
    """A whole image; threads that need blocks of one image decode it once."""
    key = (file.path, file.version, page, file.channel_axis, file.role)
    with _lock:
        image = _kept.get(key)
        if image is None:
            image = file.read(page)
            _kept[key] = image
        _kept.move_to_end(key)
        while len(_kept) > KEPT_IMAGES:
            _kept.popitem(last=False)
    return image


def forget_images() -> None:
    """Frees the images that are kept for further blocks of them."""
    with _lock:
        _kept.clear()
