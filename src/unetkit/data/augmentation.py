"""Random transformations of an image and its mask.

One warp (flip, affine, elastic) is composed as a map of coordinates and applied once to the image
(linear) and once to the mask (nearest), so that both always agree and no pixel is interpolated
twice. All random numbers come from the generator that the caller passes: seeded with (seed, epoch,
index), it gives the same sample again, whatever the number of workers.
"""

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np

from unetkit.errors import ConfigError
from unetkit.io.pixel_format import LUMA


@dataclass(frozen=True)
class Augmentation:
    """Strength of each random transformation; 0 or false switches it off.

    Args:
        flip_horizontal: Whether to swap left and right in half of the samples.
        flip_vertical: Whether to swap top and bottom in half of the samples.
        rotation: Largest rotation in either direction, in degrees.
        zoom: Largest zoom minus 1: with 0.25, factors are from 1/1.25 to 1.25.
        stretch: Largest factor of the aspect ratio minus 1.
        shear: Largest shear angle in either direction, in degrees.
        shift: Largest shift in either direction, as a fraction of the size.
        elastic: Standard deviation of the displacements of a 3x3 grid, in pixels.
        brightness: Largest change in either direction, as a fraction of the value range.
        contrast: Largest factor of the contrast minus 1.
        saturation: Largest factor of the saturation minus 1; for colour images only.

    Raises:
        ConfigError: A value is negative or not finite.
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            if not 0 <= getattr(self, entry.name) < math.inf:
                raise ConfigError(
                    f"augmentation {entry.name} is {getattr(self, entry.name)}; accepted are "
                    "values from 0 up; use 0 to switch it off"
                )


NO_AUGMENTATION = Augmentation()
# Photos are taken upright: they may be mirrored, but not turned upside down.
PHOTO_AUGMENTATION = Augmentation(
    flip_horizontal=True,
    rotation=15.0,
    zoom=0.3,
    stretch=0.15,
    shear=5.0,
    shift=0.1,
    brightness=0.2,
    contrast=0.25,
    saturation=0.4,
)
# Under a microscope all directions are equal, and tissue is deformable.
MICROSCOPE_AUGMENTATION = Augmentation(
    flip_horizontal=True,
    flip_vertical=True,
    rotation=180.0,
    zoom=0.1,
    elastic=10.0,  # Ronneberger et al. 2015, section 3.1
    brightness=0.1,
    contrast=0.2,
)


def random_window(
    rng: np.random.Generator,
    augmentation: Augmentation,
    size: tuple[int, int],
    centre: tuple[float, float],
) -> np.ndarray:
    """Returns the source coordinates of each pixel of a randomly warped window.

    Args:
        rng: Generator of all random numbers.
        augmentation: Strength of the transformations.
        size: (height, width) of the window.
        centre: (row, column) in the image of the centre of the window, before any shift.

    Returns:
        (2, H, W) float32: row and column in the image for each pixel. Without augmentation they
        are whole numbers if the window fits the pixel grid, and the warp copies exactly.
    """
    height, width = size
    rows, columns = np.meshgrid(
        np.arange(height, dtype=np.float32) - (height - 1) / 2,
        np.arange(width, dtype=np.float32) - (width - 1) / 2,
        indexing="ij",
    )
    if augmentation.elastic:
        field = _elastic_field(rng, augmentation.elastic, size)
        rows, columns = rows + field[0], columns + field[1]
    matrix = _random_matrix(rng, augmentation)
    shift = rng.uniform(-augmentation.shift, augmentation.shift, 2) * size
    return np.stack(
        [
            matrix[0, 0] * rows + matrix[0, 1] * columns + np.float32(centre[0] + shift[0]),
            matrix[1, 0] * rows + matrix[1, 1] * columns + np.float32(centre[1] + shift[1]),
        ]
    )


def _random_matrix(rng: np.random.Generator, augmentation: Augmentation) -> np.ndarray:
    """Rotation, shear, zoom, stretch and flips as one (2, 2) float32 matrix on (row, column)."""
    angle = np.deg2rad(rng.uniform(-augmentation.rotation, augmentation.rotation))
    slant = np.tan(np.deg2rad(rng.uniform(-augmentation.shear, augmentation.shear)))
    zoom = np.exp(rng.uniform(-1, 1) * np.log1p(augmentation.zoom))
    stretch = np.exp(rng.uniform(-1, 1) * np.log1p(augmentation.stretch) / 2)
    mirror = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    mirror = np.where([augmentation.flip_vertical, augmentation.flip_horizontal], mirror, 1.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, 0.0], [slant, 1.0]])
    scales = zoom * np.array([stretch, 1 / stretch]) * mirror
    return (matrix * scales).astype(np.float32)


def _elastic_field(rng: np.random.Generator, deviation: float, size: tuple[int, int]) -> np.ndarray:
    """Smooth random displacements, (2, H, W) float32, in pixels.

    Source: Ronneberger et al. 2015, section 3.1: a coarse 3x3 grid, bicubic in between.
    """
    grid = rng.normal(0.0, deviation, (3, 3, 2)).astype(np.float32)
    field = cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.moveaxis(field, -1, 0)


def warp(image: np.ndarray, window: np.ndarray, *, is_mask: bool) -> np.ndarray:
    """Samples a window of an image (linear) or a mask (nearest), mirrored beyond the edges.

    Args:
        image: Image or mask, (H, W, C) or (H, W), uint8, uint16 or float32. Of a memory map, only
            the necessary rows and columns are read.
        window: Source coordinates from `random_window`, (2, h, w) float32.
        is_mask: Whether to take the nearest pixel instead of interpolating.

    Returns:
        (h, w, C) or (h, w) of the same type.
    """
    first_row, last_row = _needed(window[0], image.shape[0])
    first_column, last_column = _needed(window[1], image.shape[1])
    source = np.ascontiguousarray(image[first_row:last_row, first_column:last_column])
    source = source.reshape(*source.shape[:2], -1)
    # OpenCV samples at most 128 channels at once, and up to four with equal rounding.
    warped = [
        cv2.remap(
            np.ascontiguousarray(source[..., first : first + 4]),
            window[1] - np.float32(first_column),
            window[0] - np.float32(first_row),
            interpolation=cv2.INTER_NEAREST if is_mask else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        ).reshape(*window.shape[1:], -1)
        for first in range(0, source.shape[2], 4)
    ]
    joined = warped[0] if len(warped) == 1 else np.concatenate(warped, axis=2)
    return joined.reshape(*window.shape[1:], *image.shape[2:])


def _needed(coordinates: np.ndarray, length: int) -> tuple[int, int]:
    """First index, and one past the last, of the pixels at coordinates mirrored at the edges."""
    first = int(np.floor(coordinates.min())) - 1
    last = int(np.ceil(coordinates.max())) + 1
    mirrored_first, mirrored_last = 2 * (length - 1) - last, -first
    # An even start, so that half-way coordinates are rounded as in the whole image.
    return (
        max(0, min(first, mirrored_first)) & ~1 if first >= 0 else 0,
        min(length, max(last, mirrored_last) + 1) if last < length else length,
    )


def jitter_colour(
    rng: np.random.Generator, augmentation: Augmentation, image: np.ndarray
) -> np.ndarray:
    """Changes brightness, contrast and saturation at random.

    Args:
        rng: Generator of all random numbers.
        augmentation: Strength of the changes.
        image: Image, (H, W, C), with values from 0 to 255.

    Returns:
        (H, W, C) float32 in [0, 255].
    """
    image = image.astype(np.float32)
    if augmentation.saturation and image.shape[2] == 3:
        grey = (image @ LUMA)[..., None]
        image = grey + (image - grey) * _factor(rng, augmentation.saturation)
    if augmentation.contrast:
        mean = image.mean(dtype=np.float32)
        image = mean + (image - mean) * _factor(rng, augmentation.contrast)
    if augmentation.brightness:
        shift = rng.uniform(-augmentation.brightness, augmentation.brightness)
        image = image + np.float32(255 * shift)
    return np.clip(image, 0, 255)


def _factor(rng: np.random.Generator, strength: float) -> np.float32:
    """Random factor from 1 / (1 + strength) to 1 + strength."""
    return np.float32(np.exp(rng.uniform(-1, 1) * np.log1p(strength)))
