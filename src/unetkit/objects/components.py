"""Objects of an image of any size: components joined over bands of rows, each separated as a whole.

    maps, band by band -> connected components -> maps of each whole component -> its objects

The maps are read by windows, so that only a few rows and one component are in memory. A component
is joined over the border of two bands by the pixels that touch there; it is separated once it is
known as a whole, by a watershed on all of it. Its objects therefore do not depend on the bands, nor
on tiles. Objects are numbered in an order that does not depend on them either: components by their
last row, then by their first pixel; within a component by the first pixel of each seed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from unetkit.objects.basins import find_basins
from unetkit.objects.flooding import flood
from unetkit.objects.separation import ObjectRule, SeparationMaps

ReadMaps = Callable[[slice, slice], SeparationMaps]
SEEDS_AN_OBJECT = 10  # seeds of less than a tenth of the smallest object are no seeds


@dataclass(frozen=True)
class Component:
    """A connected region of foreground, diagonals included.

    Args:
        top: First row.
        left: First column.
        bottom: Last row + 1.
        right: Last column + 1.
        first: (row, column) of its first pixel in reading order.
    """

    top: int
    left: int
    bottom: int
    right: int
    first: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its box."""
        return self.bottom - self.top, self.right - self.left

    @property
    def box(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def joined(self, other: "Component") -> "Component":
        """The region of both."""
        return Component(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
            min(self.first, other.first),
        )


@dataclass(frozen=True)
class FoundObjects:
    """Objects of one component.

    Args:
        box: Rows and columns of the component in the image.
        objects: Numbers of objects in the box, (h, w) int32 from 1 up; 0 elsewhere.
        count: Number of objects.
    """

    box: tuple[slice, slice]
    objects: np.ndarray
    count: int


def find_components(
    read: ReadMaps, size: tuple[int, int], band_rows: int
) -> Iterator[tuple[Component, SeparationMaps | None]]:
    """Finds the connected components of the foreground of an image, band by band.

    Args:
        read: Reads the maps of a window.
        size: (height, width) of the image.
        band_rows: Number of rows read at once.

    Yields:
        Each component, ordered by last row and first pixel; and its maps, if they lie in the band
        that was read last, else None.
    """
    height, width = size
    waiting: list[Component] = []  # components that reach the last row read
    above = np.zeros(width, np.int32)  # in that row, 1 + the place of each in `waiting`
    for start in range(0, height, band_rows):
        stop = min(start + band_rows, height)
        maps = read(slice(start, stop), slice(0, width))
        labels, parts = _label(maps.foreground, start)
        groups = _joined(waiting, above, parts, labels[0])
        whole = [group.component for group in groups if group.component.bottom < stop]
        if stop == height:
            whole = [group.component for group in groups]
        for component in sorted(whole, key=lambda one: (one.bottom, one.first)):
            rows, columns = component.box
            band = slice(rows.start - start, rows.stop - start)
            yield component, maps.window(band, columns) if rows.start >= start else None
        going_on = [group for group in groups if group.component.bottom == stop]
        waiting = [group.component for group in going_on]
        places = np.zeros(len(parts) + 1, np.int32)
        for place, group in enumerate(going_on):
            places[group.parts] = place + 1
        above = places[labels[-1]]


def _label(foreground: np.ndarray, start: int) -> tuple[np.ndarray, list[Component]]:
    """Numbers the regions of a band from 1 up, and describes each."""
    _, labels, rows, _ = cv2.connectedComponentsWithStats(
        foreground.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    parts = []
    for number, (left, top, width, height, _) in enumerate(rows[1:].tolist(), start=1):
        column = left + int(np.argmax(labels[top, left : left + width] == number))
        box = start + top, left, start + top + height, left + width
        parts.append(Component(*box, first=(start + top, column)))
    return labels, parts


@dataclass(frozen=True)
class _Group:
    """A component so far, and the numbers of its regions in a band."""

    component: Component
    parts: list[int]


def _joined(
    waiting: list[Component], above: np.ndarray, parts: list[Component], row: np.ndarray
) -> list[_Group]:
    """Joins components of earlier bands with the regions of a band that touch them."""
    root = list(range(len(waiting) + len(parts)))  # of each component, then of each region

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for shift in (-1, 0, 1):  # diagonals connect
        upper = above[max(0, shift) : len(above) + min(0, shift)]
        lower = row[max(0, -shift) : len(row) + min(0, -shift)]
        touching = (upper > 0) & (lower > 0)
        pairs = np.unique(np.stack([upper[touching], lower[touching]], axis=1), axis=0)
        for one, other in pairs.tolist():
            root[find(len(waiting) + other - 1)] = find(one - 1)
    groups: dict[int, _Group] = {}
    for place, component in enumerate([*waiting, *parts]):
        number = [place - len(waiting) + 1] if place >= len(waiting) else []
        top = find(place)
        if top in groups:
            known = groups[top]
            groups[top] = _Group(known.component.joined(component), known.parts + number)
        else:
            groups[top] = _Group(component, number)
    return list(groups.values())


def find_objects(
    read: ReadMaps,
    size: tuple[int, int],
    rule: ObjectRule,
    *,
    band_rows: int,
    pixel_area: float = 1.0,
    require_fits: Callable[[Component], None] = lambda component: None,
) -> Iterator[FoundObjects]:
    """Finds the objects of an image, component by component.

    Args:
        read: Reads the maps of a window; called with whole bands, and with boxes of components.
        size: (height, width) of the image.
        rule: How objects are told apart, and which are kept.
        band_rows: Number of rows read at once, 1 or more; no result depends on it.
        pixel_area: Number of pixels of the image for each pixel of the network's scale.
        require_fits: Called with each component; raises an error if it is too large for memory.

    Yields:
        The objects of each component that has any.
    """
    smallest = (rule.smallest or 0) * pixel_area
    largest_hole = (rule.largest_hole or 0) * pixel_area
    for component, maps in find_components(read, size, band_rows):
        require_fits(component)
        maps = maps or read(*component.box)
        row, column = component.first
        first = row - component.top, column - component.left
        objects = separate(maps, first, smallest, largest_hole, rule.prominence or 0)
        if count := int(objects.max()):
            yield FoundObjects(component.box, objects, count)


def label_objects(maps: SeparationMaps, rule: ObjectRule, pixel_area: float = 1.0) -> np.ndarray:
    """Numbers the objects of an image in memory; Args are those of `find_objects`.

    Returns:
        (H, W) int32: 1, 2 ... in each object; 0 outside objects.
    """
    size = maps.foreground.shape
    labels, count = np.zeros(size, np.int32), 0
    parts = find_objects(
        maps.window, (size[0], size[1]), rule, band_rows=size[0], pixel_area=pixel_area
    )
    for part in parts:
        inside = part.objects > 0
        labels[part.box][inside] = part.objects[inside] + count
        count += part.count
    return labels


def separate(
    maps: SeparationMaps,
    first: tuple[int, int],
    smallest: float = 0,
    largest_hole: float = 0,
    prominence: float = 0,
) -> np.ndarray:
    """Separates one component into its objects.

    Args:
        maps: Maps of the component's box.
        first: (row, column) of a pixel of the component in the box.
        smallest: Area of the smallest object, in pixels.
        largest_hole: Area of the largest hole that is filled, in pixels.
        prominence: Least prominence of a seed; 0 for connected regions of seeds.

    Returns:
        Numbers of objects, (h, w) int32 from 1 up in the order of their first pixels; 0 elsewhere.
    """
    _, regions = cv2.connectedComponents(maps.foreground.astype(np.uint8), connectivity=8)
    component = regions == regions[first]
    seeds = _seeds(maps, component, smallest / SEEDS_AN_OBJECT, prominence)
    if seeds.max() <= 1:  # nothing to tell apart
        objects = component.astype(np.int32)
    else:
        objects = flood(seeds, maps.landscape, component)
    if largest_hole:
        objects = _filled(objects, maps.foreground, largest_hole)
    areas = np.bincount(objects.ravel())
    areas[0] = 0
    numbers = np.zeros(len(areas), np.int32)
    kept = np.flatnonzero(areas >= max(1.0, smallest))
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[objects]


def _seeds(
    maps: SeparationMaps, component: np.ndarray, smallest: float, prominence: float
) -> np.ndarray:
    """Numbers seeds in the order of their first pixels; crumbs beside larger ones are none."""
    seeds = maps.seeds & component
    if prominence:
        numbers = find_basins(1 - maps.landscape, seeds, prominence)
    else:
        _, numbers = cv2.connectedComponents(seeds.astype(np.uint8), connectivity=4)
    areas = np.bincount(numbers.ravel())
    areas[0] = 0
    is_seed = areas >= max(1, min(smallest, areas.max()))
    numbers = np.where(is_seed[numbers], numbers, 0)
    found, firsts = np.unique(numbers, return_index=True)
    order = [number for _, number in sorted(zip(firsts, found, strict=True)) if number]
    places = np.zeros(len(areas), np.int32)
    places[order] = np.arange(1, len(order) + 1)
    return places[numbers]


def _filled(objects: np.ndarray, foreground: np.ndarray, largest: float) -> np.ndarray:
    """Fills holes that lie in a single object and hold nothing of another component."""
    empty = np.pad(objects == 0, 1, constant_values=True)
    count, holes, rows, _ = cv2.connectedComponentsWithStats(
        empty.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    filled = objects.copy()
    around = np.pad(objects, 1)
    inside = np.pad(foreground & (objects == 0), 1)
    for number in range(1, count):
        left, top, width, height, area = rows[number].tolist()
        if area > largest or number == holes[0, 0]:
            continue
        window = slice(top - 1, top + height + 1), slice(left - 1, left + width + 1)
        hole = holes[window] == number
        edge = cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~hole
        owners = np.unique(around[window][edge])
        if len(owners) == 1 and owners[0] and not inside[window][hole].any():
            inner = slice(top - 1, top + height - 1), slice(left - 1, left + width - 1)
            np.copyto(filled[inner], owners[0], where=hole[1:-1, 1:-1])
    return filled
