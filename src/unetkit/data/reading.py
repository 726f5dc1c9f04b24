"""Read pairs of image and mask; training, evaluation and checks use these functions only."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from unetkit._shared.files import open_input
from unetkit._shared.threads import in_order
from unetkit.data.classes import Classes
from unetkit.data.masks import fill_objects, find_annotation, read_mask, read_raw_mask
from unetkit.data.pairs import Pair
from unetkit.data.scale import IGNORE
from unetkit.data.sources import SHOWN
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.images import ImageFile, require_file
from unetkit.io.parts import forget_images, read_with_missing
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff.file_bytes import version_of
from unetkit.io.tiff.pages import forget_stacks

T = TypeVar("T")
KEPT_HASHES = 64  # pairs of a stack, or of a COCO file, have one file in common
READERS = 4  # threads; decoding releases the GIL, and may wait for the disk


def read_pair(pair: Pair, classes: Classes, format: PixelFormat) -> tuple[np.ndarray, np.ndarray]:
    """Reads an image and its mask.

    Args:
        pair: Paths of both.
        classes: Classes, and the values or labels that stand for them.
        format: Type and channels of the image.

    Returns:
        Image, (H, W, C) of the format's type, and mask, (H, W) uint8 class indices or IGNORE,
        which is also where a GeoTIFF, image or mask, declares its pixels to be without data.

    Raises:
        DataNotFoundError: A file does not exist.
        DataError: A file cannot be read, or the sizes differ.
    """
    with ImageFile(pair.image, format.channel_axis) as file:
        image, missing = read_with_missing(file, format, pair.page, pair.block)
    mask = read_mask(pair.source, classes, image.shape[:2])
    require_same_size(pair, image.shape[:2], mask.shape)
    if missing is not None:
        mask[missing] = IGNORE
    return image, mask


def read_photo(pair: Pair, format: PixelFormat) -> np.ndarray:
    """Reads the image of a pair, (H, W, C) of the format's type.

    Raises:
        DataNotFoundError, DataError: As of `read_pair`.
    """
    with ImageFile(pair.image, format.channel_axis) as file:
        return read_with_missing(file, format, pair.page, pair.block)[0]


def read_objects(pair: Pair, size: tuple[int, int], classes: Classes | None = None) -> np.ndarray:
    """Reads the objects of an instance mask.

    Args:
        pair: Pair whose mask is read.
        size: (height, width) of the image, at which polygons are filled.
        classes: Classes, whose labels of the background and of ignored pixels are no objects;
            None for the labels that mean these by themselves.

    Returns:
        (H, W) integers: the number of the object, 0 or less outside all objects.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The mask cannot be read.
    """
    if pair.source.has_shapes:
        return fill_objects(find_annotation(pair.source), size, classes)
    return read_raw_mask(pair.mask, pair.page, pair.is_alpha, pair.block).values


def require_same_size(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Raises an error if the mask does not have the size of its image.

    Args:
        pair: Pair, for the message.
        image: (height, width) of the image.
        mask: (height, width) of the mask.

    Raises:
        DataError: The sizes differ.
    """
    if image != mask:
        turned = " (rotated by its EXIF tag)" if image == mask[::-1] else ""
        raise DataError(
            f"image {pair.image} is {image[0]}x{image[1]}{turned} and mask {pair.mask} is "
            f"{mask[0]}x{mask[1]} (height x width); accepted are equal sizes; draw the mask on "
            "this image, or remove the pair"
        )


def in_parallel(
    read: Callable[[Pair], T], pairs: Sequence[Pair], on_done: Callable[[], object] = lambda: None
) -> Iterator[T]:
    """Applies a function to each pair in several threads; yields the results in order.

    Args:
        read: Function of a pair.
        pairs: Pairs, of which a few are read ahead of the caller.
        on_done: Function that is called after each pair.
    """
    try:
        for result in in_order(read, pairs, READERS):
            on_done()
            yield result
    finally:
        forget_stacks()
        forget_images()


def read_in_parallel(
    read: Callable[[Pair], T], pairs: Sequence[Pair], on_done: Callable[[], object] = lambda: None
) -> Iterator[T]:
    """Applies a function to each pair in several threads, and reports all failures at the end.

    Args:
        read: Function of a pair.
        pairs: Pairs, of which a few are read ahead of the caller.
        on_done: Function that is called after each pair.

    Yields:
        Results in order, up to the first failure.

    Raises:
        DataError: One or more pairs cannot be read; the first few are named.
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
        raise DataError(*failures[:SHOWN], *tail)


def file_sha256(file: Path | ImageFile) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits.

    Args:
        file: Open image file; or the path of any file, which is opened and closed.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The path is not a file.
        OSError: The file cannot be read.
    """
    if isinstance(file, ImageFile):
        return hash_once(file.path, file.version, file.sha256)
    require_file(file)
    with open_input(file) as opened:
        version = version_of(opened)
        return hash_once(file, version, lambda: hashlib.file_digest(opened, "sha256").hexdigest())


def mask_sha256(pair: Pair) -> str:
    """Returns the SHA-256 of the mask file of a pair, or of the hashes of its several files.

    Raises:
        DataNotFoundError, DataError, OSError: As of `file_sha256`.
    """
    if not pair.parts:
        return file_sha256(pair.mask)
    hashes = [f"{part.label} {file_sha256(part.path)}" for part in pair.parts]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


_hashes: OrderedDict[tuple[Path, tuple[int, ...]], str] = OrderedDict()
_lock = threading.Lock()


def hash_once(path: Path, version: tuple[int, ...], compute: Callable[[], str]) -> str:
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
