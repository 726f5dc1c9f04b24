"""Scale at which a network is given images, and how its output is scaled back.

`resize`: the whole image is resized to one stored size, squashed or letterboxed, and the
probabilities are resized back. For photos, whose subject fills the image at any resolution.
`native`: the image keeps its pixel scale, times a stored factor, and training uses crops. For
microscopes and satellites, where a pixel has a physical size.

Training, validation, evaluation, prediction and export all call these functions. Masks are resized
by nearest neighbour only, because interpolation gives classes between two others. Images that do
not fit in memory are resized in both directions by windows, with the same values bit for bit.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from unetkit.data.resampling import ResampledWindows, resample
from unetkit.errors import ConfigError
from unetkit.io.windows import Windows

IGNORE = 255  # value of ignored pixels in masks of class indices
MAX_NETWORK_SIDE = 1 << 16
MAX_FACTOR = 8  # an image has then 64 times as many pixels at the network's scale

POLICIES = ("resize", "native")
FITS = ("squash", "letterbox")


@dataclass(frozen=True)
class Scale:
    """Scale policy of a model.

    Args:
        policy: "resize" or "native".
        height: Height of every resized image ("resize") or of a training crop ("native").
        width: Width of every resized image ("resize") or of a training crop ("native").
        fit: How images are resized: "squash" changes the aspect ratio, "letterbox" keeps it and
            pads the image. Used by "resize" only.
        factor: Network pixels per image pixel. Used by "native" only.

    Raises:
        ConfigError: A value is not accepted.
    """

    policy: str
    height: int
    width: int
    fit: str = "squash"
    factor: float = 1.0

    def __post_init__(self) -> None:
        for name, value, accepted in (
            ("policy", self.policy, POLICIES),
            ("fit", self.fit, FITS),
        ):
            if value not in accepted:
                raise ConfigError(
                    f"scale {name} is {value!r}; accepted are {', '.join(map(repr, accepted))}"
                )
        if not (1 <= self.height <= MAX_NETWORK_SIDE and 1 <= self.width <= MAX_NETWORK_SIDE):
            raise ConfigError(
                f"scale size is {self.height}x{self.width}; accepted are sides from 1 to "
                f"{MAX_NETWORK_SIDE} pixels"
            )
        if not 0.01 <= self.factor <= MAX_FACTOR:
            raise ConfigError(
                f"scale factor is {self.factor}; accepted are factors from 0.01 to {MAX_FACTOR}; "
                "use 1.0 for the image's own pixels"
            )

    @property
    def is_native(self) -> bool:
        return self.policy == "native"

    @property
    def is_pixel_by_pixel(self) -> bool:
        """Whether the network is given the image at its own pixel scale."""
        return self.is_native and self.factor == 1

    def describe(self) -> str:
        """Returns a description in one line, as evaluations save it.

        >>> Scale("resize", 128, 128).describe()
        'resize: whole picture to 128x128 (squash)'
        """
        if self.is_native:
            factor = "" if self.factor == 1 else f" times {self.factor:g}"
            return (
                f"native: the picture's own pixels{factor}, trained on {self.height}x{self.width}"
            )
        return f"resize: whole picture to {self.height}x{self.width} ({self.fit})"

    def network_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the (height, width) that an image of a size has at the network's scale."""
        if self.is_native:
            return max(1, round(size[0] * self.factor)), max(1, round(size[1] * self.factor))
        return self.height, self.width

    def inner_box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Returns the box of the image within `network_size` as (top, left, height, width).

        >>> Scale("resize", 128, 128, fit="letterbox").inner_box((300, 400))
        (16, 0, 96, 128)
        """
        full_height, full_width = self.network_size(size)
        if self.is_native or self.fit == "squash":
            return 0, 0, full_height, full_width
        shrink = min(full_height / size[0], full_width / size[1])
        height = min(full_height, max(1, round(size[0] * shrink)))
        width = min(full_width, max(1, round(size[1] * shrink)))
        return (full_height - height) // 2, (full_width - width) // 2, height, width

    def pixel_area(self, size: tuple[int, int]) -> float:
        """Returns the number of pixels of an image of a size for each at the network's scale.

        >>> Scale("resize", 128, 128).pixel_area((256, 512))
        8.0
        """
        _, _, height, width = self.inner_box(size)
        return size[0] * size[1] / (height * width)


def image_to_network(image: np.ndarray, scale: Scale) -> np.ndarray:
    """Resizes an image to the network's scale, before normalisation.

    Args:
        image: Image, (H, W, C), uint8, uint16 or float32.
        scale: Scale policy of the model.

    Returns:
        (h, w, C) of the same type, of the size `scale.network_size`. Letterbox bars repeat the edge
        of the image, so that there is no contour between them.
    """
    top, left, height, width = scale.inner_box(image.shape[:2])
    inner = resample(image, (height, width))
    full_height, full_width = scale.network_size(image.shape[:2])
    bars = ((top, full_height - height - top), (left, full_width - width - left), (0, 0))
    return np.pad(inner, bars, mode="edge") if any(map(any, bars)) else inner


def windows_to_network(image: Windows, scale: Scale) -> Windows:
    """Returns windows on an image at the network's scale, equal to those of `image_to_network`.

    Args:
        image: Windows on the image, (H, W, C), uint8, uint16 or float32.
        scale: Scale policy of the model.

    Returns:
        (h, w, C) of the same type; each window reads only the necessary pixels of the image.
    """
    size = image.shape[:2]
    top, left, height, width = scale.inner_box(size)
    return _framed(_resampled(image, (height, width)), -top, -left, scale.network_size(size))


def mask_to_network(mask: np.ndarray, scale: Scale, fill: int = IGNORE) -> np.ndarray:
    """Resizes a mask to the network's scale by nearest neighbour.

    Args:
        mask: Class indices, (H, W) uint8; or other labels.
        scale: Scale policy of the model.
        fill: Value of letterbox bars.

    Returns:
        (h, w) of the same type, with values of `mask` or `fill`.
    """
    top, left, height, width = scale.inner_box(mask.shape[:2])
    full = np.full(scale.network_size(mask.shape[:2]), fill, mask.dtype)
    full[top : top + height, left : left + width] = resize_mask(mask, height, width)
    return full


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a mask by nearest neighbour, so that no new values appear.

    >>> resize_mask(np.array([[0, 7]], np.uint8), 2, 4)
    array([[0, 0, 7, 7],
           [0, 0, 7, 7]], dtype=uint8)
    """
    if mask.shape == (height, width):
        return mask
    # INTER_NEAREST samples at the corner of a pixel, half a pixel from its centre.
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def scores_from_network(scores: np.ndarray, scale: Scale, size: tuple[int, int]) -> np.ndarray:
    """Resizes probabilities to the size of the image, by linear interpolation.

    Args:
        scores: Probabilities, (h, w, K) float32, of the size `scale.network_size(size)`.
        scale: Scale policy of the model.
        size: (height, width) of the image.

    Returns:
        (H, W, K) float32.
    """
    top, left, height, width = scale.inner_box(size)
    return resample(scores[top : top + height, left : left + width], size)


def windows_from_network(scores: Windows, scale: Scale, size: tuple[int, int]) -> Windows:
    """Returns windows on resized probabilities, equal to those of `scores_from_network`.

    Args:
        scores: Windows on the probabilities, (h, w, K) float32, of `scale.network_size(size)`.
        scale: Scale policy of the model.
        size: (height, width) of the image.

    Returns:
        (H, W, K) float32; each window reads only the necessary probabilities.
    """
    top, left, height, width = scale.inner_box(size)
    return _resampled(_framed(scores, top, left, (height, width)), size)


class _Frame:
    """Windows on an image that is cropped, or padded with its edge pixels, to a frame.

    Args:
        source: Windows on the image.
        top: Row of the image at the top of the frame; negative if the frame begins above it.
        left: Column of the image at the left of the frame; negative if the frame begins before it.
        size: (height, width) of the frame.
    """

    def __init__(self, source: Windows, top: int, left: int, size: tuple[int, int]) -> None:
        self.shape: tuple[int, int, int] = (*size, source.shape[2])
        self.dtype = source.dtype
        self._source = source
        self._offset = top, left

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns rows and columns of the frame, (h, w, C)."""
        down, across = (
            np.clip(np.arange(span.start, span.stop) + offset, 0, size - 1)
            for span, offset, size in zip(
                (rows, columns), self._offset, self._source.shape[:2], strict=True
            )
        )
        spans = (slice(int(places[0]), int(places[-1]) + 1) for places in (down, across))
        return self._source.read(*spans)[np.ix_(down - down[0], across - across[0])]


def _framed(source: Windows, top: int, left: int, size: tuple[int, int]) -> Windows:
    unchanged = (top, left) == (0, 0) and size == source.shape[:2]
    return source if unchanged else _Frame(source, top, left, size)


def _resampled(source: Windows, size: tuple[int, int]) -> Windows:
    return source if size == source.shape[:2] else ResampledWindows(source, size)
