"""Pictures at another size, whole or by windows, with the same numbers bit for bit.

Shrinking takes the mean of what each new pixel covers, enlarging goes linearly between the centres
of pixels and holds the edge, as OpenCV has INTER_AREA and INTER_LINEAR. Each axis does one of the
two, whatever the other does. OpenCV itself places the pixels of a window by the window's own size,
and so rounds them otherwise than those of the whole picture. Here three things keep them equal:

- Where a new row lies, and how much of each row it takes, follows from the sizes of the whole
  picture, in whole numbers.
- A new pixel is a sum over its rows, from the first to the last, by elementwise products and sums
  in one precision. Matrix products would be regrouped by their size.
- Which axis comes first is decided by the sizes of the whole picture.

The same rounding on every machine is a by-product. What is read from where is left to the caller.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from unetkit.errors import SizeError
from unetkit.io.windows import Windows

Size = tuple[int, int]  # height, width

MOST_VALUES = 1 << 23  # that a block holds at once, pixels times channels: 32 MiB of float32
# Of a sum that is computed at once: its parts stay in the processor's cache.
SUM_VALUES = 1 << 18
# Sums of more rows than this would lose the last bit of 16 in float32.
MOST_SINGLE_ROWS = 16


@dataclass(frozen=True)
class Axis:
    """The rows of a picture at another size; columns behave alike.

    Args:
        source_size: Rows of the picture, 1 or more.
        target_size: Rows that it shall have, 1 or more.

    Raises:
        SizeError: One of them is less.
    """

    source_size: int
    target_size: int

    def __post_init__(self) -> None:
        if min(self.source_size, self.target_size) < 1:
            raise SizeError(
                f"resampling from {self.source_size} to {self.target_size} pixels is impossible; "
                "accepted are sizes from 1 up; check the picture and the size that it shall have"
            )

    @property
    def shrinks(self) -> bool:
        """Whether new rows are means, not interpolated; so is equality, which changes nothing."""
        return self.target_size <= self.source_size

    @property
    def precision(self) -> type[np.floating]:
        """In which a sum over rows is computed."""
        many = self.source_size > MOST_SINGLE_ROWS * self.target_size
        return np.float64 if many else np.float32

    def needed(self, span: slice) -> slice:
        """Rows of the picture that a span of new rows is made of.

        Args:
            span: From 0 to `target_size` - 1, one row or more.

        Raises:
            SizeError: It is empty, or lies partly outside.

        >>> Axis(10, 4).needed(slice(1, 3))  # [2.5, 7.5)
        slice(2, 8, None)
        >>> Axis(4, 8).needed(slice(3, 4))  # its centre lies at 3.5 / 2 - 0.5 = 1.25
        slice(1, 3, None)
        """
        self._check(span)
        first, last = self._reach(np.array([span.start, span.stop - 1]))
        return slice(int(first[0]), int(last[1]) + 1)

    def taps(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        """What each new row of a span takes of which rows: T rows at the most, some of weight 0.

            shrinking: the part of row j that lies in [i s, (i + 1) s), over s
            enlarging: 1 - |j - c|, at the two rows next to the centre c = (i + 1/2) s - 1/2

        where i is the new row and s = source_size / target_size.

        Args:
            span: As for `needed`.

        Returns:
            Indices of rows of the picture, (n, T) int64, and weights, (n, T) float64, each row's
            sum 1.

        >>> Axis(5, 2).taps(slice(0, 1))  # 1/2.5, 1/2.5, 0.5/2.5
        (array([[0, 1, 2]]), array([[0.4, 0.4, 0.2]]))
        >>> Axis(2, 4).taps(slice(1, 2))  # its centre lies at 1.5 / 2 - 0.5 = 0.25
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
        """Centres of new rows in the picture, in units of 1 / (2 target_size) of a row."""
        return (2 * rows + 1) * self.source_size - self.target_size

    def _reach(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last row of the picture that each of some new rows is made of."""
        source, target = self.source_size, self.target_size
        if self.shrinks:
            return rows * source // target, -(-(rows + 1) * source // target) - 1
        first, last = self._centres(rows) // (2 * target), -(-self._centres(rows) // (2 * target))
        return np.maximum(first, 0), np.minimum(last, source - 1)

    def _check(self, span: slice) -> None:
        if not 0 <= span.start < span.stop <= self.target_size:
            raise SizeError(
                f"span {span.start}:{span.stop} does not lie in {self.target_size} rows or "
                "columns; accepted are spans of one or more inside; ask for others"
            )


def resample(image: np.ndarray, size: Size) -> np.ndarray:
    """A picture at another size.

    Args:
        image: (H, W, C) uint8, uint16 or float32.
        size: (height, width) that it shall have.

    Returns:
        (height, width, C) of the same type, whole numbers rounded to the nearest; the picture
        itself where it has this size.

    Raises:
        SizeError: There is no pixel, in it or in `size`.

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
    """A window of a picture at another size, from the part of the picture that it needs.

    Args:
        window: (H, W, C) uint8, uint16 or float32: the rows and columns that `Axis.needed` names.
        axes: Of the rows and of the columns of the whole picture.
        rows: New rows.
        columns: New columns.

    Returns:
        (h, w, C) of the same type: of `resample`, over the whole picture, these rows and columns.
    """
    dtype = window.dtype
    vertical, horizontal = axes
    if vertical.shrinks:  # first, as whole rows are handled faster, and fewer are left
        window = _resample_rows(window, vertical, rows)
        window = _resample_columns(window, horizontal, columns)
    else:
        window = _resample_columns(window, horizontal, columns)
        window = _resample_rows(window, vertical, rows)
    if dtype.kind in "iu" and window.dtype != dtype:
        np.rint(window, out=window)
    return window.astype(dtype, copy=False)


class ResampledWindows:
    """A picture at another size, of which windows are read: `Windows` over `Windows`.

    However large the window that is asked for, and however strongly the picture shrinks, its part
    that this needs is read block by block. Only what a single new pixel covers is never divided.

    Args:
        source: The picture, uint8, uint16 or float32.
        size: (height, width) that it shall have.
        most_values: Pixels times channels of a block, read or computed.

    Raises:
        SizeError: There is no pixel, in it or in `size`.
    """

    def __init__(self, source: Windows, size: Size, most_values: int = MOST_VALUES) -> None:
        height, width, channels = source.shape
        self.shape: tuple[int, int, int] = (*size, channels)
        self.dtype = source.dtype
        self._source = source
        self._axes = Axis(height, size[0]), Axis(width, size[1])
        self._most_pixels = most_values // channels

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Rows and columns of the new picture, (h, w, C), as `resample` has them.

        Raises:
            SizeError: They lie partly outside.
        """
        height, width = rows.stop - rows.start, columns.stop - columns.start
        found = np.empty((max(0, height), max(0, width), self.shape[2]), self.dtype)
        for down, across in self._blocks(rows, columns):
            needed = (
                axis.needed(span) for axis, span in zip(self._axes, (down, across), strict=True)
            )
            part = resample_window(self._source.read(*needed), self._axes, down, across)
            found[_shifted(down, -rows.start), _shifted(across, -columns.start)] = part
        return found

    def _blocks(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        """Halves a window, across its longer side, until what each part needs is small enough."""
        spans = rows, columns
        sizes = [span.stop - span.start for span in spans]
        extents = []  # before or after: what is computed between the two axes fits, too
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
    """New rows, (h, ...) float32, from those that they need, (H, ...); all as is at equal size."""
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
    """New columns likewise, (H, w, C), from those that they need, (H, W, C)."""
    if axis.source_size == axis.target_size:
        return window
    height, width, channels = window.shape
    turned = cv2.transpose(window.reshape(height, -1)).reshape(width, channels, height)
    found = _resample_rows(turned, axis, span)
    return cv2.transpose(found.reshape(-1, height)).reshape(height, -1, channels)
