"""How a picture reaches the network, and how the answer gets back: the policy that a model stores.

`resize`: the whole picture is brought to one stored size, squashed or letterboxed, and the
probabilities are scaled back. For photos, whose subject fills the frame at whatever resolution.
`native`: the picture keeps its own pixel scale, times a stored factor, and training sees crops.
For microscopes and satellites, where a pixel has a size in the world.

Training, validation, evaluation, prediction and export all call these functions. Masks are only
ever resized by nearest neighbour: interpolation invents classes between two others. What does not
fit into memory goes both ways by windows, whose numbers are those of the whole, bit for bit.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from unetkit.data.resampling import ResampledWindows, resample
from unetkit.errors import ConfigError
from unetkit.io.windows import Windows

IGNORE = 255  # in a mask of class indices: a pixel that nobody scores
MAX_SIDE = 1 << 16

POLICIES = ("resize", "native")
FITS = ("squash", "letterbox")


@dataclass(frozen=True)
class Scale:
    """A model's scale policy.

    Args:
        policy: "resize" or "native".
        height: Under "resize" the height of every picture, under "native" of a training crop.
        width: The width likewise.
        fit: Under "resize", "squash" changes the aspect ratio, "letterbox" keeps it and fills up.
        factor: Under "native", network pixels per picture pixel.

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
                    f"scale {name} is {value!r}; accepted are {', '.join(map(repr, accepted))}; "
                    "choose one of them"
                )
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise ConfigError(
                f"scale size is {self.height}x{self.width}; accepted are sides from 1 to "
                f"{MAX_SIDE}; name a height and a width in pixels"
            )
        if not 0.01 <= self.factor <= 100:
            raise ConfigError(
                f"scale factor is {self.factor}; accepted are factors from 0.01 to 100; "
                "use 1.0 for the picture's own pixels"
            )

    @property
    def is_native(self) -> bool:
        return self.policy == "native"

    @property
    def is_pixel_by_pixel(self) -> bool:
        """Whether the network is shown the picture's own pixels."""
        return self.is_native and self.factor == 1

    def describe(self) -> str:
        """One line for people.

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
        """(height, width) at which a picture of `size` is shown to the network."""
        if self.is_native:
            return max(1, round(size[0] * self.factor)), max(1, round(size[1] * self.factor))
        return self.height, self.width

    def inner_box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Where the picture lies within `network_size`: (top, left, height, width).

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


def image_to_network(image: np.ndarray, scale: Scale) -> np.ndarray:
    """A picture as the network sees it, before normalisation.

    Args:
        image: (H, W, C) uint8, uint16 or float32.

    Returns:
        (h, w, C) of the same type, h and w as `scale.network_size` has them. Letterbox bars repeat
        the picture's edge, so that no false contour meets it.
    """
    top, left, height, width = scale.inner_box(image.shape[:2])
    inner = resample(image, (height, width))
    full_height, full_width = scale.network_size(image.shape[:2])
    bars = ((top, full_height - height - top), (left, full_width - width - left), (0, 0))
    return np.pad(inner, bars, mode="edge") if any(map(any, bars)) else inner


def windows_to_network(image: Windows, scale: Scale) -> Windows:
    """A picture as `image_to_network` has it, of which windows are read.

    Args:
        image: (H, W, C) uint8, uint16 or float32.

    Returns:
        (h, w, C) of the same type; to read a window, it reads what that needs of the picture.
    """
    size = image.shape[:2]
    top, left, height, width = scale.inner_box(size)
    return _framed(_resampled(image, (height, width)), -top, -left, scale.network_size(size))


def mask_to_network(mask: np.ndarray, scale: Scale) -> np.ndarray:
    """A mask at the network's scale; letterbox bars are IGNORE.

    Args:
        mask: (H, W) uint8 class indices.

    Returns:
        (h, w) uint8 whose values occur in `mask`, or IGNORE.
    """
    top, left, height, width = scale.inner_box(mask.shape[:2])
    full = np.full(scale.network_size(mask.shape[:2]), IGNORE, mask.dtype)
    full[top : top + height, left : left + width] = resize_mask(mask, height, width)
    return full


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resizing: every label out is a label in.

    >>> resize_mask(np.array([[0, 7]], np.uint8), 2, 4)
    array([[0, 0, 7, 7],
           [0, 0, 7, 7]], dtype=uint8)
    """
    if mask.shape == (height, width):
        return mask
    # OpenCV's plain INTER_NEAREST takes the pixel's corner, half a pixel off its centre.
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def scores_from_network(scores: np.ndarray, scale: Scale, size: tuple[int, int]) -> np.ndarray:
    """Probabilities back at the picture's size, interpolated linearly.

    Args:
        scores: (h, w, K) float32, h and w as `scale.network_size(size)` has them.
        size: (height, width) of the picture.

    Returns:
        (H, W, K) float32.
    """
    top, left, height, width = scale.inner_box(size)
    return resample(scores[top : top + height, left : left + width], size)


def windows_from_network(scores: Windows, scale: Scale, size: tuple[int, int]) -> Windows:
    """Probabilities as `scores_from_network` has them, of which windows are read.

    Args:
        scores: (h, w, K) float32, h and w as `scale.network_size(size)` has them.
        size: (height, width) of the picture.

    Returns:
        (H, W, K) float32; to read a window, it reads what that needs of the scores.
    """
    top, left, height, width = scale.inner_box(size)
    return _resampled(_framed(scores, top, left, (height, width)), size)


class _Frame:
    """A frame of any size laid over a picture, which its edge continues without end.

    Args:
        source: The picture.
        top: Its row in the frame's first row; negative if the frame begins above.
        left: Its column in the frame's first column likewise.
        size: (height, width) of the frame.
    """

    def __init__(self, source: Windows, top: int, left: int, size: tuple[int, int]) -> None:
        self.shape: tuple[int, int, int] = (*size, source.shape[2])
        self.dtype = source.dtype
        self._source = source
        self._offset = top, left

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Rows and columns of the frame, (h, w, C)."""
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
