"""Distances between pixels, the same on every processor."""

import cv2
import numpy as np


def squared_distances(inside: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of each pixel to the nearest one outside, between their centres.

    OpenCV's distances differ in their last bit by the processor, and by where in memory an array
    begins. Squared distances are whole numbers, and so they are rounded to them, which is exact up
    to distances of 1,448 pixels.

    Args:
        inside: (H, W) bool, with at least one pixel that is False.

    Returns:
        (H, W) float32, whole numbers; 0 outside.

    >>> squared_distances(np.array([[True, True, False], [True, True, True]]))
    array([[4., 1., 0.],
           [5., 2., 1.]], dtype=float32)
    """
    distances = cv2.distanceTransform(
        inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    ).astype(np.float64)
    return np.rint(distances * distances).astype(np.float32)
