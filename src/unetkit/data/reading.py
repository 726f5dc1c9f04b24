"""Read pairs: the one way in which training, evaluation and checking come by their pixels."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from unetkit._shared.threads import in_order
from unetkit.data.classes import Classes
from unetkit.data.dataset import SHOWN, Pair
from unetkit.data.masks import fill_objects, find_annotation, read_mask, read_raw_mask
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.images import read_image, require_file
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff.pages import forget_stacks

T = TypeVar("T")
CHUNK = 1 << 20  # bytes
READERS = 4  # decoding releases Python's lock, and waits for the disk now and then


def read_pair(pair: Pair, classes: Classes, format: PixelFormat) -> tuple[np.ndarray, np.ndarray]:
    """Image, (H, W, C) of the format's type, and mask, (H, W) uint8 class indices or IGNORE.

    Raises:
        DataNotFoundError, DataError: Either cannot be read, or their sizes differ.
    """
    image = read_image(pair.image, format, pair.page)
    mask = read_mask(pair.source, classes, image.shape[:2])
    require_same_size(pair, image.shape[:2], mask.shape)
    return image, mask


def read_objects(pair: Pair, size: tuple[int, int]) -> np.ndarray:
    """(H, W) integers of an instance mask: one for each object, 0 or less where there is none.

    Args:
        size: (height, width) of the image; polygons are drawn at it.

    Raises:
        DataNotFoundError, DataError: The mask cannot be read.
    """
    if pair.source.is_polygon_file:
        return fill_objects(find_annotation(pair.source), size)
    return read_raw_mask(pair.mask, pair.page).values


def require_same_size(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Refuses a mask that is not of its image's size.

    Raises:
        DataError: It is not.
    """
    if image != mask:
        turned = " (turned as its EXIF tag says)" if image == mask[::-1] else ""
        raise DataError(
            f"image {pair.image} is {image[0]}x{image[1]}{turned} and mask {pair.mask} is "
            f"{mask[0]}x{mask[1]} (height x width); accepted are equal sizes; draw the mask on "
            "this picture, or remove the pair"
        )


def in_parallel(
    read: Callable[[Pair], T], pairs: Sequence[Pair], on_done: Callable[[], object] = lambda: None
) -> Iterator[T]:
    """Applies `read` to each pair on a few threads, in order, a few ahead of who takes them."""
    try:
        for result in in_order(read, pairs, READERS):
            on_done()
            yield result
    finally:
        forget_stacks()


def read_in_parallel(
    read: Callable[[Pair], T], pairs: Sequence[Pair], on_done: Callable[[], object] = lambda: None
) -> Iterator[T]:
    """As `in_parallel`, but failures are reported together at the end; nothing follows the first.

    Raises:
        DataError: One or more could not be read; the first few are named.
    """

    def attempt(pair: Pair) -> T | DataError | DataNotFoundError:
        try:
            return read(pair)
        except (DataError, DataNotFoundError) as error:
            return error

    failures: list[str] = []
    for result in in_parallel(attempt, pairs, on_done):
        if isinstance(result, DataError | DataNotFoundError):
            failures.append(str(result))
        elif not failures:
            yield result
    if failures:
        more = len(failures) - SHOWN
        tail = [f"... and {more} more"] if more > 0 else []
        raise DataError("\n".join(failures[:SHOWN] + tail))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        DataNotFoundError, DataError: It is absent, or no file.
        OSError: It cannot be read.
    """
    require_file(path)
    state = path.stat()
    return _digest(path, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=64)  # a stack is the file of all its pages, a polygon file that of many images
def _digest(path: Path, stamp: tuple[int, int]) -> str:
    del stamp  # tells versions apart
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()
