"""A picture of any size in tiles, of which each gives exactly what one run over all would give.

Along either axis (rows and columns behave alike) a tile shows the network a stretch of the picture
and keeps a part of the answer. Three facts make the parts exact:

- Tiles start on the grid of the network's stride, so that its poolings fall as in the whole.
- Where a tile ends inside the picture, the network pads with zeros what is not zero there. The
  rows that this reaches, `Geometry.tile_before` and `tile_after` on the grid, are thrown away.
- Where a tile ends with the picture, the zeros are those of the whole, and nothing is thrown away.

Unpadded networks never pad: all of a tile's answer is exact, and only the grid is to be kept.

Arrays in, arrays out: which network answers, and where pictures come from, is left to the caller.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from unetkit.errors import SizeError
from unetkit.geometry import Geometry

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Args:
        start: First row that is shown to the network, in the picture continued by mirroring;
            negative before its edge.
        size: Rows that are shown.
        kept: First and last row + 1 of the answer that is kept, in the picture.
    """

    start: int
    size: int
    kept: tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """A picture cut into tiles: each pair of a span of rows and a span of columns is one.

    Args:
        geometry: Of the network.
        size: Of the picture.
        rows: Spans that cover its height, all of one size.
        columns: Spans that cover its width likewise.
    """

    geometry: Geometry
    size: Size
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        return ((row, column) for row in self.rows for column in self.columns)

    @property
    def tile_size(self) -> Size:
        """What the network is shown at once."""
        return self.rows[0].size, self.columns[0].size

    @property
    def waste(self) -> float:
        """Pixels that the network is shown, relative to one run over the whole picture."""
        height, width = self.tile_size
        whole = [self.geometry.input_size(size) for size in self.size]
        return len(self) * height * width / (whole[0] * whole[1])

    def describe(self) -> str:
        """One line for people."""
        height, width = self.tile_size
        if len(self) == 1:
            return f"one run of {height}x{width}"
        return f"{len(self)} tiles of {height}x{width}, {self.waste:.2f} times the work of one run"


def cut(size: Size, geometry: Geometry, tile_size: Size | None = None) -> Tiling:
    """Cuts a picture into as few tiles as tiles of this size can be, all of one size.

    Where as many smaller tiles cover it too, these are smaller.

    Args:
        size: Of the picture.
        geometry: Of the network.
        tile_size: Largest size to be shown to the network at once; None for one run over all.

    Raises:
        SizeError: The network does not take it, or nothing of such a tile is exact.
    """
    if tile_size is None:
        tile_size = geometry.input_size(size[0]), geometry.input_size(size[1])
    counts = [_count(*sizes, geometry) for sizes in zip(size, tile_size, strict=True)]
    rows, columns = (_spans(*pair, geometry) for pair in zip(size, counts, strict=True))
    return Tiling(geometry, size, rows, columns)


def choose_tiles(size: Size, geometry: Geometry, most_pixels: int) -> Tiling:
    """Cuts a picture into tiles of so many pixels at most, such that the least is shown in all.

    Args:
        size: Of the picture.
        geometry: Of the network.
        most_pixels: That may be shown to the network at once.

    Raises:
        SizeError: Fewer than the smallest tile has.
    """
    choices: list[tuple[int, int, int]] = []  # pixels shown in all, rows of tiles, columns of tiles
    least = [min(smallest_tile(geometry), geometry.input_size(side)) for side in size]
    for rows in range(1, _count(size[0], least[0], geometry) + 1):
        height = _tile(size[0], rows, geometry)
        width = geometry.valid_size(most_pixels // height)
        if width >= least[1]:
            columns = _count(size[1], width, geometry)
            shown = rows * height * columns * _tile(size[1], columns, geometry)
            choices.append((shown, rows, columns))
    if not choices:
        raise SizeError(
            f"most_pixels is {most_pixels}; accepted are numbers from {least[0] * least[1]} up, "
            "the smallest tile of this network; allow more"
        )
    _, rows, columns = min(choices)
    return Tiling(
        geometry, size, _spans(size[0], rows, geometry), _spans(size[1], columns, geometry)
    )


def smallest_tile(geometry: Geometry) -> int:
    """Side of the smallest tile of which anything is exact wherever it lies."""
    return geometry.input_size(_lost(geometry) - 2 * geometry.margin + geometry.stride)


def _margin_before(geometry: Geometry) -> int:
    """Rows that are thrown away where a tile begins inside the picture, on the grid."""
    return -(-geometry.tile_before // geometry.stride) * geometry.stride


def _lost(geometry: Geometry) -> int:
    """By how much two tiles overlap: rows of a tile inside the picture that are not kept.

    What is left of a tile is on the grid, as the next one begins there.
    """
    after = -(-geometry.tile_after // geometry.stride) * geometry.stride
    lost = 2 * geometry.margin + _margin_before(geometry) + after
    return lost + (geometry.smallest_input - lost) % geometry.stride


def _count(size: int, tile: int, geometry: Geometry) -> int:
    """How many tiles of a size cover a picture.

    Raises:
        SizeError: The network does not take it, or nothing of such a tile is exact.
    """
    whole = geometry.input_size(size)
    if tile >= whole:
        return 1
    geometry.output_size(tile)  # or it is refused
    if tile < smallest_tile(geometry):
        raise SizeError(
            f"tile size {tile} is too small for this network; accepted are sizes from "
            f"{smallest_tile(geometry)} up, of which a part is exact; use a larger one"
        )
    return 1 - (tile - whole) // (tile - _lost(geometry))


def _tile(size: int, count: int, geometry: Geometry) -> int:
    """The smallest tiles of which so many cover a picture.

    count (tile - lost) + lost >= whole
    """
    whole, lost = geometry.input_size(size), _lost(geometry)
    least = lost - (lost - whole) // count if count > 1 else whole
    return geometry.input_size(least - 2 * geometry.margin)


def _spans(size: int, count: int, geometry: Geometry) -> tuple[Span, ...]:
    whole, tile = geometry.input_size(size), _tile(size, count, geometry)
    starts = [min(i * (tile - _lost(geometry)), whole - tile) for i in range(count)]
    ends = [start + _margin_before(geometry) for start in starts[1:]]  # the next one is exact there
    kept = zip([0, *ends], [*ends, size], strict=True)
    return tuple(
        Span(start - geometry.margin, tile, (first, min(last, size)))
        for start, (first, last) in zip(starts, kept, strict=True)
    )


def apply_tiles(
    tiling: Tiling,
    read: Callable[[Span, Span], np.ndarray],
    network: Callable[[np.ndarray], np.ndarray],
    write: Callable[[Span, Span, np.ndarray], object],
) -> None:
    """Shows each tile to a network, and hands on what is exact of its answer.

    Args:
        tiling: Of the picture.
        read: Gives (h, w, C) pixels for a span of rows and one of columns.
        network: From those to (h', w', K), h' and w' smaller by twice the margin.
        write: Takes the spans, and (h", w", K) for the rows and columns that they keep.
    """
    margin = tiling.geometry.margin
    for row, column in tiling:
        answer = network(read(row, column))
        (top, bottom), (left, right) = (
            (span.kept[0] - span.start - margin, span.kept[1] - span.start - margin)
            for span in (row, column)
        )
        write(row, column, answer[top:bottom, left:right])


def read_tile(image: np.ndarray, rows: Span, columns: Span) -> np.ndarray:
    """What a tile shows of a picture, (rows.size, columns.size, C), of (H, W, C)."""
    height, width = image.shape[:2]
    return image[np.ix_(mirrored(rows, height), mirrored(columns, width))]


def mirrored(span: Span, size: int) -> np.ndarray:
    """Rows of a picture that a span shows, mirrored beyond its edges, the edge not repeated.

    Works for any amount: a picture smaller than what is missing is mirrored again and again.

    Args:
        span: What is shown.
        size: Rows of the picture, 1 or more.

    Returns:
        (span.size,) integers from 0 to size - 1.

    >>> mirrored(Span(-2, 9, (0, 3)), 3)
    array([2, 1, 0, 1, 2, 1, 0, 1, 2])
    """
    period = max(1, 2 * (size - 1))
    rows = np.arange(span.start, span.start + span.size) % period
    return np.minimum(rows, period - rows)
