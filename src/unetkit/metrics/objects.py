"""Sizes of the objects in a mask, as the network sees them.

The size of an object is the square root of its area, in pixels. Objects are the numbers of an
instance mask, or else the connected regions of each class except background and border.
"""

from collections.abc import Sequence

import cv2
import numpy as np

LEAST_OBJECT = 8.0  # pixels at the network's scale
SMALLEST_TENTH = 10  # percentile
CRUMB = 0.02  # of the area of an image's largest object; smaller regions are slips of the pen


def object_areas(mask: np.ndarray, left_out: Sequence[int | None] = ()) -> np.ndarray:
    """Areas of the connected regions of each class.

    Args:
        mask: Class indices, (H, W) uint8.
        left_out: Classes whose regions are not objects: background, border, ignored pixels.

    Returns:
        (n,) int64, in pixels. Regions of pixels that touch at a corner are one.

    >>> object_areas(np.array([[1, 0, 2, 2], [0, 1, 0, 2]], np.uint8), left_out=[0])
    array([2, 3])
    """
    found = [np.zeros(0, np.int64)]
    for index in np.flatnonzero(np.bincount(mask.ravel())).tolist():
        if index not in left_out:
            inside = (mask == index).astype(np.uint8)
            _, _, rows, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
            found.append(rows[1:, cv2.CC_STAT_AREA].astype(np.int64))
    return np.concatenate(found)


def object_sizes(areas: np.ndarray) -> np.ndarray:
    """Sizes of objects from their areas, without crumbs.

    Args:
        areas: Areas of the objects of one image, (n,) integers.

    Returns:
        Square roots of the areas, (m,) float64, in pixels.

    >>> object_sizes(np.array([400, 100, 7]))
    array([20., 10.])
    """
    kept: np.ndarray = np.sqrt(areas[areas >= CRUMB * areas.max(initial=0)])
    return kept
