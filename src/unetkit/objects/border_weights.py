"""Weights of pixels between touching objects, by which a network learns to part them.

Where two objects are near each other, the background between them is a few pixels wide and counts
for nothing in a mean over all pixels. The weights of the U-Net paper make each such pixel count as
much as ten others.
"""

import math
from dataclasses import dataclass

import numpy as np

from unetkit._shared.distances import squared_distances
from unetkit.errors import ConfigError

# Weights below this fraction of w0 are 0, so that distances need to be known near objects only.
NEGLIGIBLE = 1e-8


@dataclass(frozen=True)
class BorderWeight:
    """Weight that pixels between objects have in addition to that of their class.

        w0 exp(-(d1 + d2)^2 / (2 sigma^2)), d1 and d2 the distances to the nearest two objects

    Args:
        w0: Weight where two objects touch, 0 or more; 0 for none. The paper has 10.
        sigma: Width of the weights in pixels of the network's scale, above 0. The paper has 5.
        everywhere: Whether pixels of objects have such weights, too, instead of the background
            alone.

    Raises:
        ConfigError: A value is not accepted.

    Source: Ronneberger, Fischer, Brox, MICCAI 2015, equation 2.
    """

    w0: float = 0.0
    sigma: float = 5.0
    everywhere: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.w0 < math.inf:
            raise ConfigError(
                f"w0 is {self.w0}; accepted are numbers of 0 or more; try 10, or 0 for no weights "
                "between objects"
            )
        if not 0 < self.sigma < math.inf:
            raise ConfigError(f"sigma is {self.sigma}; accepted are numbers above 0; try 5")

    @property
    def reach(self) -> float:
        """The sum of both distances, in pixels, from which on weights are 0."""
        return self.sigma * math.sqrt(-2 * math.log(NEGLIGIBLE))


NO_BORDER_WEIGHT = BorderWeight()


def border_weights(objects: np.ndarray, weight: BorderWeight) -> np.ndarray:
    """Weights of the pixels between objects.

    Distances are Euclidean, from the centre of a pixel to that of the nearest pixel of an object.
    They are computed around each object, so that the time grows with the area near objects.

    Args:
        objects: Number of the object at each pixel, (H, W) integers; 0 or less outside all objects.
        weight: Height and width of the weights.

    Returns:
        (H, W) float32, from 0 to `weight.w0`; 0 with fewer than two objects.

    >>> row = np.array([[1, 1, 0, 2, 2]])
    >>> border_weights(row, BorderWeight(w0=10.0, sigma=5.0)).astype(float).round(3).tolist()
    [[0.0, 0.0, 9.231, 0.0, 0.0]]
    """
    far = np.float32(weight.reach + 1) ** 2
    # Squared distances to the nearest and to the second nearest object.
    nearest = np.full(objects.shape, far, np.float32)
    second = nearest.copy()
    margin = math.ceil(weight.reach)
    for number, box in object_boxes(objects).items():
        window = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
        squares = squared_distances(objects[window] != number)
        one, two = nearest[window], second[window]
        np.minimum(two, np.maximum(one, squares), out=two)
        np.minimum(one, squares, out=one)
    if weight.w0 == 0:
        return np.zeros(objects.shape, np.float32)
    total = np.sqrt(nearest, dtype=np.float64) + np.sqrt(second, dtype=np.float64)
    weights = weight.w0 * np.exp(-(total**2) / (2 * weight.sigma**2))
    weights[second >= far] = 0
    if not weight.everywhere:
        weights[objects > 0] = 0
    return weights.astype(np.float32)


def object_boxes(objects: np.ndarray) -> dict[int, tuple[slice, slice]]:
    """The rows and columns that each object takes up, by its number, in ascending order.

    Args:
        objects: Number of the object at each pixel, (H, W) integers; 0 or less outside all objects.

    >>> object_boxes(np.array([[0, 7, 7], [0, 7, 3]]))
    {3: (slice(1, 2, None), slice(2, 3, None)), 7: (slice(0, 2, None), slice(1, 3, None))}
    """
    rows, columns = np.nonzero(objects > 0)
    if not len(rows):
        return {}
    found, places = np.unique(objects[rows, columns], return_inverse=True)
    first = np.tile(np.reshape(objects.shape, (2, 1)), len(found))
    end = np.zeros_like(first)
    for axis, values in enumerate((rows, columns)):
        np.minimum.at(first[axis], places, values)
        np.maximum.at(end[axis], places, values + 1)
    boxes = zip(found.tolist(), *first.tolist(), *end.tolist(), strict=True)
    return {
        number: (slice(top, bottom), slice(left, right))
        for number, top, left, bottom, right in boxes
    }
