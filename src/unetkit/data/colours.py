"""Colours between those of the classes, as blurred edges, interpolation and JPEG leave them."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from unetkit.data.classes import Classes

TOLERANCE = 24.0  # distance in RGB, 0 to 255 in each, from a mixture of class colours
LOSSY_TOLERANCE = 96.0  # the same in JPEGs, whose colours also overshoot at edges
LEAST_DISTANCE = 48.0  # between class colours of JPEGs, whose noise would mix up closer ones


def nearest_colours(
    values: np.ndarray, classes: Classes, tolerance: float = TOLERANCE
) -> np.ndarray:
    """Replaces each colour that is a mixture of class colours by the nearest of them.

    Args:
        values: Colours 0xRRGGBB, of any shape.
        classes: Classes of kind "colours"; their ignored colour counts as one of them.
        tolerance: Distance from a mixture up to which a colour is one.

    Returns:
        Colours in the same shape; those that are no mixture stay as they are.

    >>> classes = Classes(("ground", "red"), (0x000000, 0xFF0000), kind="colours")
    >>> values = np.array([0x030000, 0xE00000, 0x00FF00])
    >>> [hex(colour) for colour in nearest_colours(values, classes)]
    ['0x0', '0xff0000', '0xff00']
    """
    known = [*classes.values, *([] if classes.ignore is None else [classes.ignore])]
    found, places = np.unique(values, return_inverse=True)
    blends = ~np.isin(found, known) & is_blend(found, known, tolerance)
    colours, palette = _unpack(found), _unpack(np.array(known))
    squares = ((colours[:, None] - palette[None]) ** 2).sum(axis=2)
    nearest = np.where(blends, np.array(known)[squares.argmin(axis=1)], found)
    return nearest[places].reshape(values.shape)


def closest_pair(colours: Sequence[int]) -> tuple[int, int] | None:
    """Returns two colours that noise of a JPEG would mix up, the closest; None if there are none.

    >>> closest_pair([0x000000, 0x140000, 0x0000FF])
    (0, 1310720)
    """
    distances = {
        (one, other): float(np.linalg.norm(np.subtract(*_unpack(np.array([one, other])))))
        for one, other in combinations(colours, 2)
    }
    closest = min(distances, key=lambda pair: distances[pair], default=None)
    return closest if closest is not None and distances[closest] < LEAST_DISTANCE else None


def is_near(values: np.ndarray, known: Sequence[int]) -> np.ndarray:
    """Returns whether each colour, (N,), is within LEAST_DISTANCE of a known one, (N,) bool."""
    distances = np.linalg.norm(_unpack(values)[:, None] - _unpack(np.array(known))[None], axis=2)
    return np.asarray(distances.min(axis=1) <= LEAST_DISTANCE)


def is_blend(values: np.ndarray, known: Sequence[int], tolerance: float = TOLERANCE) -> np.ndarray:
    """Returns whether each colour is a mixture of two or three known ones.

    Args:
        values: Colours 0xRRGGBB, (N,).
        known: Colours that may be mixed.
        tolerance: Largest distance from a mixture.

    Returns:
        (N,) bool: whether the colour is within `tolerance` of a line or a triangle between them.
    """
    colours, palette = _unpack(values), _unpack(np.array(known))
    found = np.zeros(len(values), bool)
    for start, end in combinations(palette, 2):
        line = end - start
        along = np.clip((colours - start) @ line / (line @ line), 0, 1)
        distance = np.linalg.norm(colours - (start + along[:, None] * line), axis=1)
        found |= distance <= tolerance
    for corner, *others in combinations(palette, 3):
        sides = np.stack(others) - corner
        if found.all() or np.linalg.matrix_rank(sides) < 2:
            continue
        parts = (colours - corner) @ np.linalg.pinv(sides)  # of both sides, from the corner
        distance = np.linalg.norm(colours - (corner + parts @ sides), axis=1)
        is_inside = (parts >= 0).all(axis=1) & (parts.sum(axis=1) <= 1)
        found |= is_inside & (distance <= tolerance)
    return found


def _unpack(values: np.ndarray) -> np.ndarray:
    """Colours 0xRRGGBB, (N,), as (N, 3) float64."""
    return np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.float64)
