"""Resize images, as a whole or by windows, with the same values bit for bit.

Reduced axes take the mean of the area that each new pixel covers; enlarged axes interpolate
linearly between pixel centres and repeat the edge, like INTER_AREA and INTER_LINEAR of OpenCV. The
two axes are independent. OpenCV computes positions from the size of a window, so that its rounding
differs from that of the whole image. Here they are equal for three reasons:

- Positions and weights follow from the sizes of the whole image, in whole numbers.
- A new pixel is a sum over its rows, from the first to the last, by elementwise products and sums
  in one precision. Matrix products would be regrouped depending on their size.
- The order of the axes follows from the sizes of the whole image.

Rounding is therefore also the same on every machine. Reading pixels is left to `Windows`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from unetkit.errors import SizeError
from unetkit.io.windows import Windows

Size = tuple[int, int]  # height, width

BLOCK_VALUES = 1 << 23  # largest number of values of a block: 32 MiB of float32
SUM_VALUES = 1 << 15  # number of values computed at once, which fit in the processor's cache
MOST_SINGLE_ROWS = 16  # float32 sums of more rows would lose the last of 16 bits


@dataclass(frozen=True)
class Axis:
    """Resampling of the rows of an image; columns are treated in the same way.

    Args:
        source_size: Number of rows of the image, 1 or more.
        target_size: Number of rows of the resized image, 1 or more.

    Raises:
        SizeError: One of them is less than 1.
    """

    source_size: int
    target_size: int

    def __post_init__(self) -> None:
        if min(self.source_size, self.target_size) < 1:
            raise SizeError(
                f"resampling from {self.source_size} to {self.target_size} pixels is impossible; "
                "accepted are sizes from 1 up"
            )

    @property
    def shrinks(self) -> bool:
        """Whether new rows are means, not interpolated; also true for equal sizes."""
        return self.target_size <= self.source_size

    @property
    def precision(self) -> type[np.floating]:
        """Float type in which sums over rows are computed."""
        many = self.source_size > MOST_SINGLE_ROWS * self.target_size
        return np.float64 if many else np.float32

    def needed(self, span: slice) -> slice:
        """Returns the rows of the image that a span of new rows depends on.

        Args:
            span: New rows, one or more, from 0 to `target_size` - 1.

        Raises:
            SizeError: `span` is empty or out of range.

        >>> Axis(10, 4).needed(slice(1, 3))  # [2.5, 7.5)
        slice(2, 8, None)
        >>> Axis(4, 8).needed(slice(3, 4))  # with its centre at 3.5 / 2 - 0.5 = 1.25
        slice(1, 3, None)
        """
        self._check(span)
        first, last = self._reach(np.array([span.start, span.stop - 1]))
        return slice(int(first[0]), int(last[1]) + 1)

    def taps(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of the image, and their weights, for each new row of a span.

            reduced: fraction of [i s, (i + 1) s) that row j covers
            enlarged: 1 - |j - c|, for the two rows next to the centre c = (i + 1/2) s - 1/2

        where i is the new row and s = source_size / target_size.

        Args:
            span: New rows, one or more, from 0 to `target_size` - 1.

        Returns:
            Indices of T rows of the image for each new row, (n, T) int64, and their weights,
            (n, T) float64, with sum 1 and some of them 0.

        Raises:
            SizeError: `span` is empty or out of range.

        >>> Axis(5, 2).taps(slice(0, 1))  # 1/2.5, 1/2.5, 0.5/2.5
        (array([[0, 1, 2]]), array([[0.4, 0.4, 0.2]]))
        >>> Axis(2, 4).taps(slice(1, 2))  # with its centre at 1.5 / 2 - 0.5 = 0.25
        (array([[0, 1]]), array([[0.75, 0.25]]))
        """
        self._check(span)
        source, target = self.source_size, self.target_size
        rows = np.arange(span.start, span.stop)
        first, last = self._reach(rows)
        if self.shrinks:  # in units of 1 / target of a row
            reached = first[:, None] + np.arange((last - first).max() + 1)
            indices = np.minimum(reached, last[:, None])
            begin, end = (rows * source)[:, None], ((rows + 1) * source)[:, None]
            covered = np.minimum((indices + 1) * target, end) - np.maximum(indices * target, begin)
            return indices, np.where(reached <= last[:, None], covered, 0) / source
        beyond = (self._centres(rows) - 2 * target * first) / (2 * target)
        beyond[first == last] = 0
        return np.stack([first, last], 1), np.stack([1 - beyond, beyond], 1)

    def _centres(self, rows: np.ndarray) -> np.ndarray:
        """Centres of new rows in the image, in units of 1 / (2 target_size) of a row."""
        return (2 * rows + 1) * self.source_size - self.target_size

    def _reach(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last row of the image that each new row depends on."""
        source, target = self.source_size, self.target_size
        if self.shrinks:
            return rows * source // target, -(-(rows + 1) * source // target) - 1
        first, last = self._centres(rows) // (2 * target), -(-self._centres(rows) // (2 * target))
        return np.maximum(first, 0), np.minimum(last, source - 1)

    def _check(self, span: slice) -> None:
        if not 0 <= span.start < span.stop <= self.target_size:
            raise SizeError(
                f"span {span.start}:{span.stop} is not within {self.target_size} rows or columns; "
                "accepted are spans of one or more inside"
            )


def resample(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes an image.

    Args:
        image: Image, (H, W, C), uint8, uint16 or float32.
        size: (height, width) of the result.

    Returns:
        (height, width, C) of the same type, whole numbers rounded to the nearest; the image itself
        if it has this size.

    Raises:
        SizeError: `image` or `size` has no pixels.

    >>> resample(np.array([[[0], [100], [200], [100]]], np.uint8), (2, 2))[..., 0]
    array([[ 50, 150],
           [ 50, 150]], dtype=uint8)
    """
    height, width = image.shape[:2]
    axes = Axis(height, size[0]), Axis(width, size[1])
    return resample_window(image, axes, slice(0, size[0]), slice(0, size[1]))


def resample_window(
    window: np.ndarray, axes: tuple[Axis, Axis], rows: slice, columns: slice
) -> np.ndarray:
    """Computes a window of a resized image from the necessary pixels of the image.

    Args:
        window: Rows and columns that `Axis.needed` returns, (H, W, C), uint8, uint16 or float32.
        axes: Resampling of the rows and of the columns of the whole image.
        rows: Rows of the window in the resized image.
        columns: Columns of the window in the resized image.

    Returns:
        (h, w, C) of the same type, equal to these rows and columns of the resized whole image.
    """
    dtype = window.dtype
    vertical, horizontal = axes
    if vertical.shrinks:  # rows first, which is faster and leaves fewer of them
        window = _resample_rows(window, vertical, rows)
        window = _resample_columns(window, horizontal, columns)
    else:
        window = _resample_columns(window, horizontal, columns)
        window = _resample_rows(window, vertical, rows)
    if dtype.kind in "iu" and window.dtype != dtype:
        np.rint(window, out=window)
    return window.astype(dtype, copy=False)


class ResampledWindows:
    """Windows on a resized image, computed from windows on the image.

    The pixels for a window are read in blocks, however large the window is and however strongly the
    image is reduced. Only the area of a single new pixel is never divided.

    Args:
        source: Windows on the image, uint8, uint16 or float32.
        size: (height, width) of the resized image.
        most_values: Largest number of values (pixels times channels) of a block.

    Raises:
        SizeError: `source` or `size` has no pixels.
    """

    def __init__(self, source: Windows, size: Size, most_values: int = BLOCK_VALUES) -> None:
        height, width, channels = source.shape
        self.shape: tuple[int, int, int] = (*size, channels)
        self.dtype = source.dtype
        self._source = source
        self._axes = Axis(height, size[0]), Axis(width, size[1])
        self._most_pixels = most_values // channels

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns rows and columns of the resized image, (h, w, C), equal to those of `resample`.

        Args:
            rows: Rows of the window.
            columns: Columns of the window.

        Raises:
            SizeError: The window is partly outside the image.
        """
        height, width = rows.stop - rows.start, columns.stop - columns.start
        found = np.empty((max(0, height), max(0, width), self.shape[2]), self.dtype)
        for down, across in self._blocks(rows, columns):
            needed = (
                axis.needed(span) for axis, span in zip(self._axes, (down, across), strict=True)
            )
            block = resample_window(self._source.read(*needed), self._axes, down, across)
            found[_shifted(down, -rows.start), _shifted(across, -columns.start)] = block
        return found

    def _blocks(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        """Halves a window along its longer side until the pixels for each block are few enough."""
        spans = rows, columns
        sizes = [span.stop - span.start for span in spans]
        extents = []  # of input or output, so that the array between the two axes fits, too
        for axis, span, size in zip(self._axes, spans, sizes, strict=True):
            needed = axis.needed(span)
            extents.append(max(size, needed.stop - needed.start))
        if extents[0] * extents[1] <= self._most_pixels or sizes == [1, 1]:
            yield rows, columns
        elif sizes[1] == 1 or (sizes[0] > 1 and extents[0] >= extents[1]):
            middle = rows.start + sizes[0] // 2
            yield from self._blocks(slice(rows.start, middle), columns)
            yield from self._blocks(slice(middle, rows.stop), columns)
        else:
            middle = columns.start + sizes[1] // 2
            yield from self._blocks(rows, slice(columns.start, middle))
            yield from self._blocks(rows, slice(middle, columns.stop))


def _shifted(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _resample_rows(window: np.ndarray, axis: Axis, span: slice) -> np.ndarray:
    """New rows, (h, ...) float32, from the necessary rows, (H, ...), which stay at equal size."""
    if axis.source_size == axis.target_size:
        return window
    indices, weights = axis.taps(span)
    indices -= axis.needed(span).start
    weights = weights.astype(axis.precision)
    flat = window.reshape(len(window), -1)
    found = np.empty((len(indices), flat.shape[1]), axis.precision)
    step = max(1, SUM_VALUES // flat.shape[1])
    products = np.empty((min(step, len(indices)), flat.shape[1]), axis.precision)
    for start in range(0, len(indices), step):
        block = slice(start, start + step)
        total = found[block]
        for tap, (picked, taken) in enumerate(zip(indices[block].T, weights[block].T, strict=True)):
            product = products[: len(total)] if tap else total
            np.multiply(flat[picked], taken[:, None], out=product)
            if tap:
                total += product
    return found.astype(np.float32, copy=False).reshape(-1, *window.shape[1:])


def _resample_columns(window: np.ndarray, axis: Axis, span: slice) -> np.ndarray:
    """New columns, (H, w, C), from the necessary columns, (H, W, C), which stay at equal size."""
    if axis.source_size == axis.target_size:
        return window
    height, width, channels = window.shape
    transposed = cv2.transpose(window.reshape(height, -1)).reshape(width, channels, height)
    found = _resample_rows(transposed, axis, span)
    return cv2.transpose(found.reshape(-1, height)).reshape(height, -1, channels)
