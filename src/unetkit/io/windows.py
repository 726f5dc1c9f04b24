"""Images of any size, read by windows.

An image larger than memory is never one array. To read it from any kind of file takes its shape,
its type and the pixels of a window; these are the protocol `Windows`.
"""

from typing import Any, Protocol

import numpy as np

from unetkit.errors import DataError, SizeError

KINDS = "biuf"  # kinds of dtypes that pixels may have: bits, integers, floats


class Windows(Protocol):
    """An image that can be read by windows.

    `read` takes two slices with a start and a stop inside the image, and no step.

    Attributes:
        shape: (height, width, channels).
        dtype: Type of what `read` returns, in the machine's byte order.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns the pixels of a window, (h, w, C)."""
        ...


class ArrayWindows:
    """Windows of anything that is sliced like an array: of NumPy, a memory map, of Zarr.

    Args:
        array: (H, W) or (H, W, C), with `shape`, `dtype` and slicing; only windows are read.

    Raises:
        SizeError: `array` has other axes, or no pixels.
        DataError: Its elements are not numbers.

    >>> image = ArrayWindows(np.arange(12).reshape(3, 4))
    >>> image.shape
    (3, 4, 1)
    >>> image.read(slice(1, 3), slice(0, 2))[..., 0]
    array([[4, 5],
           [8, 9]])
    """

    def __init__(self, array: Any) -> None:
        sizes = tuple(int(size) for size in array.shape)
        if len(sizes) not in (2, 3) or 0 in sizes:
            raise SizeError(
                f"array has the shape {sizes}; accepted are (height, width) and (height, width, "
                "channels), each at least 1; take one image of it"
            )
        self._array = array
        self.shape: tuple[int, int, int] = (sizes[0], sizes[1], sizes[2] if sizes[2:] else 1)
        self.dtype = require_numbers(array.dtype, "array")

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns the pixels of a window, (h, w, C)."""
        window = np.asarray(self._array[rows, columns]).astype(self.dtype, copy=False)
        return window if window.ndim == 3 else window[..., None]


def require_numbers(dtype: Any, source: str) -> np.dtype:
    """Returns a type of pixels in the machine's byte order.

    Raises:
        DataError: `dtype` is not one of bits, integers or floats.
    """
    found = np.dtype(dtype)
    if found.kind not in KINDS:
        raise DataError(
            f"{source} has {found} pixels; accepted are integers and floats; convert it"
        )
    return found.newbyteorder("=")
