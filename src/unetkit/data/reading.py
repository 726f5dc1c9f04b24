"""Read pairs: the one way in which training, evaluation and checking come by their pixels."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from unetkit._shared.threads import in_order
from unetkit.data.classes import Classes
from unetkit.data.dataset import SHOWN, Pair
from unetkit.data.masks import draw_objects, find_drawing, read_mask, read_raw_mask
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.images import ImageFile, read_image, require_file
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff.file_bytes import version_of
from unetkit.io.tiff.pages import forget_stacks

T = TypeVar("T")
KEPT_HASHES = 64  # a stack is the file of all its pages, a polygon file that of many images
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
    if pair.source.is_drawn:
        return draw_objects(find_drawing(pair.source), size)
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


def file_sha256(file: Path | ImageFile) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal.

    Args:
        file: An open image file; or the path of any file, which is opened and closed.

    Raises:
        DataNotFoundError, DataError: It is absent, or not a regular file.
        OSError: It cannot be read.
    """
    if isinstance(file, ImageFile):
        return _hash_once(file.path, file.version, file.sha256)
    require_file(file)
    with open(file, "rb") as opened:
        version = version_of(opened)
        return _hash_once(file, version, lambda: hashlib.file_digest(opened, "sha256").hexdigest())


_hashes: OrderedDict[tuple[Path, tuple[int, ...]], str] = OrderedDict()
_lock = threading.Lock()


def _hash_once(path: Path, version: tuple[int, ...], compute: Callable[[], str]) -> str:
    """The hash of a version of a file; those of the last files are kept."""
    key = (path, version)
    with _lock:
        found = _hashes.get(key)
    if found is None:
        found = compute()
    with _lock:
        _hashes[key] = found
        _hashes.move_to_end(key)
        while len(_hashes) > KEPT_HASHES:
            _hashes.popitem(last=False)
    return found
