"""Outlines of regions along the edges of their pixels, from labels of any size.

A corner of an outline is a point where four pixels meet and the label in question changes in both
directions. Corners are found in bands of rows; those of a row, and those of a column, are joined in
pairs, which gives all outlines at once. Only corners are kept, however large the image is.

Pixel (row, column) covers [row, row + 1) x [column, column + 1). Whoever fills an outline by the
even-odd rule at the centres of pixels gets the region back exactly.
"""

import bisect
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from unetkit._shared.memory_budget import MIB
from unetkit.errors import SizeError
from unetkit.io.pyramid import Read

OFF_IMAGE = -1  # label beyond the edges of an image
CORNER_BYTES = 400  # of Python's numbers and lists, while outlines are joined
_NW, _NE, _SW, _SE = 1, 2, 4, 8  # which of the four pixels around a point have a label
_DIAGONAL = (_NW | _SE, _NE | _SW)


@dataclass(frozen=True, eq=False)
class Region:
    """A region of one label whose pixels are connected by their sides.

    Args:
        label: Label of its pixels.
        outer: Corners of its outline, (N, 2) int64 rows and columns in order, the first not
            repeated; the region lies to the right of who goes along it, rows going down.
        holes: Corners of the outline of each hole, (N, 2) int64, the region to the left.
    """

    label: int
    outer: np.ndarray
    holes: tuple[np.ndarray, ...]

    @property
    def rings(self) -> tuple[np.ndarray, ...]:
        """All its outlines."""
        return self.outer, *self.holes


def find_regions(
    read: Read,
    size: tuple[int, int],
    skipped: Collection[int],
    *,
    band_rows: int,
    most_bytes: int | None = None,
) -> Iterator[Region]:
    """Finds the regions of an image, and their outlines.

    Args:
        read: Reads (h, w) integer labels from 0 up of rows and columns; called for whole bands.
        size: (height, width) of the image.
        skipped: Labels that have no regions, such as that of the background.
        band_rows: Number of rows read at once; the regions do not depend on it.
        most_bytes: Memory for the outlines; None for any.

    Yields:
        The regions of each label in turn, from the first row of pixels down.

    Raises:
        SizeError: The outlines need more memory.
    """
    corners = _find_corners(read, size, skipped, band_rows, most_bytes)
    order = np.lexsort((corners["south"], corners["row"], corners["column"], corners["label"]))
    below = _partners(order)
    order = np.lexsort((corners["east"], corners["column"], corners["row"], corners["label"]))
    beside = _partners(order)
    labels = corners["label"][order]
    for members in np.split(order, np.flatnonzero(np.diff(labels)) + 1):
        if len(members):
            yield from _regions_of_label(corners, members, beside, below)


_CORNER = np.dtype(
    [
        *(("label", np.int64), ("row", np.int32), ("column", np.int32)),
        *(("east", bool), ("south", bool), ("is_outer", bool)),
    ]
)


def _find_corners(
    read: Read,
    size: tuple[int, int],
    skipped: Collection[int],
    band_rows: int,
    most_bytes: int | None,
) -> np.ndarray:
    """Corners of all outlines, (N,) `_CORNER`, by row."""
    height, width = size
    outside = np.full((1, width + 2), OFF_IMAGE, np.int32)
    above, found, count = outside, [], 0
    for start in [*range(0, height, band_rows), height]:
        band = outside  # below the last row
        if start < height:
            stop = min(start + band_rows, height)
            band = np.full((stop - start, width + 2), OFF_IMAGE, np.int32)
            band[:, 1:-1] = read(slice(start, stop), slice(0, width))
        found.append(_corners_of_band(np.concatenate([above, band]), start, skipped))
        above = band[-1:]
        count += len(found[-1])
        if most_bytes is not None and count * CORNER_BYTES > most_bytes:
            raise SizeError(
                f"the outlines of {height}x{width} pixels have more than {count:,} corners, "
                f"which take {count * CORNER_BYTES / MIB:,.0f} MiB; accepted are up to "
                f"{most_bytes / MIB:,.0f} MiB; allow more with --memory"
            )
    return np.concatenate(found)


def _corners_of_band(labels: np.ndarray, first: int, skipped: Collection[int]) -> np.ndarray:
    """Corners between the rows of a band; `first` is the row of points below its first row."""
    around = labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]
    north_west, north_east, south_west, south_east = around
    is_straight = (north_west == north_east) & (south_west == south_east)
    is_straight |= (north_west == south_west) & (north_east == south_east)
    rows, columns = np.nonzero(~is_straight)
    pixels = np.stack([one[rows, columns] for one in around])
    is_skipped = np.isin(pixels, [OFF_IMAGE, *skipped])
    found = []
    for place in range(4):
        same = pixels == pixels[place]
        is_first = ~is_skipped[place] & ~same[:place].any(axis=0)
        pattern = same.T @ np.array([_NW, _NE, _SW, _SE])
        for kind in range(1, 15):
            at = np.flatnonzero(is_first & (pattern == kind))
            for east, south, is_outer in _corners_of_pattern(kind):
                corners = np.empty(len(at), _CORNER)
                corners["label"], corners["row"] = pixels[place, at], rows[at] + first
                corners["column"], corners["east"] = columns[at], east
                corners["south"], corners["is_outer"] = south, is_outer
                found.append(corners)
    return np.concatenate(found)


def _corners_of_pattern(kind: int) -> list[tuple[bool, bool, bool]]:
    """Whether the edges of each corner go east, go south, and are those of an outward corner.

    Pixels that touch only diagonally are not connected: each has a corner of its own.
    """
    directions = {_NW: (False, False), _NE: (True, False), _SW: (False, True), _SE: (True, True)}
    inside = [pixel for pixel in directions if kind & pixel]
    if len(inside) == 1 or kind in _DIAGONAL:
        return [(*directions[pixel], True) for pixel in inside]
    if len(inside) == 3:
        (missing,) = directions.keys() - inside
        return [(*directions[missing], False)]
    return []


def _partners(order: np.ndarray) -> np.ndarray:
    """The corner at the other end of an edge, where pairs follow one another in `order`."""
    partners = np.empty_like(order)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    return partners


def _regions_of_label(
    corners: np.ndarray, members: np.ndarray, beside: np.ndarray, below: np.ndarray
) -> Iterator[Region]:
    """Joins the corners of one label, given from the first row down, to outlines and regions."""
    place = {corner: number for number, corner in enumerate(members.tolist())}
    beside_of, below_of = beside[members].tolist(), below[members].tolist()
    ring_of = [-1] * len(members)
    rings: list[list[int]] = []
    for first, corner in enumerate(members.tolist()):
        if ring_of[first] >= 0:
            continue
        ring: list[int] = []
        while ring_of[place[corner]] < 0:
            other = beside_of[place[corner]]
            ring_of[place[corner]] = ring_of[place[other]] = len(rings)
            ring += [corner, other]
            corner = below_of[place[other]]
        rings.append(ring)
    is_outer = [bool(corners["is_outer"][ring[0]]) for ring in rings]  # at its first corner
    owners = _owners(corners, rings, is_outer) if not all(is_outer) else range(len(rings))
    holes: dict[int, list[np.ndarray]] = defaultdict(list)
    points = [
        np.stack([corners["row"][r], corners["column"][r]], 1).astype(np.int64) for r in rings
    ]
    for number, owner in enumerate(owners):
        if not is_outer[number]:
            holes[owner].append(points[number])
    label = int(corners["label"][members[0]])
    for number, ring_points in enumerate(points):
        if is_outer[number]:
            outer, *pockets = _simple_rings(ring_points)
            inner = [ring for hole in holes[number] for ring in _simple_rings(hole)]
            yield Region(label, outer, (*pockets, *(ring[::-1] for ring in inner)))


def _simple_rings(ring: np.ndarray) -> list[np.ndarray]:
    """Cuts an outline where it touches itself, the ring with its first corner first.

    What is cut off from an outer ring is a pocket, which is enclosed but for a point: a hole.
    """
    if len(np.unique(ring, axis=0)) == len(ring):
        return [ring]
    cut: list[np.ndarray] = []
    open_points: dict[tuple[int, ...], None] = {}  # in order
    for point in map(tuple, ring.tolist()):
        if point in open_points:
            loop: list[tuple[int, ...]] = []
            while not loop or loop[-1] != point:
                loop.append(next(reversed(open_points)))
                del open_points[loop[-1]]
            cut.append(np.array(loop[::-1]))
        open_points[point] = None
    return [np.array(list(open_points)), *cut]


def _owners(corners: np.ndarray, rings: list[list[int]], is_outer: list[bool]) -> list[int]:
    """The outer ring around each ring, which is the ring itself if it is an outer one.

    The pixel above the first edge of a hole belongs to its region. To the left of this pixel, the
    next edge is one of the region, too: of its outer ring, or of a hole that begins further up,
    whose owner is known already.
    """
    events: list[tuple[int, int, int, int]] = []  # row, kind, column, ring
    begin, end, ask = 1, 0, 2
    for number, ring in enumerate(rings):
        rows, columns = corners["row"][ring].tolist(), corners["column"][ring].tolist()
        for at in range(1, len(ring), 2):  # the second corner of each edge along a row
            top, bottom = sorted((rows[at], rows[(at + 1) % len(ring)]))
            events += [(top, begin, columns[at], number), (bottom, end, columns[at], number)]
        if not is_outer[number]:
            events.append((rows[0] - 1, ask, columns[0], number))
    owners = list(range(len(rings)))
    active: list[tuple[int, int]] = []  # column and ring of each edge that crosses the row
    for _, kind, column, number in sorted(events):
        if kind == begin:
            bisect.insort(active, (column, number))
        elif kind == end:
            active.pop(bisect.bisect_left(active, (column, number)))
        else:
            left = active[bisect.bisect_right(active, (column, len(rings))) - 1][1]
            owners[number] = owners[left]
    return owners


def simplify(ring: np.ndarray, bound: float) -> np.ndarray:
    """Leaves out corners of an outline, which stays within a distance of the original.

    Every point of either outline is at most `bound` from the other one. An outline of which fewer
    than three corners would be left is kept.

    Args:
        ring: Corners, (N, 2), the first not repeated.
        bound: Largest distance in pixels.

    Returns:
        The corners that are kept, (n, 2).

    Source: Ramer, 1972; Douglas and Peucker, 1973.
    """
    if bound <= 0 or len(ring) <= 3:
        return ring
    closed = np.concatenate([ring, ring[:1]]).astype(np.float64)
    far = int(np.argmax(np.square(closed - closed[0]).sum(axis=1)))
    kept = np.zeros(len(closed), bool)
    kept[[0, far]] = True
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(np.argmax(distances))
        if distances[worst] > bound:
            middle = first + 1 + worst
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    return ring[kept[:-1]] if kept[:-1].sum() >= 3 else ring


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance of each point from a line segment."""
    along = end - start
    length = float(along @ along)
    fraction = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.asarray(np.linalg.norm(points - start - fraction[:, None] * along, axis=1))
