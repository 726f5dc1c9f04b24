"""Numbers for objects: consecutive ones, and those of connected regions."""

import cv2
import numpy as np

from unetkit.data.classes import Classes
from unetkit.data.pairs import Pair
from unetkit.data.reading import read_objects
from unetkit.data.scale import IGNORE


def numbered_objects(
    pair: Pair, mask: np.ndarray, classes: Classes, background: int | None
) -> np.ndarray:
    """Numbers the objects of a mask: its instances, or, without these, its connected regions.

    Args:
        pair: Pair of the mask.
        mask: Class indices or IGNORE, (H, W) uint8.
        classes: Classes of the mask files.
        background: Index of the background in `mask`; None for 0.

    Returns:
        (H, W) int32: 1, 2 ... in each object, 0 in the background and in ignored pixels.

    Raises:
        DataError: The mask cannot be read.
    """
    empty = (mask == (background or 0)) | (mask == IGNORE)
    if classes.kind == "instances" or pair.source.has_shapes:
        return renumbered(np.where(empty, 0, read_objects(pair, mask.shape, classes)))
    return regions_of_classes(np.where(empty, background or 0, mask), background or 0)


def renumbered(objects: np.ndarray) -> np.ndarray:
    """Numbers objects anew by 1, 2 ... in the order of their numbers.

    Args:
        objects: Number of the object at each pixel, (H, W) integers; 0 or less outside all objects.

    Returns:
        (H, W) int32; 0 outside all objects.

    >>> renumbered(np.array([[70000, 0, -1, 5]]))
    array([[2, 0, 0, 1]], dtype=int32)
    """
    found, places = np.unique(np.maximum(objects, 0), return_inverse=True)
    first = 0 if found[0] == 0 else 1
    return (places.reshape(objects.shape) + first).astype(np.int32)


def regions_of_classes(mask: np.ndarray, background: int = 0) -> np.ndarray:
    """Numbers the connected regions of each class but the background; diagonals do not connect.

    Args:
        mask: Class indices, (H, W) uint8.
        background: Index of the background.

    Returns:
        (H, W) int32: 1, 2 ... in each region, class by class; 0 in the background.

    Membranes between cells may be lines of one pixel, which cross only diagonally.

    >>> regions_of_classes(np.array([[1, 0, 1, 2]], np.uint8))
    array([[1, 0, 2, 3]], dtype=int32)
    """
    objects = np.zeros(mask.shape, np.int32)
    count = 0
    for index in np.unique(mask):
        if index != background:
            number, regions = cv2.connectedComponents(
                (mask == index).astype(np.uint8), connectivity=4
            )
            np.copyto(objects, regions + count, where=regions > 0)
            count += number - 1
    return objects
