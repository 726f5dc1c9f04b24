"""Labelled shapes drawn on an image, and the masks they fill.

A drawing is a pile of shapes; a shape is the union of its parts; a part is a set of rings filled by
the even-odd rule, so that a ring within a ring is a hole, or a run-length mask. Coordinates are
continuous: pixel (row, column) covers [row, row + 1) x [column, column + 1), and belongs to a part
when its centre does.

The fill is its own: the time of scikit-image's grows with pixels times edges, and Pillow and OpenCV
also fill a rim of pixels whose centres lie outside.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from unetkit.data.annotations.documents import refusal
from unetkit.errors import DataError

LARGEST_MASK = 2**28  # pixels of a run-length mask, each a byte when it is drawn
ELLIPSE_POINTS = 720  # the outline stays within 1e-5 of its radius
CROSSINGS_AT_ONCE = 2**22  # of outlines with rows; bounds the memory that an outline takes


@dataclass(frozen=True, eq=False)
class RunLengths:
    """A mask as the lengths of its runs: first of pixels outside, then inside, and so on.

    Args:
        counts: (N,) int64, their sum height times width.
        size: (height, width) of the mask.
        corner: (row, column) in the image of the mask's first pixel.
        by_column: Runs go down the columns (COCO); otherwise along the rows.
    """

    counts: np.ndarray
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    by_column: bool = False

    def decode(self) -> np.ndarray:
        """(H, W) bool, true inside.

        >>> RunLengths(np.array([1, 2, 1]), (2, 2)).decode()
        array([[False,  True],
               [ True, False]])
        """
        flat = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        return flat.reshape(self.size[::-1]).T if self.by_column else flat.reshape(self.size)


Rings = tuple[np.ndarray, ...]  # one or more (N, 2) float64 of (row, column), each closed by itself


@dataclass(frozen=True, eq=False)
class Shape:
    """One labelled region.

    Args:
        label: Name of its class.
        parts: The region is their union; each is rings under the even-odd rule, or a mask.
        group: Shapes of one drawing with equal label and group are pieces of one object.
        crowd: Several objects drawn as one (COCO's iscrowd).
    """

    label: str
    parts: tuple[Rings | RunLengths, ...]
    group: int | str | None = None
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class Drawing:
    """What is drawn on one image.

    Args:
        image: File name of the image as the annotation has it, its folders included, parted by
            forward slashes; "" where it names none.
        size: (height, width) of the image as the annotation says, or None.
        shapes: In drawing order: where two overlap, the later one is seen.
        source: The annotation file, for messages.
    """

    image: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    source: str = ""


def rasterise(drawing: Drawing, size: tuple[int, int], values: Mapping[str, int]) -> np.ndarray:
    """Fills the shapes of a drawing with the values of their labels.

    A centre exactly on an outline belongs to what lies right of the outline, or below it where the
    outline is level: shapes that share an edge neither overlap nor leave a gap.

    Args:
        size: (height, width) of the image; what reaches beyond it is cut off.
        values: Value of each label; 0 erases what lies below.

    Returns:
        (H, W) int32, 0 where nothing is drawn.

    Raises:
        DataError: The drawing is of an image of another size, or a label has no value.

    >>> square = np.array([[0, 0], [0, 2], [2, 2], [2, 0]], float)
    >>> rasterise(Drawing("", None, (Shape("cell", ((square,),)),)), (2, 3), {"cell": 7})
    array([[7, 7, 0],
           [7, 7, 0]], dtype=int32)
    """
    canvas = _blank(drawing, size)
    for shape in drawing.shapes:
        if shape.label not in values:
            raise DataError(
                f"{_origin(drawing)}: label {shape.label!r} is no class; accepted are "
                f"{', '.join(map(repr, values))}; add it to the classes or rename it"
            )
        _paint(canvas, shape, values[shape.label])
    return canvas


def rasterise_instances(
    drawing: Drawing, size: tuple[int, int], erasing: Collection[str] = ()
) -> np.ndarray:
    """Fills each object of a drawing with a number of its own; ties as in `rasterise`.

    Args:
        size: (height, width) of the image; what reaches beyond it is cut off.
        erasing: Labels that are no objects, but erase what lies below (a drawn background).

    Returns:
        (H, W) int32: 0 where nothing is drawn, -1 in crowds, else 1 to n in drawing order, equal
        for shapes of one group; an object that later ones hide whole keeps no pixel.

    Raises:
        DataError: The drawing is of an image of another size.
    """
    canvas = _blank(drawing, size)
    numbers: dict[tuple, int] = {}
    for index, shape in enumerate(drawing.shapes):
        if shape.label in erasing:
            _paint(canvas, shape, 0)
        elif shape.crowd:
            _paint(canvas, shape, -1)
        else:
            whole = (index,) if shape.group is None else (shape.label, shape.group)
            _paint(canvas, shape, numbers.setdefault(whole, len(numbers) + 1))
    return canvas


def run_lengths(counts: list, size: tuple[int, int]) -> RunLengths:
    """Checked run lengths.

    Raises:
        DataError: The mask is too large, or the counts do not sum to its size.
    """
    area = size[0] * size[1]
    if area > LARGEST_MASK:
        raise refusal("the size of a mask", size, f"are up to {LARGEST_MASK:,} pixels")
    sound = all(type(count) is int and 0 <= count <= area for count in counts)
    if not sound or sum(counts) != area:
        accepted = f"are whole numbers that sum to {size[0]} x {size[1]} = {area}"
        raise refusal("the list of run lengths", counts, accepted, "export it again")
    return RunLengths(np.array(counts, np.int64), size)


def mask_runs(mask: np.ndarray) -> RunLengths:
    """Run lengths of a mask, (H, W) bool.

    >>> mask_runs(np.array([[True, True, False]])).counts
    array([0, 2, 1])
    """
    flat = mask.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))  # the first run is outside, maybe empty
    return RunLengths(np.diff(changes, prepend=0, append=flat.size), mask.shape)


def coco_counts(text: str) -> list[int]:
    """Run lengths of COCO's compressed text.

    A number is digits of 5 bits, the lowest first, each in a character from "0" (48) on; bit 5 says
    that another digit follows, bit 4 of the last one that the number is negative. From the fourth
    number on, it is the difference to the run two before.

    Raises:
        DataError: A character is none of these, or a number is too long or breaks off.

    Source: cocoapi, `maskApi.c`, `rleFrString`.

    >>> coco_counts("132N")  # 1, 3, 2, and 3 - 2
    [1, 3, 2, 1]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            shift = 1  # as after a number that breaks off
            break
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise refusal("counts", text, "is COCO's compressed text", "export it again")
    return counts


def box(corners: np.ndarray) -> np.ndarray:
    """The ring of an upright box from two opposite corners, (2, 2)."""
    (r0, c0), (r1, c1) = corners
    return np.array([[r0, c0], [r0, c1], [r1, c1], [r1, c0]])


def ellipse(centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """The ring of an upright ellipse, from (row, column) of its centre and its radii along both."""
    angles = np.arange(ELLIPSE_POINTS) * (2 * math.pi / ELLIPSE_POINTS)
    return centre + np.stack([np.sin(angles), np.cos(angles)], axis=1) * radii


def turned(ring: np.ndarray, degrees: float) -> np.ndarray:
    """A ring turned about the mean of its points, clockwise as seen on the screen.

    >>> turned(np.array([[0.0, 0.0], [0.0, 4.0], [2.0, 4.0], [2.0, 0.0]]), 90).round()
    array([[-1.,  3.], [ 3.,  3.], [ 3.,  1.], [-1.,  1.]])
    """
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    middle = ring.mean(axis=0)
    return middle + (ring - middle) @ np.array([[cosine, -sine], [sine, cosine]])


def _origin(drawing: Drawing) -> str:
    return f"{drawing.source}: image {drawing.image!r}" if drawing.image else drawing.source


def _blank(drawing: Drawing, size: tuple[int, int]) -> np.ndarray:
    if drawing.size is not None and drawing.size != tuple(size):
        raise DataError(
            f"{_origin(drawing)} was annotated at {drawing.size[0]} x {drawing.size[1]} (height x "
            f"width) and the picture has {size[0]} x {size[1]}; accepted is the same size; use the "
            "picture that was annotated, upright and unscaled"
        )
    return np.zeros(size, np.int32)


def _paint(canvas: np.ndarray, shape: Shape, value: int) -> None:
    for part in shape.parts:
        if isinstance(part, RunLengths):
            inside, corner = part.decode(), np.array(part.corner)
            low, high = (np.clip(c, 0, canvas.shape) for c in (corner, corner + part.size))
            (top, left), (bottom, right) = low - corner, high - corner
            inside = inside[top:bottom, left:right]
        else:
            low, inside = _fill(part, canvas.shape)
        height, width = inside.shape
        canvas[low[0] : low[0] + height, low[1] : low[1] + width][inside] = value


def _fill(rings: Rings, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The even-odd rule, row by row: first pixel of a window, and (h, w) bool of what is inside.

    An edge crosses the centre line of each row that it spans; the first centre at or right of a
    crossing changes sides, and all that follow it. Time grows with crossings plus pixels.
    """
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    low = np.clip(np.floor(starts.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(starts.max(axis=0)), 0, size).astype(int)
    height, width = high - low
    changes = np.zeros((height, width + 1), np.uint8)  # may overflow: even stays even
    downwards = (starts[:, 0] <= ends[:, 0])[:, None]
    upper, lower = np.where(downwards, starts, ends), np.where(downwards, ends, starts)
    first = np.clip(np.ceil(upper[:, 0] - 0.5), low[0], high[0]).astype(int)
    spans = np.clip(np.ceil(lower[:, 0] - 0.5), low[0], high[0]).astype(int) - first
    step = max(1, CROSSINGS_AT_ONCE // max(1, height))
    for begin in range(0, len(spans), step):
        edges = np.arange(begin, min(begin + step, len(spans)))
        edge = np.repeat(edges, spans[edges])
        before = np.cumsum(spans[edges]) - spans[edges]  # crossings of the edges before each
        row = np.arange(len(edge)) + np.repeat(first[edges] - before, spans[edges])
        (r0, c0), (r1, c1) = upper[edge].T, lower[edge].T
        crossing = c0 + (row + 0.5 - r0) * ((c1 - c0) / (r1 - r0))
        column = np.clip(np.ceil(crossing - 0.5), low[1], high[1]).astype(int)
        np.add.at(changes, (row - low[0], column - low[1]), np.uint8(1))
    return low, np.cumsum(changes[:, :-1], axis=1, dtype=np.uint8) % 2 == 1
