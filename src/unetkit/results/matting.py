"""Cut-outs: opacity that follows the edges of the photo, and colours without the background's.

Probabilities know where an edge lies to about one pixel of the network, which may be ten pixels of
the photo. Where they are unsure, opacity is explained by colour: in each neighbourhood by the
linear function of red, green and blue that fits it best, and each pixel has the mean of the
functions of all neighbourhoods that it lies in (a guided filter). Functions are found on a grid of
about one point for each pixel of the network, and applied to all pixels.

A pixel on the edge shows background, too. The colour that it would have without is estimated from
the surely opaque and transparent pixels around it.

All sums are of whole numbers, so that an image read by windows has the same bytes as a whole one.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import cv2
import numpy as np

from unetkit.data.resampling import ResampledWindows
from unetkit.data.scale import Scale
from unetkit.io.windows import ArrayWindows, Windows

# In pixels of the network; chosen on edges that are known (docs/log.md).
RADIUS = 6.0  # of the neighbourhoods in which opacity is explained by colour
SURE = 4.0  # distance to unsure pixels from which opaque and transparent ones stay as they are
FINENESS = 1.0  # points of the grid, at least
SMALLEST_VARIANCE = 20.0  # of colours, in levels of 8 bits squared; less is noise
# Of an opacity that was explained: up to the first it is 0, from the second on 1.
LOWEST, HIGHEST = 0.3, 0.7
FIXED_POINT = 1 << 16  # in which functions are averaged
MOST_REACH = 32  # pixels of the photo from which a colour is taken
BLOCK = 256  # pixels a side that are computed at once, or left out if all of them are sure


class CutOut:
    """A photo with a transparent background, read by windows.

    Args:
        photo: Photo, (H, W, 3) uint8.
        opacity: Opacity by probabilities alone, (H, W, 1) uint8.
        pixel_side: Side of a pixel of the network in pixels of the photo.
        is_small: Whether the grid fits into memory as a whole.
        missing: Returns where a window has no data, (h, w) bool, which is transparent, or None.
    """

    def __init__(
        self,
        photo: Windows,
        opacity: Windows,
        pixel_side: float,
        is_small: bool = True,
        missing: Callable[[slice, slice], np.ndarray | None] = lambda rows, columns: None,
    ) -> None:
        self.shape: tuple[int, int, int] = (*photo.shape[:2], 4)
        self.dtype = np.dtype(np.uint8)
        self._photo, self._opacity, self._is_small = photo, opacity, is_small
        self._missing = missing
        step = max(1, round(pixel_side / FINENESS))  # pixels of the photo a point of the grid
        self._grid = tuple(-(-side // step) for side in self.shape[:2])
        points = pixel_side / step  # points of the grid a pixel of the network
        self._radius = max(2, round(RADIUS * points))
        self._sure = max(1, round(SURE * points))
        self._reach = min(MOST_REACH, max(2, round(pixel_side)))
        self._is_reduced = step > 1

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns the pixels of a window, (h, w, 4) uint8: red, green, blue and opacity."""
        found = np.empty((rows.stop - rows.start, columns.stop - columns.start, 4), np.uint8)
        for down, across in _blocks(rows, columns):
            into = _moved(down, -rows.start), _moved(across, -columns.start)
            found[into] = self._block(down, across)
        return found

    def _block(self, rows: slice, columns: slice) -> np.ndarray:
        around = [
            _extended(span, self._reach, side)
            for span, side in zip((rows, columns), self.shape, strict=False)
        ]
        photo = self._photo.read(*around)
        alpha = self._alpha(photo, *around)
        inside = tuple(
            _moved(span, -wide.start) for span, wide in zip((rows, columns), around, strict=True)
        )
        levels = alpha[inside]
        if levels.min() == 255:
            colours = photo[inside]
        elif levels.max() == 0 and not alpha.any():
            return np.zeros((*levels.shape, 4), np.uint8)
        else:
            colours = foreground_colours(photo, alpha, self._reach)[inside]
        return np.dstack([colours, levels])

    def _alpha(self, photo: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Opacity of a window, (h, w) uint8, with the photo there."""
        if self._is_reduced:
            sides = zip((rows, columns), self.shape, self._grid, strict=False)
            spans = [_on_grid(*parts) for parts in sides]
            functions = self._functions.read(*spans)
        else:
            functions = self._functions.read(rows, columns)
        constant = functions[0, 0, 3]
        if not functions[..., :3].any() and (functions[..., 3] == constant).all():
            explained = np.broadcast_to(constant, photo.shape[:2])
        else:
            if self._is_reduced:
                functions = ResampledWindows(self._functions, self.shape[:2]).read(rows, columns)
            explained = functions[..., 3].copy()
            for channel in range(3):
                explained += functions[..., channel] * photo[..., channel]
        low, high = np.float32(255 * LOWEST), np.float32(255 * HIGHEST)
        stretched = (explained - low) * (np.float32(255) / (high - low))
        alpha = np.rint(np.clip(stretched, 0, 255)).astype(np.uint8)
        missing = self._missing(rows, columns)
        if missing is not None:
            alpha[missing] = 0
        return alpha

    @cached_property
    def _functions(self) -> Windows:
        """Linear functions on the grid, (h, w, 4) float32: factors of colours, and a constant."""
        photo, opacity = self._photo, self._opacity
        grid = self._grid[0], self._grid[1]
        if self._is_reduced:
            photo, opacity = ResampledWindows(photo, grid), ResampledWindows(opacity, grid)
        found = _Functions(photo, opacity, self._radius, self._sure)
        if not self._is_small:
            return found
        whole = np.empty(found.shape, np.float32)
        for rows, columns in _blocks(slice(0, grid[0]), slice(0, grid[1])):  # to bound memory
            whole[rows, columns] = found.read(rows, columns)
        return ArrayWindows(whole)


class _Functions:
    """The linear function at each point that explains opacity by colour, read by windows."""

    def __init__(self, photo: Windows, opacity: Windows, radius: int, sure: int) -> None:
        self.shape: tuple[int, int, int] = (*photo.shape[:2], 4)
        self.dtype = np.dtype(np.float32)
        self._photo, self._opacity = photo, opacity
        self._radius, self._sure = radius, sure

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns (h, w, 4) float32, to be applied to colours from 0 to 255."""
        wide = max(2 * self._radius, self._sure)
        around = [
            _extended(span, wide, side)
            for span, side in zip((rows, columns), self.shape, strict=False)
        ]
        opacity = self._opacity.read(*around)[..., 0]
        square = np.ones((2 * self._sure + 1, 2 * self._sure + 1), np.uint8)
        is_sure = cv2.erode(opacity, square) == cv2.dilate(opacity, square)
        is_sure &= (opacity == 0) | (opacity == 255)
        inside = tuple(
            _moved(span, -one.start) for span, one in zip((rows, columns), around, strict=True)
        )
        found = np.zeros((*opacity[inside].shape, 4), np.float32)
        if is_sure[inside].all():
            found[..., 3] = opacity[inside]
            return found
        functions = guided_filter(self._photo.read(*around), opacity, self._radius)
        found[:] = functions[inside]
        found[is_sure[inside]] = 0
        found[..., 3] = np.where(is_sure[inside], opacity[inside], found[..., 3])
        return found


def guided_filter(photo: np.ndarray, opacity: np.ndarray, radius: int) -> np.ndarray:
    """Explains opacity by colour: the mean of the best linear functions of all neighbourhoods.

        opacity(i) = a(i) . colour(i) + b(i),  a_n = (cov_n(colour) + e)^-1 cov_n(colour, opacity)

    a(i) and b(i) are means over the square neighbourhoods n that contain i.

    Args:
        photo: (H, W, 3) uint8.
        opacity: (H, W) uint8.
        radius: Pixels to each side of a neighbourhood's centre; neighbourhoods end at the edges.

    Returns:
        (H, W, 4) float32: the three factors a and the constant b.

    Source: He, Sun and Tang, Guided image filtering, ECCV 2010, equations 11 to 13; on a grid as in
    He and Sun, Fast guided filter, arXiv 1505.00996.
    """
    planes = [np.ascontiguousarray(photo[..., k]) for k in range(3)]
    count = _box_sum(np.ones(opacity.shape, np.uint8), radius).astype(np.float64)
    sums = [_box_sum(plane, radius).astype(np.float64) for plane in planes]
    total = _box_sum(opacity, radius).astype(np.float64)

    def covariance(
        one: np.ndarray, other: np.ndarray, of_one: np.ndarray, of_other: np.ndarray
    ) -> np.ndarray:
        products = cv2.multiply(one, other, dtype=cv2.CV_16U)
        return (count * _box_sum(products, radius) - of_one * of_other) / (count * count)

    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    rr, rg, rb, gg, gb, bb = (covariance(planes[i], planes[j], sums[i], sums[j]) for i, j in pairs)
    rr, gg, bb = (variance + SMALLEST_VARIANCE for variance in (rr, gg, bb))
    r, g, b = (covariance(planes[i], opacity, sums[i], total) for i in range(3))
    # The inverse of a symmetric matrix of three rows, by its cofactors.
    c_rr, c_rg, c_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    determinant = rr * c_rr + rg * c_rg + rb * c_rb
    factors = [
        (c_rr * r + c_rg * g + c_rb * b) / determinant,
        (c_rg * r + c_gg * g + c_gb * b) / determinant,
        (c_rb * r + c_gb * g + c_bb * b) / determinant,
    ]
    constant = total - sum(factor * mean for factor, mean in zip(factors, sums, strict=True))
    found = np.empty((*opacity.shape, 4), np.float32)
    for k, values in enumerate((*factors, constant / count)):
        whole = np.rint(values * FIXED_POINT)
        found[..., k] = _box_sum(whole, radius) / (count * FIXED_POINT)
    return found


def foreground_colours(photo: np.ndarray, alpha: np.ndarray, radius: int) -> np.ndarray:
    """Colours of a photo without the background that shines through its edges.

        F = mean of colour, weighted by alpha; B = mean, weighted by 1 - alpha
        colour = F + alpha (photo - alpha F - (1 - alpha) B)

    Args:
        photo: (H, W, 3) uint8.
        alpha: Opacity, (H, W) uint8.
        radius: Pixels to each side from which means are taken.

    Returns:
        (H, W, 3) uint8: the photo where it is opaque, 0 where all pixels around are transparent.

    Source: Forte and Pitié, Approximate fast foreground colour estimation, ICIP 2021, equation 4.
    """
    weights = _box_sum(alpha, radius)
    found = np.where(alpha[..., None] == 255, photo, np.uint8(0))
    mixed = (alpha < 255) & (weights > 0)
    front_weights = weights[mixed].astype(np.float32)
    count = _box_sum(np.ones(alpha.shape, np.uint8), radius)[mixed]
    back_weights = np.maximum(255 * count - weights[mixed], 1).astype(np.float32)
    shown = alpha[mixed].astype(np.float32) / np.float32(255)
    for k in range(3):
        plane = np.ascontiguousarray(photo[..., k])
        opaque = _box_sum(cv2.multiply(plane, alpha, dtype=cv2.CV_16U), radius)[mixed]
        front = opaque.astype(np.float32) / front_weights
        hidden = 255 * _box_sum(plane, radius)[mixed] - opaque
        back = hidden.astype(np.float32) / back_weights
        colour = front + shown * (plane[mixed] - shown * front - (1 - shown) * back)
        found[..., k][mixed] = np.rint(np.clip(colour, 0, 255)).astype(np.uint8)
    return found


def _box_sum(values: np.ndarray, radius: int) -> np.ndarray:
    """Sums over squares, of whole numbers and therefore exact: int32, or float64 of float64."""
    side = 2 * radius + 1
    depth = cv2.CV_64F if values.dtype == np.float64 else cv2.CV_32S
    return cv2.boxFilter(
        values, depth, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
    )


def pixel_side(scale: Scale, size: tuple[int, int]) -> float:
    """Side of a pixel of the network in pixels of an image of a size (height, width)."""
    return float(np.sqrt(scale.pixel_area(size)))


def _blocks(rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
    """Cuts a window into blocks of at most `BLOCK` pixels a side."""
    for top in range(rows.start, rows.stop, BLOCK):
        for left in range(columns.start, columns.stop, BLOCK):
            yield (
                slice(top, min(top + BLOCK, rows.stop)),
                slice(left, min(left + BLOCK, columns.stop)),
            )


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _extended(span: slice, by: int, side: int) -> slice:
    return slice(max(0, span.start - by), min(side, span.stop + by))


def _on_grid(span: slice, side: int, points: int) -> slice:
    """Points of the grid between which the values of a span are interpolated."""
    return slice(
        max(0, span.start * points // side - 1), min(points, span.stop * points // side + 2)
    )
