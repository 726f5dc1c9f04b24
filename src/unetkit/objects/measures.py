"""Measures of objects: area, place, shape and intensity, in pixels.

They are those of `skimage.measure.regionprops`, computed from sums over pixels without SciPy.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from unetkit.objects.border_weights import object_boxes

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
# Neighbours of a contour pixel, counted 10 for diagonal and 2 for other ones, and 1 for itself, by
# which its part of the perimeter is found.
_COUNTING = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.float32)
_PARTS = np.zeros(50)
_PARTS[[5, 7, 15, 17, 25, 27]] = 1
_PARTS[[21, 33]] = math.sqrt(2)
_PARTS[[13, 23]] = (1 + math.sqrt(2)) / 2


@dataclass(frozen=True)
class Measures:
    """Measures of one object; lengths in pixels, places as row and column.

    Args:
        area: Number of pixels.
        centroid: Mean (row, column).
        box: First row, first column, last row + 1, last column + 1.
        perimeter: Length of the contour through the centres of its pixels.
        major_axis: Length of the longer axis of the ellipse with the same second moments.
        minor_axis: Length of its shorter axis.
        orientation: Angle between the rows' direction and the longer axis, counter-clockwise in
            radians, from -pi/2 to pi/2.
        means: Mean intensity of each channel.
        sums: Sum of the intensities of each channel.
    """

    area: int
    centroid: tuple[float, float]
    box: tuple[int, int, int, int]
    perimeter: float
    major_axis: float
    minor_axis: float
    orientation: float
    means: tuple[float, ...]
    sums: tuple[float, ...]


def measure_objects(
    objects: np.ndarray, pixels: np.ndarray, origin: tuple[int, int] = (0, 0)
) -> list[Measures]:
    """Measures the objects of a window.

    Args:
        objects: Numbers of objects, (h, w) integers; 0 outside objects.
        pixels: Intensities, (h, w, C) of any type.
        origin: Row and column of the window in the image.

    Returns:
        Measures of each object, in the order of their numbers.

    Source: Benkrid and Crookes, 2000 (perimeter); scikit-image.
    """
    return [
        _measure(objects[box] == number, pixels[box], (origin[0], origin[1]), box)
        for number, box in object_boxes(objects).items()
    ]


def _measure(
    inside: np.ndarray, pixels: np.ndarray, origin: tuple[int, int], box: tuple[slice, slice]
) -> Measures:
    rows, columns = np.nonzero(inside)
    area = len(rows)
    row, column = rows.mean(), columns.mean()
    down, across = rows - row, columns - column
    # Moments of inertia: a about the columns' axis, c about the rows' axis.
    a, c = (across @ across) / area, (down @ down) / area
    b = -(down @ across) / area
    spread = math.hypot(2 * b, a - c)
    values = pixels[inside].astype(np.float64)
    sums = values.sum(axis=0)
    top, left = origin[0] + box[0].start, origin[1] + box[1].start
    return Measures(
        area,
        (top + float(row), left + float(column)),
        (top, left, origin[0] + box[0].stop, origin[1] + box[1].stop),
        perimeter(inside),
        4 * math.sqrt(max(0.0, (a + c + spread) / 2)),
        4 * math.sqrt(max(0.0, (a + c - spread) / 2)),
        _orientation(a, b, c),
        tuple((sums / area).tolist()),
        tuple(sums.tolist()),
    )


def perimeter(inside: np.ndarray) -> float:
    """Length of the contour of an object, through the centres of its pixels.

    >>> perimeter(np.ones((4, 4), bool))
    12.0
    """
    padded = cv2.copyMakeBorder(inside.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    contour = padded - cv2.erode(padded, _CROSS)
    counts = cv2.filter2D(contour.astype(np.float32), -1, _COUNTING, borderType=cv2.BORDER_CONSTANT)
    return float(np.bincount(counts.astype(np.int64).ravel(), minlength=50)[:50] @ _PARTS)


def _orientation(a: float, b: float, c: float) -> float:
    if math.isclose(a, c, abs_tol=1e-12):
        return math.pi / 4 if b < 0 else -math.pi / 4
    return 0.5 * math.atan2(-2 * b, c - a)
