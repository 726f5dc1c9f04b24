"""Checked values that several annotation formats have in common: labels, file names, coordinates.

Formats write points as x, y; here they become (row, column). Single values of JSON and XML are
checked in `documents`, shapes are filled in `polygons`.
"""

import re
from typing import Any

import numpy as np

from unetkit.data.annotations.documents import LARGEST_NUMBER, filled_list, refusal, whole
from unetkit.data.classes import LONGEST_NAME


def to_label(value: Any) -> str:
    """Returns a class label.

    Raises:
        DataError: `value` is not text of 1 to LONGEST_NAME printable characters.
    """
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST_NAME:
        accepted = f"are 1 to {LONGEST_NAME} printable characters"
        raise refusal("the label", value, accepted, "rename it")
    return value


def to_image_name(value: Any) -> str:
    """Returns the file name of an image, with forward slashes between its folders.

    Raises:
        DataError: `value` is not text, or has control characters or more than 1,000 characters.
    """
    if not isinstance(value, str) or not re.fullmatch("[^\0-\x1f\ud800-\udfff]{0,1000}", value):
        raise refusal("the image's name", value, "is the name of a file")
    return value.replace("\\", "/")


def to_image_size(record: dict, height: str, width: str) -> tuple[int, int] | None:
    """Returns (height, width) of an image, or None if the record has neither.

    Args:
        record: JSON object that describes the image.
        height: Key of the height in `record`.
        width: Key of the width in `record`.

    Raises:
        DataError: One of the two is missing, or is not a whole number of pixels.
    """
    if record.get(height) is None and record.get(width) is None:
        return None
    return whole(record.get(height), height), whole(record.get(width), width)


def to_points(numbers: Any) -> np.ndarray:
    """Returns points as (N, 2) float64 of (row, column).

    Args:
        numbers: List of x, y, x, y and so on, in pixels.

    Raises:
        DataError: `numbers` is not such a list, or a coordinate is out of range.
    """
    if not isinstance(numbers, list) or len(numbers) % 2:
        raise refusal("an outline", numbers, "is a list of x and y in turn")
    limit = LARGEST_NUMBER
    invalid = [n for n in numbers if type(n) not in (int, float) or not -limit <= n <= limit]
    if invalid:
        raise refusal("a coordinate", invalid[0], f"are numbers of pixels from -{limit} to {limit}")
    return np.array(numbers, np.float64).reshape(-1, 2)[:, ::-1]


def to_ring(numbers: Any) -> np.ndarray:
    """Returns an outline as (N, 2) float64 of (row, column), without a repeated closing point.

    Args:
        numbers: List of x, y, x, y and so on, in pixels.

    Raises:
        DataError: `numbers` is not such a list.
    """
    ring = to_points(numbers)
    is_closed = len(ring) > 1 and (ring[0] == ring[-1]).all()
    return ring[:-1] if is_closed else ring


def flatten_points(positions: Any) -> list:
    """Returns a list of x, y, x, y and so on from a list of [x, y] or [x, y, height].

    Raises:
        DataError: `positions` is not such a list, or is empty.
    """
    for position in filled_list(positions, "an outline"):
        if not isinstance(position, list) or len(position) not in (2, 3):
            raise refusal("a point", position, "is [x, y]")
    return [number for position in positions for number in position[:2]]
