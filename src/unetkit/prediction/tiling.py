"""A picture of any size in tiles, of which each gives exactly what one run over all would give.

Along either axis (rows and columns behave alike) a tile shows the network a stretch of the picture
and keeps a part of the answer. Three facts make the parts exact:

- Tiles start on the grid of the network's stride, so that its poolings fall as in the whole.
- Where a tile ends inside the picture, the network pads with zeros what is not zero there. The
  rows that this reaches, `Geometry.tile_before` and `tile_after` on the grid, are thrown away.
- Where a tile ends with the picture, the zeros are those of the whole, and nothing is thrown away.

Unpadded networks never pad: all of a tile's answer is exact, and only the grid is to be kept.

With a margin that is smaller than this, tiles are cheaper and no longer exact: then their answers
overlap, and are blended so that no seam shows.

Arrays in, arrays out: which network answers, and where pictures come from, is left to the caller.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from unetkit.errors import ConfigError, SizeError
from unetkit.io.windows import Windows
from unetkit.models.geometry import Geometry

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Args:
        start: First row that is shown to the network, in the picture continued by mirroring;
            negative before its edge.
        size: Rows that are shown.
        kept: First and last row + 1 of the answer that is kept, in the picture. Where answers are
            blended, those of neighbours overlap.
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
        is_exact: Whether the answer is that of one run over the whole; else it is blended.
    """

    geometry: Geometry
    size: Size
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    is_exact: bool = True

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def spans(self, number: int) -> tuple[Span, Span]:
        """Rows and columns of a tile; they are numbered row by row."""
        row, column = divmod(number, len(self.columns))
        return self.rows[row], self.columns[column]

    def kept(self, number: int) -> tuple[slice, slice]:
        """Rows and columns of the picture for which a tile answers."""
        rows, columns = self.spans(number)
        return slice(*rows.kept), slice(*columns.kept)

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
        blended = "" if self.is_exact else ", blended and not exact"
        return (
            f"{len(self)} tiles of {height}x{width}, {self.waste:.2f} times the work of one run"
            f"{blended}"
        )

    def weights(self, number: int) -> np.ndarray | None:
        """What the answer of a tile counts for each pixel that it keeps; None where that is 1.

        The weights of all tiles sum to 1 at each pixel.

        Returns:
            (h, w, 1) float32.
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
    size: Size, geometry: Geometry, tile_size: Size | None = None, margin: int | None = None
) -> Tiling:
    """Cuts a picture into as few tiles as tiles of this size can be, all of one size.

    Where as many smaller tiles cover it too, these are smaller.

    Args:
        size: Of the picture.
        geometry: Of the network.
        tile_size: Largest size to be shown to the network at once; None for one run over all.
        margin: Pixels beyond a tile's own that it is shown, on the grid of the network's stride;
            None for as many as its answer depends on. With less, answers are blended.

    Raises:
        SizeError: The network does not take it, or nothing of such a tile is exact.
        ConfigError: `margin` is negative.
    """
    geometry, is_exact = _within(geometry, margin)
    if tile_size is None:
        tile_size = geometry.input_size(size[0]), geometry.input_size(size[1])
    counts = [_count(*sizes, geometry) for sizes in zip(size, tile_size, strict=True)]
    return _tiling(size, (counts[0], counts[1]), geometry, is_exact)


def choose_tiles(
    size: Size, geometry: Geometry, most_pixels: int, margin: int | None = None
) -> Tiling:
    """Cuts a picture into tiles of so many pixels at most, such that the least is shown in all.

    Args:
        size: Of the picture.
        geometry: Of the network.
        most_pixels: That may be shown to the network at once.
        margin: As for `cut`.

    Raises:
        SizeError: Fewer than the smallest tile has.
        ConfigError: `margin` is negative.
    """
    geometry, is_exact = _within(geometry, margin)
    best: tuple[int, int, int] | None = None  # pixels shown in all, rows of tiles, columns of tiles
    least = [min(smallest_tile(geometry), geometry.input_size(side)) for side in size]
    # By the heights that memory permits: a file may claim any number of rows.
    highest = min(geometry.input_size(size[0]), most_pixels // least[1])
    for allowed in range(least[0], highest + 1, geometry.stride):
        rows = _count(size[0], allowed, geometry)
        height = _tile(size[0], rows, geometry)
        width = geometry.valid_size(most_pixels // height)
        if width >= least[1]:
            columns = _count(size[1], width, geometry)
            shown = rows * height * columns * _tile(size[1], columns, geometry)
            best = min(best or (shown, rows, columns), (shown, rows, columns))
    if best is None:
        raise SizeError(
            f"most_pixels is {most_pixels}; accepted are numbers from {least[0] * least[1]} up, "
            "the smallest tile of this network; allow more"
        )
    _, rows, columns = best
    return _tiling(size, (rows, columns), geometry, is_exact)


def smallest_tile(geometry: Geometry, margin: int | None = None) -> int:
    """Side of the smallest tile of which anything is kept wherever it lies."""
    geometry, _ = _within(geometry, margin)
    return geometry.input_size(_lost(geometry) - 2 * geometry.margin + geometry.stride)


def _within(geometry: Geometry, margin: int | None) -> tuple[Geometry, bool]:
    """A network that is taken to look no further than a margin, and whether that is true."""
    if margin is None or margin >= max(geometry.tile_before, geometry.tile_after):
        return geometry, True
    if margin < 0:
        raise ConfigError(
            f"margin is {margin}; accepted are whole numbers from 0 up; leave it out for exact "
            "tiles"
        )
    before, after = min(margin, geometry.tile_before), min(margin, geometry.tile_after)
    return replace(geometry, tile_before=before, tile_after=after), False


def _tiling(size: Size, counts: tuple[int, int], geometry: Geometry, is_exact: bool) -> Tiling:
    rows, columns = (
        _spans(side, count, geometry, is_exact) for side, count in zip(size, counts, strict=True)
    )
    is_exact = is_exact or counts == (1, 1)
    return Tiling(geometry, size, rows, columns, is_exact)


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


def _spans(size: int, count: int, geometry: Geometry, is_exact: bool) -> tuple[Span, ...]:
    whole, tile = geometry.input_size(size), _tile(size, count, geometry)
    starts = [min(i * (tile - _lost(geometry)), whole - tile) for i in range(count)]
    firsts = [0, *(start + _margin_before(geometry) for start in starts[1:])]
    lasts = [*firsts[1:], size]  # where the next one is exact
    if not is_exact:
        firsts, lasts = starts, [start + tile - 2 * geometry.margin for start in starts]
    return tuple(
        Span(start - geometry.margin, tile, (first, min(last, size)))
        for start, first, last in zip(starts, firsts, lasts, strict=True)
    )


def _ramps(spans: Sequence[Span], size: int) -> list[np.ndarray]:
    """What each row that a span keeps counts: less towards ends within the picture, 1 in all."""
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
    finished: Collection[int] = (),
) -> None:
    """Shows each tile to a network, and hands on what is kept of its answer.

    The next tile is read, and the last one written, while the network works.

    Args:
        tiling: Of the picture.
        read: Gives (h, w, C) pixels for a span of rows and one of columns.
        network: From those to (h', w', K), h' and w' smaller by twice the margin.
        write: Takes the number of a tile, and (h", w", K) for the rows and columns that it keeps,
            times `Tiling.weights`.
        finished: Numbers of tiles that are left out.
    """
    todo = [number for number in range(len(tiling)) if number not in finished]

    def show(number: int) -> np.ndarray:
        return read(*tiling.spans(number))

    def keep(number: int, answer: np.ndarray) -> None:
        write(number, _kept(tiling, number, answer))

    if len(todo) == 1:
        keep(todo[0], network(show(todo[0])))
        return
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        upcoming = [reader.submit(show, number) for number in todo[:1]]
        written: list[Future[None]] = []
        for place, number in enumerate(todo):
            shown = upcoming.pop().result()
            upcoming += [reader.submit(show, number) for number in todo[place + 1 : place + 2]]
            answer = network(shown)
            if written:
                written.pop().result()
            written.append(writer.submit(keep, number, answer))
        for last in written:
            last.result()


def _kept(tiling: Tiling, number: int, answer: np.ndarray) -> np.ndarray:
    margin = tiling.geometry.margin
    (top, bottom), (left, right) = (
        (span.kept[0] - span.start - margin, span.kept[1] - span.start - margin)
        for span in tiling.spans(number)
    )
    kept, weights = answer[top:bottom, left:right], tiling.weights(number)
    return kept if weights is None else kept * weights


def read_tile(picture: Windows, rows: Span, columns: Span) -> np.ndarray:
    """What a tile shows of a picture, (rows.size, columns.size, C)."""
    height, width, _ = picture.shape
    down, across = mirrored(rows, height), mirrored(columns, width)
    top, left = int(down.min()), int(across.min())
    window = picture.read(slice(top, int(down.max()) + 1), slice(left, int(across.max()) + 1))
    if window.shape[:2] == (rows.size, columns.size):
        return window  # nothing is mirrored
    return window[np.ix_(down - top, across - left)]


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
