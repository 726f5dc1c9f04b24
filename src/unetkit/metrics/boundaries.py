"""Accuracy of contours: boundary IoU, and accuracy by distance from the true boundary.

The IoU of a large object hardly depends on its contour; these metrics depend on it alone. Pixels
are counted for each image, so that the counts of any set of images can be summed. Ignored pixels
belong to no class, neither in the truth nor in the prediction.
"""

import math

import cv2
import numpy as np

from unetkit._shared.distances import squared_distances
from unetkit.data.scale import IGNORE
from unetkit.metrics.confusion import divide

WIDTH_OF_DIAGONAL = 0.02  # fraction of the image's diagonal, from Cheng et al.
DISTANCES = (0, 1, 2, 4, 8, 16, 32, 64)  # lower edges of the bins, in pixels


def boundary_width(size: tuple[int, ...]) -> int:
    """Returns the width of a boundary in pixels, for an image of (height, width).

    >>> boundary_width((375, 500)), boundary_width((8, 8))
    (12, 1)
    """
    return max(1, round(WIDTH_OF_DIAGONAL * math.hypot(*size)))


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts pixels in the boundaries of each class in truth and prediction.

    The boundary of a class consists of its pixels within `boundary_width` (chessboard distance) of
    a pixel of another class, or of the edge of the image.

    Args:
        truth: Class indices in [0, K), or IGNORE, (H, W) uint8.
        prediction: Class indices in [0, K), (H, W) uint8.
        num_classes: Number of classes, K.

    Returns:
        (K, 2) int64: number of pixels in both boundaries, and in at least one.

    Source: Cheng et al., Boundary IoU, CVPR 2021.
    """
    width = boundary_width(truth.shape)
    known = np.where(truth == IGNORE, np.uint8(IGNORE), prediction)
    counts = np.zeros((num_classes, 2), np.int64)
    for index in range(num_classes):
        one, other = (_inner_boundary(mask == index, width) for mask in (truth, known))
        counts[index] = np.count_nonzero(one & other), np.count_nonzero(one | other)
    return counts


def _inner_boundary(inside: np.ndarray, width: int) -> np.ndarray:
    framed = np.pad(inside, 1).astype(np.uint8)  # the edge of the image is a contour, too
    distance = cv2.distanceTransform(framed, cv2.DIST_C, 3)[1:-1, 1:-1]
    return inside & (distance <= width)


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """Boundary IoU of each class.

    Args:
        counts: Counts of `boundary_counts`, summed over images, (..., K, 2).

    Returns:
        (..., K) float64 in [0, 1]; nan for a class absent from truth and prediction.

    >>> boundary_iou(np.array([[3, 4], [0, 0]]))
    array([0.75,  nan])
    """
    return divide(counts[..., 0], counts[..., 1])


def distance_counts(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Counts all pixels and correct pixels, by distance from the nearest true boundary.

    A pixel next to one of another class (above, below, left or right) has distance 0.

    Args:
        truth: Class indices, or IGNORE, (H, W) uint8.
        prediction: Class indices, (H, W) uint8.

    Returns:
        (len(DISTANCES), 2) int64: number of pixels, and of correct pixels. All are 0 if the truth
        has one class, and so no boundary.

    >>> distance_counts(np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8))[:3]
    array([[2, 1],
           [1, 1],
           [1, 1]])
    """
    counts = np.zeros((len(DISTANCES), 2), np.int64)
    edge = _touches_another(truth)
    if not edge.any():
        return counts
    distance = np.sqrt(squared_distances(~edge))
    counted = truth != IGNORE
    bins = np.searchsorted(DISTANCES, distance[counted], side="right") - 1
    correct = prediction[counted] == truth[counted]
    counts[:, 0] = np.bincount(bins, minlength=len(DISTANCES))
    counts[:, 1] = np.bincount(bins[correct], minlength=len(DISTANCES))
    return counts


def _touches_another(truth: np.ndarray) -> np.ndarray:
    edge = np.zeros(truth.shape, bool)
    for one, other in (
        ((slice(1, None), slice(None)), (slice(-1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
    ):
        known = (truth[one] != IGNORE) & (truth[other] != IGNORE)
        meet = known & (truth[one] != truth[other])
        edge[one] |= meet
        edge[other] |= meet
    return edge


def distance_names() -> list[str]:
    """Returns the name of each bin of distance, in pixels.

    >>> distance_names()
    ['0', '1', '2-3', '4-7', '8-15', '16-31', '32-63', '64+']
    """
    ends = [*(end - 1 for end in DISTANCES[1:]), None]
    return [
        f"{start}+" if end is None else str(start) if start == end else f"{start}-{end}"
        for start, end in zip(DISTANCES, ends, strict=True)
    ]
