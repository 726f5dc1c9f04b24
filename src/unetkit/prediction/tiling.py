"""An image of any size cut into tiles whose outputs are those of one run over the whole image.

Along each axis (rows and columns are treated alike) the input of a tile is a range of the image,
and a smaller range of its output is kept. The kept ranges are exact for three reasons:

- Tiles start at multiples of the network's stride, so that its pooling windows lie as in a run over
  the whole image.
- Where a tile ends inside the image, the network pads with zeros where the image goes on. The
  output rows that this affects, `Geometry.tile_before` and `tile_after`, rounded up to multiples of
  the stride, are thrown away.
- Where a tile ends at the edge of the image, the whole image is padded there, too, and nothing is
  thrown away.

Unpadded networks never pad: the whole output of a tile is exact, and only the stride matters.

With a smaller margin, tiles are cheaper and not exact: the kept ranges overlap, and are blended so
that no seam is visible.

Arrays in, arrays out: the network and the source of the image are left to the caller.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from unetkit._shared.wording import format_count
from unetkit.errors import ConfigError, SizeError
from unetkit.io.windows import Windows
from unetkit.models.geometry import Geometry


@dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Args:
        start: First row of the tile's input, as a row of the image; negative for rows mirrored
            beyond the edge.
        size: Number of rows of the tile's input.
        kept: First and last + 1 row of the image for which the tile's output is kept. In blended
            tilings, those of neighbours overlap.
    """

    start: int
    size: int
    kept: tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """An image cut into tiles: each pair of a span of rows and a span of columns is a tile.

    Args:
        geometry: Geometry of the network.
        size: (height, width) of the image.
        rows: Spans that cover the height, all of the same size.
        columns: Spans that cover the width, all of the same size.
        is_exact: Whether the output is that of one run over the whole image; else it is blended.
    """

    geometry: Geometry
    size: tuple[int, int]
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    is_exact: bool = True

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def spans(self, number: int) -> tuple[Span, Span]:
        """Returns the rows and columns of a tile; tiles are numbered row by row."""
        row, column = divmod(number, len(self.columns))
        return self.rows[row], self.columns[column]

    def kept(self, number: int) -> tuple[slice, slice]:
        """Returns the rows and columns of the image for which a tile's output is kept."""
        rows, columns = self.spans(number)
        return slice(*rows.kept), slice(*columns.kept)

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of the input of each tile."""
        return self.rows[0].size, self.columns[0].size

    @property
    def waste(self) -> float:
        """Number of input pixels of all tiles, relative to one run over the whole image."""
        height, width = self.tile_size
        whole = [self.geometry.input_size(size) for size in self.size]
        return len(self) * height * width / (whole[0] * whole[1])

    def describe(self) -> str:
        """Returns a short description, such as "one run of 128x128"."""
        height, width = self.tile_size
        if len(self) == 1:
            return f"one run of {height}x{width}"
        blended = "" if self.is_exact else ", blended and not exact"
        return (
            f"{format_count(len(self), 'tile')} of {height}x{width}, {self.waste:.2f} times the "
            "work of one run"
            f"{blended}"
        )

    def weights(self, number: int) -> np.ndarray | None:
        """Returns the weight of a tile's output at each pixel that it keeps.

        The weights of all tiles sum to 1 at each pixel.

        Returns:
            (h, w, 1) float32; None if all weights are 1.
        """
        if self.is_exact or len(self) == 1:
            return None
        row, column = divmod(number, len(self.columns))
        rows, columns = self._ramps[0][row], self._ramps[1][column]
        return (rows[:, None] * columns)[..., None].astype(np.float32)

    @cached_property
    def _ramps(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return _ramps(self.rows, self.size[0]), _ramps(self.columns, self.size[1])


def cut(
    size: tuple[int, int],
    geometry: Geometry,
    tile_size: tuple[int, int] | None = None,
    margin: int | None = None,
) -> Tiling:
    """Cuts an image into the smallest number of tiles, and these into the smallest size.

    Args:
        size: (height, width) of the image.
        geometry: Geometry of the network.
        tile_size: Largest (height, width) of a tile; None for one run over the whole image.
        margin: Number of pixels by which the input of a tile extends beyond its own pixels on each
            side, rounded up to a multiple of the stride; None for as many as exact tiles need. With
            fewer, tiles are blended.

    Raises:
        SizeError: The network does not take tiles of this size, or no pixel of them would be exact.
        ConfigError: `margin` is negative.
    """
    geometry, is_exact = _within(geometry, margin)
    if tile_size is None:
        tile_size = geometry.input_size(size[0]), geometry.input_size(size[1])
    counts = [_count(*sizes, geometry) for sizes in zip(size, tile_size, strict=True)]
    return _tiling(size, (counts[0], counts[1]), geometry, is_exact)


def choose_tiles(
    size: tuple[int, int], geometry: Geometry, most_pixels: int, margin: int | None = None
) -> Tiling:
    """Cuts an image into tiles of limited size such that all tiles together have the fewest pixels.

    Args:
        size: (height, width) of the image.
        geometry: Geometry of the network.
        most_pixels: Largest number of pixels of a tile.
        margin: Number of pixels by which the input of a tile extends beyond its own; see `cut`.

    Raises:
        SizeError: `most_pixels` is less than the smallest tile has.
        ConfigError: `margin` is negative.
    """
    geometry, is_exact = _within(geometry, margin)
    best: tuple[int, int, int] | None = None  # pixels of all tiles, rows of tiles, columns of tiles
    least = [min(smallest_tile(geometry), geometry.input_size(side)) for side in size]
    # The loop is bounded by memory: a file may claim any number of rows.
    highest = min(geometry.input_size(size[0]), most_pixels // least[1])
    for allowed in range(least[0], highest + 1, geometry.stride):
        rows = _count(size[0], allowed, geometry)
        height = _tile(size[0], rows, geometry)
        width = geometry.valid_size(most_pixels // height)
        if width >= least[1]:
            columns = _count(size[1], width, geometry)
            pixels = rows * height * columns * _tile(size[1], columns, geometry)
            best = min(best or (pixels, rows, columns), (pixels, rows, columns))
    if best is None:
        raise SizeError(
            f"most_pixels is {most_pixels}; accepted are numbers from {least[0] * least[1]} up, "
            "the size of the smallest tile of this network"
        )
    _, rows, columns = best
    return _tiling(size, (rows, columns), geometry, is_exact)


def smallest_tile(geometry: Geometry, margin: int | None = None) -> int:
    """Returns the side of the smallest tile that keeps some output wherever it lies."""
    geometry, _ = _within(geometry, margin)
    return geometry.input_size(_lost(geometry) - 2 * geometry.margin + geometry.stride)


def _within(geometry: Geometry, margin: int | None) -> tuple[Geometry, bool]:
    """The geometry with what a tile throws away limited to `margin`, and whether it stays exact."""
    if margin is None or margin >= max(geometry.tile_before, geometry.tile_after):
        return geometry, True
    if margin < 0:
        raise ConfigError(
            f"margin is {margin}; accepted are whole numbers from 0 up, or none for exact tiles"
        )
    before, after = min(margin, geometry.tile_before), min(margin, geometry.tile_after)
    return replace(geometry, tile_before=before, tile_after=after), False


def _tiling(
    size: tuple[int, int], counts: tuple[int, int], geometry: Geometry, is_exact: bool
) -> Tiling:
    rows, columns = (
        _spans(side, count, geometry, is_exact) for side, count in zip(size, counts, strict=True)
    )
    is_exact = is_exact or counts == (1, 1)
    return Tiling(geometry, size, rows, columns, is_exact)


def _margin_before(geometry: Geometry) -> int:
    """Rows thrown away where a tile begins inside the image, rounded up to the stride."""
    return -(-geometry.tile_before // geometry.stride) * geometry.stride


def _lost(geometry: Geometry) -> int:
    """Rows of a tile inside the image that are not kept: the overlap of two tiles.

    The remaining rows are a multiple of the stride, as the next tile begins after them.
    """
    after = -(-geometry.tile_after // geometry.stride) * geometry.stride
    lost = 2 * geometry.margin + _margin_before(geometry) + after
    return lost + (geometry.smallest_input - lost) % geometry.stride


def _count(size: int, tile: int, geometry: Geometry) -> int:
    """Number of tiles of a size that cover an image, along one axis.

    Raises:
        SizeError: The network does not take tiles of this size, or no row of them would be exact.
    """
    whole = geometry.input_size(size)
    if tile >= whole:
        return 1
    geometry.output_size(tile)  # raises SizeError if the network does not take it
    if tile < smallest_tile(geometry):
        raise SizeError(
            f"tile size {tile} is too small for this network; accepted are sizes from "
            f"{smallest_tile(geometry)} up; smaller tiles have no exact pixels"
        )
    return 1 - (tile - whole) // (tile - _lost(geometry))


def _tile(size: int, count: int, geometry: Geometry) -> int:
    """Size of the smallest tiles such that `count` of them cover an image, along one axis.

    count (tile - lost) + lost >= whole
    """
    whole, lost = geometry.input_size(size), _lost(geometry)
    least = lost - (lost - whole) // count if count > 1 else whole
    return geometry.input_size(least - 2 * geometry.margin)


def _spans(size: int, count: int, geometry: Geometry, is_exact: bool) -> tuple[Span, ...]:
    whole, tile = geometry.input_size(size), _tile(size, count, geometry)
    starts = [min(i * (tile - _lost(geometry)), whole - tile) for i in range(count)]
    firsts = [0, *(start + _margin_before(geometry) for start in starts[1:])]
    lasts = [*firsts[1:], size]  # where the output of the next tile becomes exact
    if not is_exact:
        firsts, lasts = starts, [start + tile - 2 * geometry.margin for start in starts]
    return tuple(
        Span(start - geometry.margin, tile, (first, min(last, size)))
        for start, first, last in zip(starts, firsts, lasts, strict=True)
    )


def _ramps(spans: Sequence[Span], size: int) -> list[np.ndarray]:
    """Weights of the kept rows of each span: less towards ends inside the image, 1 in sum."""
    found, total = [], np.zeros(size)
    for span in spans:
        first, last = span.kept
        rows = np.arange(first, last) + 0.5
        inner = [rows - first] * (first > 0) + [last - rows] * (last < size)
        found.append(np.minimum.reduce([*inner, np.full(len(rows), 1.0 * span.size)]))
        total[first:last] += found[-1]
    return [ramp / total[slice(*span.kept)] for ramp, span in zip(found, spans, strict=True)]


def apply_tiles(
    tiling: Tiling,
    read: Callable[[Span, Span], np.ndarray],
    network: Callable[[np.ndarray], np.ndarray],
    write: Callable[[int, np.ndarray], object],
    numbers: Sequence[int] | None = None,
) -> None:
    """Runs a network on each tile, and passes on the output that is kept.

    The next tile is read, and the last output written, while the network runs.

    Args:
        tiling: Tiles of the image.
        read: Returns the input of a tile, (h, w, C), from its span of rows and its span of columns.
        network: Returns the output for an input, (h', w', K); h' and w' are smaller by twice the
            margin of the geometry.
        write: Called with the number of a tile and the output that is kept, multiplied by
            `Tiling.weights`.
        numbers: Numbers of the tiles, in order; None for all.
    """
    remaining = list(range(len(tiling)) if numbers is None else numbers)

    def read_input(number: int) -> np.ndarray:
        return read(*tiling.spans(number))

    def write_kept(number: int, output: np.ndarray) -> None:
        write(number, _kept(tiling, number, output))

    if len(remaining) == 1:
        write_kept(remaining[0], network(read_input(remaining[0])))
        return
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        upcoming = [reader.submit(read_input, number) for number in remaining[:1]]
        written: list[Future[None]] = []
        for place, number in enumerate(remaining):
            tile = upcoming.pop().result()
            upcoming += [
                reader.submit(read_input, number) for number in remaining[place + 1 : place + 2]
            ]
            output = network(tile)
            if written:
                written.pop().result()
            written.append(writer.submit(write_kept, number, output))
        for last in written:
            last.result()


def _kept(tiling: Tiling, number: int, output: np.ndarray) -> np.ndarray:
    margin = tiling.geometry.margin
    (top, bottom), (left, right) = (
        (span.kept[0] - span.start - margin, span.kept[1] - span.start - margin)
        for span in tiling.spans(number)
    )
    kept, weights = output[top:bottom, left:right], tiling.weights(number)
    return kept if weights is None else kept * weights


def read_tile(image: Windows, rows: Span, columns: Span) -> np.ndarray:
    """Reads the input of a tile, (rows.size, columns.size, C), mirrored beyond the edges."""
    height, width, _ = image.shape
    down, across = mirrored_indices(rows, height), mirrored_indices(columns, width)
    top, left = int(down.min()), int(across.min())
    window = image.read(slice(top, int(down.max()) + 1), slice(left, int(across.max()) + 1))
    if window.shape[:2] == (rows.size, columns.size):
        return window  # nothing is mirrored
    return window[np.ix_(down - top, across - left)]


def mirrored_indices(span: Span, size: int) -> np.ndarray:
    """Returns the image row that each input row of a span shows.

    Rows beyond the edges are mirrored without repeating the edge, as often as needed; this is
    `numpy.pad` with mode "reflect".

    Args:
        span: A tile along the axis.
        size: Number of rows of the image, 1 or more.

    Returns:
        (span.size,) integers from 0 to size - 1.

    >>> mirrored_indices(Span(-2, 9, (0, 3)), 3)
    array([2, 1, 0, 1, 2, 1, 0, 1, 2])
    """
    period = max(1, 2 * (size - 1))
    rows = np.arange(span.start, span.start + span.size) % period
    return np.minimum(rows, period - rows)
