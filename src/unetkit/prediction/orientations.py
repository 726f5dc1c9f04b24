"""The eight ways in which a square lies on itself, and images predicted in several of them.

Test-time augmentation predicts an image mirrored, upside down or turned, lays each prediction back,
and averages them. A turned image is read by windows like any other, so that tiles of it are exact.
How predictions are averaged is left to `ensemble`.
"""

from dataclasses import dataclass

import numpy as np

from unetkit.errors import ConfigError, did_you_mean
from unetkit.prediction.sources import Source


@dataclass(frozen=True)
class Orientation:
    """An exchange of rows and columns, then a reversal of the order of rows, of columns, or both.

    Args:
        is_transposed: Whether rows become columns.
        is_upside_down: Whether the order of rows is reversed afterwards.
        is_mirrored: Whether the order of columns is reversed afterwards.
    """

    is_transposed: bool = False
    is_upside_down: bool = False
    is_mirrored: bool = False

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Lays an image this way; a view.

        Args:
            array: (H, W, ...).

        Returns:
            (H, W, ...), or (W, H, ...) if rows become columns.

        >>> Orientation(is_transposed=True, is_mirrored=True).apply(np.array([[1, 2], [3, 4]]))
        array([[3, 1],
               [4, 2]])
        """
        array = array.swapaxes(0, 1) if self.is_transposed else array
        return array[self._steps]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Lays an image back, so that `undo(apply(array))` is `array`; a view."""
        array = array[self._steps]
        return array.swapaxes(0, 1) if self.is_transposed else array

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the (height, width) of an image of a size that is laid this way."""
        return (size[1], size[0]) if self.is_transposed else size

    def window_of(self, rows: slice, columns: slice, size: tuple[int, int]) -> tuple[slice, slice]:
        """Returns where a window of an image lies in the image laid this way.

        Args:
            rows: Rows of the window.
            columns: Columns of the window.
            size: (height, width) of the image.
        """
        if self.is_transposed:
            rows, columns = columns, rows
        return self._reversed(rows, columns, self.size(size))

    def window_in_image(
        self, rows: slice, columns: slice, size: tuple[int, int]
    ) -> tuple[slice, slice]:
        """Returns where a window of the image laid this way lies in the image itself.

        Args:
            rows: Rows of the window.
            columns: Columns of the window.
            size: (height, width) of the image itself.
        """
        rows, columns = self._reversed(rows, columns, self.size(size))
        return (columns, rows) if self.is_transposed else (rows, columns)

    @property
    def _steps(self) -> tuple[slice, slice]:
        return (
            slice(None, None, -1 if self.is_upside_down else 1),
            slice(None, None, -1 if self.is_mirrored else 1),
        )

    def _reversed(self, rows: slice, columns: slice, size: tuple[int, int]) -> tuple[slice, slice]:
        if self.is_upside_down:
            rows = slice(size[0] - rows.stop, size[0] - rows.start)
        if self.is_mirrored:
            columns = slice(size[1] - columns.stop, size[1] - columns.start)
        return rows, columns


AS_IT_IS = Orientation()
FLIPS = tuple(Orientation(False, down, left) for down in (False, True) for left in (False, True))
# Orientations of test-time augmentation, by name.
AUGMENTATIONS = {
    "mirror": FLIPS[:2],  # left and right, for what has an up and a down
    "flips": FLIPS,
    "turns": (*FLIPS, *(Orientation(True, o.is_upside_down, o.is_mirrored) for o in FLIPS)),
}


def find_orientations(augmentation: str | None) -> tuple[Orientation, ...]:
    """Returns the orientations of a test-time augmentation, the image as it is first.

    Args:
        augmentation: Key of `AUGMENTATIONS`; None for the image as it is alone.

    Raises:
        ConfigError: `augmentation` is unknown.
    """
    if augmentation is None:
        return (AS_IT_IS,)
    if augmentation not in AUGMENTATIONS:
        raise ConfigError(
            f"tta is {augmentation!r}; accepted are {', '.join(map(repr, AUGMENTATIONS))}"
            f"{did_you_mean(augmentation, AUGMENTATIONS)}"
        )
    return AUGMENTATIONS[augmentation]


def oriented(source: Source, orientation: Orientation) -> Source:
    """Returns an image laid in an orientation; it is read by windows of the original one."""
    if orientation == AS_IT_IS:
        return source
    pixels = _Oriented(source, orientation)
    return Source(pixels, lambda window: window, source.shape[2], source.is_large)


class _Oriented:
    """Windows of an image laid in an orientation."""

    def __init__(self, source: Source, orientation: Orientation) -> None:
        self._source, self._orientation = source, orientation
        self._size = source.shape[0], source.shape[1]
        self.shape: tuple[int, int, int] = (*orientation.size(self._size), source.shape[2])
        self.dtype = source.dtype

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns the pixels of a window, (h, w, C)."""
        window = self._orientation.window_in_image(rows, columns, self._size)
        return np.ascontiguousarray(self._orientation.apply(self._source.read(*window)))
