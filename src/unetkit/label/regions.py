"""Regions of similar colour around a pixel, bounded by edges in the image and in the mask."""

import cv2
import numpy as np

from unetkit.errors import DataError


def similar_region(
    image: np.ndarray, mask: np.ndarray, row: int, column: int, tolerance: int
) -> np.ndarray:
    """Finds the connected region of similar colour around a pixel.

    Args:
        image: Image, (H, W, C) uint8 of 1 or 3 channels.
        mask: Mask, (H, W); the region stays within pixels of the same value as the given one.
        row: Row of the pixel.
        column: Column of the pixel.
        tolerance: Largest difference from the colour of the pixel, in each channel, 0 to 255.

    Returns:
        Runs, (n, 2) uint32: first pixel in reading order, and number of pixels.

    Raises:
        DataError: The pixel is outside the image, or the tolerance out of range.

    >>> image = np.array([[[10], [11], [90]], [[10], [80], [10]]], np.uint8)
    >>> similar_region(image, np.zeros((2, 3), np.uint8), 0, 0, 5)
    array([[0, 2],
           [3, 1]], dtype=uint32)
    """
    height, width = mask.shape
    if not (0 <= row < height and 0 <= column < width and 0 <= tolerance <= 255):
        raise DataError(
            f"the pixel is {row}, {column} and the tolerance {tolerance}; accepted are pixels of "
            f"{height}x{width} and tolerances from 0 to 255"
        )
    barrier = np.ones((height + 2, width + 2), np.uint8)
    barrier[1:-1, 1:-1] = mask != mask[row, column]
    found = 2  # other than what bounds the region
    difference = (tolerance,) * 4
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | found << 8
    cv2.floodFill(image.copy(), barrier, (column, row), 0, difference, difference, flags)
    return runs_of(barrier[1:-1, 1:-1] == found)


def runs_of(region: np.ndarray) -> np.ndarray:
    """Runs of the pixels that are set, (n, 2) uint32: first pixel, and number of pixels.

    >>> runs_of(np.array([[False, True], [True, False]]))
    array([[1, 2]], dtype=uint32)
    """
    flat = np.concatenate([[0], region.reshape(-1).view(np.uint8), [0]]).astype(np.int8)
    edges = np.diff(flat)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return np.stack([starts, ends - starts], axis=1).astype(np.uint32)
