"""Random changes of an image and its mask that leave the labels true.

One warp (flip, affine, elastic) is composed as a map of coordinates and applied once to the image
(linear) and once to the mask (nearest), so that both always agree and no pixel is interpolated
twice. Everything is drawn from the generator that is handed in: who seeds it by (seed, epoch,
index) gets the same sample again, whatever the number of workers.
"""

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np

from unetkit.errors import ConfigError
from unetkit.io.pixel_format import LUMA


@dataclass(frozen=True)
class Augmentation:
    """How far samples are changed; 0 or false switches a change off.

    Args:
        flip_horizontal: Mirror left and right, half of the time.
        flip_vertical: Mirror up and down, half of the time.
        rotation: Largest angle either way, in degrees.
        zoom: Largest factor either way, as a share: 0.25 is from 1/1.25 to 1.25.
        stretch: Largest change of the aspect ratio, as a share.
        shear: Largest angle either way, in degrees.
        shift: Largest move either way, as a share of the size.
        elastic: Standard deviation of the displacements of a 3x3 grid, in pixels.
        brightness: Largest change either way, as a share of the value range.
        contrast: Largest factor either way, as a share.
        saturation: Likewise, for colour images.

    Raises:
        ConfigError: A value is negative or no number.
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
# People photograph pets upright: mirrored, but not upside down.
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
# Under a microscope every direction is as good as any other, and tissue gives way.
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
    """Where each pixel of a warped window lies in the picture.

    Args:
        size: (height, width) of the window.
        centre: (row, column) in the picture that the window's centre shows, before any shift.

    Returns:
        (2, H, W) float32: row and column of the source of each pixel. Without augmentation they
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


def warp(picture: np.ndarray, window: np.ndarray, *, is_mask: bool) -> np.ndarray:
    """Looks a window up in an image (linear) or a mask (nearest); beyond the edge it is mirrored.

    Args:
        picture: (H, W, C) or (H, W) uint8, uint16 or float32. A memory map is read only where the
            window needs it.
        window: (2, h, w) float32 of rows and columns, as `random_window` returns.

    Returns:
        (h, w, C) or (h, w) of the same type.
    """
    first_row, last_row = _needed(window[0], picture.shape[0])
    first_column, last_column = _needed(window[1], picture.shape[1])
    part = np.ascontiguousarray(picture[first_row:last_row, first_column:last_column])
    part = part.reshape(*part.shape[:2], -1)
    # OpenCV looks up no more than 128 channels at once, and up to four alike whatever their number.
    warped = [
        cv2.remap(
            np.ascontiguousarray(part[..., first : first + 4]),
            window[1] - np.float32(first_column),
            window[0] - np.float32(first_row),
            interpolation=cv2.INTER_NEAREST if is_mask else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        ).reshape(*window.shape[1:], -1)
        for first in range(0, part.shape[2], 4)
    ]
    whole = warped[0] if len(warped) == 1 else np.concatenate(warped, axis=2)
    return whole.reshape(*window.shape[1:], *picture.shape[2:])


def _needed(coordinates: np.ndarray, length: int) -> tuple[int, int]:
    """First and one past the last index that coordinates, mirrored at the edges, refer to."""
    first = int(np.floor(coordinates.min())) - 1
    last = int(np.ceil(coordinates.max())) + 1
    mirrored_first, mirrored_last = 2 * (length - 1) - last, -first
    # An even start, so that half-way coordinates are rounded as in the whole picture.
    return (
        max(0, min(first, mirrored_first)) & ~1 if first >= 0 else 0,
        min(length, max(last, mirrored_last) + 1) if last < length else length,
    )


def jitter_colour(
    rng: np.random.Generator, augmentation: Augmentation, image: np.ndarray
) -> np.ndarray:
    """Random brightness, contrast and saturation.

    Args:
        image: (H, W, C), on the common scale from 0 to 255.

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


def _factor(rng: np.random.Generator, share: float) -> np.float32:
    return np.float32(np.exp(rng.uniform(-1, 1) * np.log1p(share)))
