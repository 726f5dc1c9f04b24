"""Pictures of any size, read a window at a time.

What is larger than memory is never there as one array. Whoever reads such a picture, whatever file
it lies in, needs its sizes, its type and the pixels of any window; that is all of `Windows`.
"""

from typing import Any, Protocol

import numpy as np

from unetkit.errors import DataError, SizeError

KINDS = "biuf"  # of numbers that pixels may be: bits, whole numbers, fractions


class Windows(Protocol):
    """A picture that can be read by windows.

    `read` takes two slices with a start and a stop that lie inside the picture, and no step.

    Attributes:
        shape: Height, width and channels, in pixels.
        dtype: Of what `read` returns, in the machine's own byte order.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """The pixels of a window, (h, w, C)."""
        ...


class ArrayWindows:
    """Windows of anything that is sliced like an array: NumPy's, a memory map, Zarr's.

    Args:
        array: (H, W) or (H, W, C), with `shape`, `dtype` and slicing; read only where asked.

    Raises:
        SizeError: It has other axes, or no pixels.
        DataError: Its elements are no numbers.

    >>> picture = ArrayWindows(np.arange(12).reshape(3, 4))
    >>> picture.shape
    (3, 4, 1)
    >>> picture.read(slice(1, 3), slice(0, 2))[..., 0]
    array([[4, 5],
           [8, 9]])
    """

    def __init__(self, array: Any) -> None:
        sizes = tuple(int(size) for size in array.shape)
        if len(sizes) not in (2, 3) or 0 in sizes:
            raise SizeError(
                f"array has the shape {sizes}; accepted are (height, width) and (height, width, "
                "channels), of one or more each; take one picture of it"
            )
        self._array = array
        self.shape: tuple[int, int, int] = (sizes[0], sizes[1], sizes[2] if sizes[2:] else 1)
        self.dtype = require_numbers(array.dtype, "array")

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """The pixels of a window, (h, w, C)."""
        window = np.asarray(self._array[rows, columns]).astype(self.dtype, copy=False)
        return window if window.ndim == 3 else window[..., None]


def require_numbers(dtype: Any, source: str) -> np.dtype:
    """A type of pixels in the machine's own byte order.

    Raises:
        DataError: It is not one of bits, whole numbers or fractions.
    """
    found = np.dtype(dtype)
    if found.kind not in KINDS:
        raise DataError(
            f"{source} has {found} pixels; accepted are whole numbers and fractions; convert it"
        )
    return found.newbyteorder("=")
