"""Methods to tell touching objects apart: what a network learns for them, and what it predicts.

- `ridge`: pixels of an object beside another one become background, and the network learns a ridge
  of background there, with border weights as in the U-Net paper. It needs no further output.
- `border`: one more output is the probability that two objects meet at a pixel.
- `distance`: one more output is the distance to the edge of the object, relative to its centre.

`make_target` derives from numbered objects what is learnt. `separation_maps` derives from what is
predicted where objects are, where each of them certainly is (seeds), and the order in which pixels
between seeds are given to them. `components` finds objects in these maps.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from unetkit._shared.distances import squared_distances
from unetkit.errors import ConfigError, did_you_mean
from unetkit.objects.border_weights import object_boxes

METHODS = ("none", "ridge", "border", "distance")
USUAL_SEED = 0.5
USUAL_PROMINENCE = 0.1
MEETING = 2  # pixels; in a border, another object is at most so far away
SQUARE = np.ones((3, 3), np.uint8)
DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MEETING + 1, 2 * MEETING + 1))
HALO = 2  # pixels around a window on which its maps depend
BINOMIAL_WEIGHTS = np.array([1, 4, 6, 4, 1], np.float32)
LANDSCAPE_STEPS = 1024  # of a landscape from 0 to 1
OUTSIDE = 2.0**24  # above all numbers of objects in float32


@dataclass(frozen=True)
class ObjectRule:
    """How objects are told apart, and which are kept.

    Args:
        method: "ridge", "border" or "distance"; "none" for classes only.
        seed: Threshold of seeds, between 0 and 1: with "ridge", the largest probability of the
            background; with "border", that of a border or background; with "distance", the
            least relative distance. Unless given, the best one on the validation pairs.
        smallest: Area of the smallest object, in pixels of the network's scale; smaller ones are
            left out. Unless given, the best one on the validation pairs.
        largest_hole: Area of the largest hole that is filled, in pixels of the network's scale.
            Unless given, the best one on the validation pairs.
        prominence: Least difference between the middle of an object and the pixels between it and a
            neighbour, in the map that `seed` is a threshold of; 0 to part objects by the threshold
            alone. Unless given, the best one on the validation pairs.

    Raises:
        ConfigError: A value is not accepted.
    """

    method: str = "none"
    seed: float | None = None
    smallest: int | None = None
    largest_hole: int | None = None
    prominence: float | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(
                f"method is {self.method!r}; accepted are {', '.join(map(repr, METHODS))}"
                f"{did_you_mean(str(self.method), METHODS)}"
            )
        if self.seed is not None and not 0 < self.seed < 1:
            raise ConfigError(f"seed is {self.seed}; accepted are numbers between 0 and 1; try 0.5")
        if self.prominence is not None and not 0 <= self.prominence < 1:
            raise ConfigError(
                f"prominence is {self.prominence}; accepted are numbers from 0 to below 1; try 0.1"
            )
        for name in ("smallest", "largest_hole"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted are whole numbers of 0 or more"
                )

    @property
    def is_complete(self) -> bool:
        """Whether all values are given that the method uses."""
        values = self.seed, self.smallest, self.largest_hole, self.prominence
        return not self.finds_objects or None not in values

    def describe(self) -> str:
        """A short description of a complete rule.

        >>> ObjectRule("border", 0.4, smallest=20, largest_hole=0).describe()
        'told apart by border, seeds 0.4, smallest 20, largest hole 0 pixels'
        >>> ObjectRule("border", 0.4, smallest=20, largest_hole=0, prominence=0.1).describe()
        'told apart by border, seeds 0.4, prominence 0.1, smallest 20, largest hole 0 pixels'
        """
        prominence = f"prominence {self.prominence:g}, " if self.prominence else ""
        sizes = f"{prominence}smallest {self.smallest}, largest hole {self.largest_hole} pixels"
        return f"told apart by {self.method}, seeds {self.seed:g}, {sizes}"

    @property
    def finds_objects(self) -> bool:
        """Whether a network learns to tell objects apart."""
        return self.method != "none"

    @property
    def channels(self) -> int:
        """Number of the network's outputs in addition to the logits of the classes."""
        return len(self.outputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of these outputs."""
        return (f"{self.method} of objects",) if self.method in ("border", "distance") else ()


NO_OBJECTS = ObjectRule()


@dataclass(frozen=True)
class SeparationMaps:
    """Maps of a window in which objects are found.

    Args:
        foreground: Where objects are, (h, w) bool.
        seeds: Where they are told apart: connected regions, without diagonals, are one object each,
            unless prominent peaks part them; (h, w) bool, only inside `foreground`.
        landscape: Order in which the other pixels are given to seeds, lowest first; (h, w) float32.
    """

    foreground: np.ndarray
    seeds: np.ndarray
    landscape: np.ndarray

    def window(self, rows: slice, columns: slice) -> "SeparationMaps":
        """The maps of a window of this window."""
        parts = (self.foreground, self.seeds, self.landscape)
        return SeparationMaps(*(part[rows, columns] for part in parts))


def separation_maps(
    foreground: np.ndarray, scores: np.ndarray, rule: ObjectRule, background: int
) -> SeparationMaps:
    """Derives from a prediction where objects are, their seeds, and the order of other pixels.

    A pixel depends on pixels at a distance of up to `HALO` only.

    Args:
        foreground: Where a class other than the background is predicted, (H, W) bool.
        scores: Probability of each class, and that of a border or the relative distance with these
            methods, (H, W, K) or (H, W, K + 1) float32.
        rule: How objects are told apart.
        background: Index of the background.
    """
    if rule.method == "border":
        # Of two objects that nearly touch, the background between them says so, too.
        landscape = 1 - (1 - scores[..., -1]) * (1 - scores[..., background])
    elif rule.method == "distance":
        landscape = 1 - scores[..., -1]
    else:
        landscape = scores[..., background]
    seed = USUAL_SEED if rule.seed is None else rule.seed
    highest = 1 - seed if rule.method == "distance" else seed
    if rule.prominence:
        landscape = _smoothed(landscape)
    seeds = foreground & (landscape <= highest)
    if rule.method == "ridge":
        foreground = _closed(foreground)
    return SeparationMaps(foreground, seeds, np.nan_to_num(landscape, nan=1.0))


def _smoothed(landscape: np.ndarray) -> np.ndarray:
    """Without the bumps of single pixels: weights 1, 4, 6, 4, 1 in both directions.

    Whole numbers of up to 2^18 are summed, which float32 does in any order without rounding, so
    that the result does not depend on the window.
    """
    steps = np.rint(np.nan_to_num(landscape, nan=1.0) * LANDSCAPE_STEPS).astype(np.float32)
    sums = cv2.sepFilter2D(steps, -1, BINOMIAL_WEIGHTS, BINOMIAL_WEIGHTS)
    return sums / np.float32(LANDSCAPE_STEPS * BINOMIAL_WEIGHTS.sum() ** 2)


def _closed(foreground: np.ndarray) -> np.ndarray:
    """A mask with gaps of up to two pixels closed, which are the ridges that networks learn."""
    closed = cv2.morphologyEx(foreground.astype(np.uint8), cv2.MORPH_CLOSE, SQUARE)
    return closed.astype(bool)


def with_ridges(mask: np.ndarray, objects: np.ndarray, background: int) -> np.ndarray:
    """A mask in which pixels of an object beside another object are background.

    Args:
        mask: Class indices or IGNORE, (H, W), any type.
        objects: Numbers of objects, (H, W) integers or float32; 0 outside objects.
        background: Index of the background.

    Returns:
        (H, W), of the type of `mask`.
    """
    carved = mask.copy()
    carved[_meeting(objects, SQUARE) & (objects > 0)] = background
    return carved


def borders(objects: np.ndarray) -> np.ndarray:
    """Where two objects meet: pixels with another object at a distance of up to `MEETING`.

    Args:
        objects: Numbers of objects, (H, W) integers or float32; 0 outside objects.

    Returns:
        (H, W) float32, 0 or 1.
    """
    return _meeting(objects, DISC).astype(np.float32)


def _meeting(objects: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Whether at least two objects have pixels in the neighbourhood of each pixel, (H, W) bool."""
    numbers = objects.astype(np.float32)
    largest = cv2.dilate(numbers, kernel)
    numbers[numbers <= 0] = OUTSIDE
    smallest = cv2.erode(numbers, kernel)
    return (smallest < OUTSIDE) & (largest > 0) & (smallest != largest)


def relative_distances(objects: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the edge of its object, relative to the object's largest one.

    Args:
        objects: Numbers of objects, (H, W) integers or float32; 0 outside objects. Beyond the
            edges of the array, objects are taken to go on.

    Returns:
        (H, W) float32, above 0 and up to 1 in objects, 0 outside.
    """
    found = np.zeros(objects.shape, np.float32)
    for number, box in object_boxes(objects).items():
        window = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        inside = objects[window] == number
        if inside.all():
            found[window] = 1
            continue
        distances = np.sqrt(squared_distances(inside))
        np.copyto(found[window], distances / distances.max(), where=inside)
    return found


def make_target(
    mask: np.ndarray, objects: np.ndarray, background: int, rule: ObjectRule
) -> tuple[np.ndarray, np.ndarray | None]:
    """What a network learns of an image with these objects.

    Args:
        mask: Class indices or IGNORE, (H, W) uint8.
        objects: Numbers of objects, (H, W) integers or float32; 0 outside objects.
        background: Index of the background.
        rule: How objects are told apart.

    Returns:
        Class indices or IGNORE, (H, W) uint8; and the target of the further output, (H, W) float32
        from 0 to 1, or None.
    """
    if rule.method == "ridge":
        return with_ridges(mask, objects, background), None
    if rule.method == "border":
        return mask, borders(objects)
    if rule.method == "distance":
        return mask, relative_distances(objects)
    return mask, None
