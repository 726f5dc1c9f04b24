"""Colours between those of the classes, as blurred edges, interpolation and JPEG leave them."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from unetkit.data.classes import Classes

TOLERANCE = 24.0  # distance in RGB, 0 to 255 in each, from a mixture of class colours


def nearest_colours(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Replaces each colour that is a mixture of class colours by the nearest of them.

    Args:
        values: Colours 0xRRGGBB, of any shape.
        classes: Classes of kind "colours"; their ignored colour counts as one of them.

    Returns:
        Colours in the same shape; those that are no mixture stay as they are.

    >>> classes = Classes(("ground", "red"), (0x000000, 0xFF0000), kind="colours")
    >>> values = np.array([0x030000, 0xE00000, 0x00FF00])
    >>> [hex(colour) for colour in nearest_colours(values, classes)]
    ['0x0', '0xff0000', '0xff00']
    """
    known = [*classes.values, *([] if classes.ignore is None else [classes.ignore])]
    found, places = np.unique(values, return_inverse=True)
    blends = ~np.isin(found, known) & is_blend(found, known)
    colours, palette = _unpack(found), _unpack(np.array(known))
    squares = ((colours[:, None] - palette[None]) ** 2).sum(axis=2)
    nearest = np.where(blends, np.array(known)[squares.argmin(axis=1)], found)
    return nearest[places].reshape(values.shape)


def is_blend(values: np.ndarray, known: Sequence[int]) -> np.ndarray:
    """Returns whether each colour is a mixture of two or three known ones.

    Args:
        values: Colours 0xRRGGBB, (N,).
        known: Colours that may be mixed.

    Returns:
        (N,) bool: whether the colour is within TOLERANCE of a line or a triangle between them.
    """
    colours, palette = _unpack(values), _unpack(np.array(known))
    found = np.zeros(len(values), bool)
    for start, end in combinations(palette, 2):
        line = end - start
        along = np.clip((colours - start) @ line / (line @ line), 0, 1)
        distance = np.linalg.norm(colours - (start + along[:, None] * line), axis=1)
        found |= distance <= TOLERANCE
    for corner, *others in combinations(palette, 3):
        sides = np.stack(others) - corner
        if found.all() or np.linalg.matrix_rank(sides) < 2:
            continue
        parts = (colours - corner) @ np.linalg.pinv(sides)  # of both sides, from the corner
        distance = np.linalg.norm(colours - (corner + parts @ sides), axis=1)
        is_inside = (parts >= 0).all(axis=1) & (parts.sum(axis=1) <= 1)
        found |= is_inside & (distance <= TOLERANCE)
    return found


def _unpack(values: np.ndarray) -> np.ndarray:
    """Colours 0xRRGGBB, (N,), as (N, 3) float64."""
    return np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.float64)
