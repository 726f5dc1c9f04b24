"""TIFF files opened as an `ImageFile` opens them, without the checks of other formats."""

from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.pages import keep_pages, open_pages, reading_errors
from unetkit.io.tiff.reader import CACHE_BYTES, TiffImage


@dataclass(frozen=True)
class Whole:
    """One image of a TIFF, read whole.

    Args:
        array: (H, W, C), upright.
        palette: (n, 3) uint8, or None.
        has_alpha: Whether the last channel is opacity.
        orientation: EXIF orientation of the stored image.
        frames: Number of images in the file.
        is_lossy: Whether its compression changes pixels.
    """

    array: np.ndarray
    palette: np.ndarray | None
    has_alpha: bool
    orientation: int
    frames: int
    is_lossy: bool


@contextmanager
def opened_pages(path: Path, channel_axis: str = "auto"):
    """The structure of a file, which is closed and kept afterwards."""
    with reading_errors(path):
        file = OpenFile(path)
    with closing(file):
        pages = open_pages(path, file, channel_axis)
        yield pages
        keep_pages(pages)


@contextmanager
def open_tiff_windows(path, page, channel_axis="auto", cache_bytes=CACHE_BYTES):
    """An image that is read by windows."""
    with (
        opened_pages(path, channel_axis) as pages,
        closing(TiffImage(path, pages, page, channel_axis, cache_bytes)) as image,
    ):
        yield image


def read_frame(path, page, channel_axis="auto"):
    """An image that is read whole."""
    with opened_pages(path, channel_axis) as pages:
        image = TiffImage(path, pages, page, channel_axis, 0, is_whole=True)
        array = image.read_whole()
        return Whole(
            array, image.palette, image.has_alpha, image.orientation, image.count, image.is_lossy
        )


def count_frames(path, channel_axis="auto"):
    """The number of images of a file."""
    with opened_pages(path, channel_axis) as pages:
        return len(pages.images)
