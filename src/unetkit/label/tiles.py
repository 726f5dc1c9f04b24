"""Images in tiles at several scales, so that a page shows one of any size.

Level 0 has the pixels of the image; each further one half as many rows and columns, averaged. An
image of more than 8 bits is shown between its own 0.1 and 99.9 percentiles; that is for people, and
says nothing about what a network sees.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unetkit.errors import DataError
from unetkit.io.images import ImageFile, pixels_of
from unetkit.label.project import ImageEntry

TILE = 512  # pixels a side
TAIL_PERCENT = 0.1  # of pixels beyond the black and the white level
PYRAMID_BYTES = 1 << 30  # of decoded images
THUMBNAIL_SIDE = 96  # pixels a side, at most
LEVEL_PIXELS = 1 << 20  # pixels that the levels are computed from, about


@dataclass(frozen=True)
class Pyramid:
    """An image at several scales.

    Args:
        levels: Pixels at each scale, (h, w, 3) or (h, w, 1) uint8, the largest first.
    """

    levels: tuple[np.ndarray, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        height, width = self.levels[0].shape[:2]
        return height, width

    @property
    def nbytes(self) -> int:
        """Bytes of all levels."""
        return sum(level.nbytes for level in self.levels)

    def tile(self, level: int, row: int, column: int) -> bytes | None:
        """A tile as PNG; None if there is no such tile.

        Args:
            level: Index of the scale.
            row: Index of the tile from the top.
            column: Index of the tile from the left.
        """
        if not 0 <= level < len(self.levels) or row < 0 or column < 0:
            return None
        rows, columns = (slice(place * TILE, (place + 1) * TILE) for place in (row, column))
        pixels = self.levels[level][rows, columns]
        return _to_png(pixels) if pixels.size else None

    def thumbnail(self) -> bytes:
        """The whole image in a few pixels, as PNG."""
        height, width = self.size
        scale = THUMBNAIL_SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        near = next(
            (level for level in reversed(self.levels) if max(level.shape[:2]) >= THUMBNAIL_SIDE),
            self.levels[0],
        )
        return _to_png(np.atleast_3d(cv2.resize(near, size, interpolation=cv2.INTER_AREA)))


def read_shown(path: Path) -> np.ndarray:
    """Decodes an image as people see it, (H, W, 3) or (H, W, 1) uint8.

    Raises:
        DataNotFoundError, DataError: The file is absent or damaged, or has several images.
    """
    with ImageFile(path) as file:
        if file.count != 1:
            others = ", or TIFF pages as the channels of one" if file.format == "TIFF" else ""
            raise DataError(
                f"{path} has {file.count} images; accepted is one; save each by itself{others}"
            )
        image = pixels_of(file.read(), str(path))
    shown = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    return np.ascontiguousarray(_to_8_bits(shown))


def make_pyramid(entry: ImageEntry) -> Pyramid:
    """Decodes an image and reduces it to all scales.

    Raises:
        DataNotFoundError, DataError: The file is absent or damaged, or has several images.
    """
    levels = [read_shown(entry.path)]
    while max(levels[-1].shape[:2]) > TILE:
        height, width = levels[-1].shape[:2]
        half = (width + 1) // 2, (height + 1) // 2
        levels.append(np.atleast_3d(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA)))
    return Pyramid(tuple(levels))


def _to_8_bits(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    pixels = image.reshape(-1, image.shape[2])
    step = max(1, len(pixels) // LEVEL_PIXELS)
    low, high = np.percentile(pixels[::step], (TAIL_PERCENT, 100 - TAIL_PERCENT))
    scaled = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _to_png(pixels: np.ndarray) -> bytes:
    ordered = pixels[..., ::-1] if pixels.shape[2] == 3 else pixels
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return cv2.imencode(".png", np.ascontiguousarray(ordered), fast)[1].tobytes()


class PyramidCache:
    """Pyramids of the images that were asked for last, up to a size; for several threads.

    Args:
        make: Function that returns the pyramid of an image.
        limit: Largest size of all pyramids but the last one, in bytes.
    """

    def __init__(
        self, make: Callable[[ImageEntry], Pyramid] = make_pyramid, limit: int = PYRAMID_BYTES
    ) -> None:
        self._make, self._limit = make, limit
        self._kept: OrderedDict[str, Pyramid] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, entry: ImageEntry) -> Pyramid:
        """The pyramid of an image, which one thread makes while others wait for it.

        Raises:
            DataNotFoundError, DataError: The image cannot be read.
        """
        with self._lock:
            own = self._locks.setdefault(entry.id, threading.Lock())
        with own:
            with self._lock:
                if entry.id in self._kept:
                    self._kept.move_to_end(entry.id)
                    return self._kept[entry.id]
            made = self._make(entry)
            with self._lock:
                self._kept[entry.id] = made
                while len(self._kept) > 1 and self._size() > self._limit:
                    self._kept.popitem(last=False)
        return made

    def _size(self) -> int:
        return sum(pyramid.nbytes for pyramid in self._kept.values())
