"""Labelled shapes of an image, and how they become masks.

An annotation is a list of shapes, later ones on top of earlier ones. A shape is the union of its
parts. A part is a run-length mask, or a set of rings filled by the even-odd rule, so that a ring
within a ring is a hole. Coordinates are continuous: pixel (row, column) covers [row, row + 1) x
[column, column + 1), and belongs to a part if its centre does.

Polygons are filled here because the time of scikit-image's fill grows with pixels times edges, and
because Pillow and OpenCV also fill pixels along the outline whose centres lie outside.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from unetkit.data.annotations.documents import OutlineError, at, refusal
from unetkit.errors import DataError
from unetkit.io.parts import Block

LARGEST_MASK = 2**28  # pixels of a run-length mask, each a byte when it is decoded
ELLIPSE_POINTS = 720  # enough for an outline within 1e-5 of the radius
CROSSINGS_AT_ONCE = 2**22  # of edges with rows; bounds the memory for one outline


@dataclass(frozen=True, eq=False)
class RunLengths:
    """A mask as lengths of runs, alternately of pixels outside and inside, outside first.

    Args:
        counts: Run lengths in pixels, (N,) int64; their sum is height times width.
        size: (height, width) of the mask; None if it is that of the image, and the last run of
            pixels outside is not in `counts`.
        corner: (row, column) of the mask's first pixel in the image.
        by_column: Whether runs go down the columns (COCO) instead of along the rows.

    Runs without a size are as in a file that does not say how their pixels are counted: `counted`
    has to be told, before `of_image` gives them a size.
    """

    counts: np.ndarray
    size: tuple[int, int] | None
    corner: tuple[int, int] = (0, 0)
    by_column: bool = False

    def decode(self) -> np.ndarray:
        """Returns the mask as (H, W) bool, true inside.

        >>> RunLengths(np.array([1, 2, 1]), (2, 2)).decode()
        array([[False,  True],
               [ True, False]])
        """
        if self.size is None:
            raise ValueError("the size is that of an image, which is not known yet")
        flat = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        return flat.reshape(self.size[::-1]).T if self.by_column else flat.reshape(self.size)

    def counted(self, order: str, first: int) -> "RunLengths":
        """Returns the same runs with the order of their pixels, if they have no size.

        Args:
            order: "column" if they go down the columns, "row" if along the rows.
            first: Number of the first pixel, 0 or 1.

        Raises:
            DataError: The first run begins before the first pixel.
        """
        if self.size is not None:
            return self
        if self.counts[0] < first:
            accepted = f"are numbers from {first}"
            raise refusal("the first pixel of a run", int(self.counts[0]), accepted)
        counts = self.counts.copy()
        counts[0] -= first
        return replace(self, counts=counts, by_column=order == "column")

    def of_image(self, size: tuple[int, int]) -> "RunLengths":
        """Returns the same runs with the size of the image, if they have none.

        Raises:
            DataError: The runs go beyond the image.
        """
        if self.size is not None:
            return self
        rest = size[0] * size[1] - int(self.counts.sum())
        if rest < 0:
            accepted = f"is at most {size[0]} x {size[1]} = {size[0] * size[1]}"
            raise refusal("the end of the last run", size[0] * size[1] - rest, accepted)
        return replace(self, counts=np.append(self.counts, rest), size=size)


Rings = tuple[np.ndarray, ...]  # one or more outlines, each (N, 2) float64 of (row, column)


@dataclass(frozen=True, eq=False)
class Shape:
    """One labelled region.

    Args:
        label: Name of the class.
        parts: Rings or masks whose union is the region.
        group: Number or name that shapes of one object have in common, together with their label;
            None for a shape that is an object by itself.
        crowd: Whether the shape covers several objects (COCO's iscrowd).
    """

    label: str
    parts: tuple[Rings | RunLengths, ...]
    group: int | str | None = None
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class ImageAnnotation:
    """All shapes of one image.

    Args:
        image: File name of the image as the annotation file has it, including folders, separated by
            forward slashes; "" if the file names no image.
        size: (height, width) of the image according to the annotation file, or None.
        shapes: Shapes from bottom to top: where two overlap, the later one is visible.
        source: Path of the annotation file, for messages.
        left_out: Descriptions of shapes, or parts of shapes, that have no area and are left out.
        problems: Reasons why the shapes of this image cannot be read completely.
        overlap: Number of pixels that objects in several mask files have in common.
        is_relative: Whether coordinates are fractions of the image's height and width.
        block: The part of the image that is filled; None for all of it. Coordinates and `size` are
            those of the whole image.
    """

    image: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    source: str = ""
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    overlap: int = 0
    is_relative: bool = False
    block: Block | None = None

    def counted(self, order: str, first: int) -> "ImageAnnotation":
        """Returns the annotation with the order of the pixels of runs that do not say it.

        Raises:
            DataError: A run begins before the first pixel.
        """
        shapes = []
        for shape in self.shapes:
            parts = (
                part.counted(order, first) if isinstance(part, RunLengths) else part
                for part in shape.parts
            )
            shapes.append(replace(shape, parts=tuple(parts)))
        return replace(self, shapes=tuple(shapes))

    def cut(self, block: Block | None) -> "ImageAnnotation":
        """Returns the annotation of a block; the first block has what is left out of the whole."""
        if block is None or (block.row, block.column) == (0, 0):
            return replace(self, block=block)
        return replace(self, block=block, left_out=(), overlap=0)


class ShapeCollector:
    """Collects the shapes of one image while its annotation file is read.

    A shape without an area fills no pixel, so it is left out by itself. Any other fault may hide an
    object, so it makes the whole image unusable. Neither affects other images of the file.

    Attributes:
        shapes: Shapes that can be filled.
        left_out: Descriptions of shapes, or parts of shapes, that have no area.
        problems: Descriptions of all other faults.
    """

    def __init__(self) -> None:
        self.shapes: list[Shape] = []
        self.left_out: list[str] = []
        self.problems: list[str] = []

    @contextmanager
    def reading(self, place: str) -> Iterator[None]:
        """Keeps errors that are raised within, with their place in the file."""
        try:
            with at(place):
                yield
        except OutlineError as error:
            self.left_out.append(str(error))
        except DataError as error:
            self.problems.append(str(error))

    def add(self, shape: Shape) -> None:
        """Adds those parts of a shape that have an area.

        Raises:
            OutlineError: The shape has no part, or a part of it has no area.
        """
        parts: list[Rings | RunLengths] = []
        flat: list[np.ndarray] = []
        for part in shape.parts:
            if isinstance(part, RunLengths):
                parts.append(part)
                continue
            flat += [ring for ring in part if not _has_area(ring)]
            rings = tuple(ring for ring in part if _has_area(ring))
            if rings:
                parts.append(rings)
        if parts:
            self.shapes.append(replace(shape, parts=tuple(parts)))
        if flat:
            points = f"{len(flat[0])} {'point' if len(flat[0]) == 1 else 'points'}"
            raise OutlineError(f"its outline of {points} encloses no area")
        if not parts:
            raise OutlineError("it has no outline")

    def collected(
        self, image: str, size: tuple[int, int] | None, is_relative: bool = False
    ) -> ImageAnnotation:
        """Returns the annotation of an image of this name and (height, width)."""
        return ImageAnnotation(
            image,
            size,
            tuple(self.shapes),
            left_out=tuple(self.left_out),
            problems=tuple(self.problems),
            is_relative=is_relative,
        )


def _has_area(ring: np.ndarray) -> bool:
    """Whether not all points of a ring are on one line."""
    if len(ring) < 3:
        return False
    sides = ring - ring[0]
    longest = sides[np.argmax((sides**2).sum(axis=1))]
    return bool((sides[:, 0] * longest[1] != sides[:, 1] * longest[0]).any())


def rasterise(
    annotation: ImageAnnotation, size: tuple[int, int], values: Mapping[str, int]
) -> np.ndarray:
    """Fills the shapes of an image with the values of their labels.

    A pixel centre exactly on an outline belongs to the region to the right of the outline, or below
    it where the outline is horizontal: shapes that share an edge neither overlap nor leave a gap.

    Args:
        annotation: Shapes of the image.
        size: (height, width) of the image or its block; shapes are clipped to it.
        values: Value of each label; 0 erases the shapes below.

    Returns:
        (H, W) int32, 0 outside all shapes.

    Raises:
        DataError: The annotation is of an image of another size, or a label has no value.

    >>> square = np.array([[0, 0], [0, 2], [2, 2], [2, 0]], float)
    >>> annotation = ImageAnnotation("", None, (Shape("cell", ((square,),)),))
    >>> rasterise(annotation, (2, 3), {"cell": 7})
    array([[7, 7, 0],
           [7, 7, 0]], dtype=int32)
    """
    canvas = _blank(annotation, size)
    for shape in _placed_shapes(annotation, size):
        if shape.label not in values:
            raise DataError(
                f"{_origin(annotation)}: label {shape.label!r} is no class; accepted are "
                f"{', '.join(map(repr, values))}; add it to the classes or rename it"
            )
        _paint(canvas, shape, values[shape.label])
    return canvas


def rasterise_instances(
    annotation: ImageAnnotation,
    size: tuple[int, int],
    erasing: Collection[str] = (),
    ignored: Collection[str] = (),
) -> np.ndarray:
    """Fills each object of an image with its own number; ties are resolved as in `rasterise`.

    Args:
        annotation: Shapes of the image.
        size: (height, width) of the image or its block; shapes are clipped to it.
        erasing: Labels whose shapes are not objects, but erase the shapes below (background).
        ignored: Labels whose shapes are not objects, but of pixels that do not count.

    Returns:
        (H, W) int32: 0 outside all shapes, -1 in crowds and where pixels do not count, else 1 to n
        in the order of the shapes.
        Shapes of one group have one number; an object that is hidden completely has no pixel.

    Raises:
        DataError: The annotation is of an image of another size.
    """
    canvas = _blank(annotation, size)
    numbers: dict[tuple, int] = {}
    for index, shape in enumerate(_placed_shapes(annotation, size)):
        if shape.label in erasing:
            _paint(canvas, shape, 0)
        elif shape.crowd or shape.label in ignored:
            _paint(canvas, shape, -1)
        else:
            owner = (index,) if shape.group is None else (shape.label, shape.group)
            _paint(canvas, shape, numbers.setdefault(owner, len(numbers) + 1))
    return canvas


def to_run_lengths(counts: list, size: tuple[int, int]) -> RunLengths:
    """Returns run lengths, after checking them.

    Args:
        counts: Run lengths in pixels, from a file.
        size: (height, width) of the mask.

    Raises:
        DataError: The mask is larger than LARGEST_MASK, or the counts do not sum to its area.
    """
    area = size[0] * size[1]
    if area > LARGEST_MASK:
        raise refusal("the size of a mask", size, f"are up to {LARGEST_MASK:,} pixels")
    sound = all(type(count) is int and 0 <= count <= area for count in counts)
    if not sound or sum(counts) != area:
        accepted = f"are whole numbers that sum to {size[0]} x {size[1]} = {area}"
        raise refusal("the list of run lengths", counts, accepted, "export it again")
    return RunLengths(np.array(counts, np.int64), size)


def encode_run_lengths(mask: np.ndarray) -> RunLengths:
    """Returns the run lengths of a mask, (H, W) bool.

    >>> encode_run_lengths(np.array([[True, True, False]])).counts
    array([0, 2, 1])
    """
    flat = mask.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))  # the first run may be empty
    return RunLengths(np.diff(changes, prepend=0, append=flat.size), mask.shape)


def box(corners: np.ndarray) -> np.ndarray:
    """Returns the ring of an upright box, (4, 2), from two opposite corners, (2, 2)."""
    (r0, c0), (r1, c1) = corners
    return np.array([[r0, c0], [r0, c1], [r1, c1], [r1, c0]])


def ellipse(centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Returns the ring of an upright ellipse, (N, 2), from its centre and its radii, (2,) each."""
    angles = np.arange(ELLIPSE_POINTS) * (2 * math.pi / ELLIPSE_POINTS)
    return centre + np.stack([np.sin(angles), np.cos(angles)], axis=1) * radii


def rotate_ring(ring: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates a ring, (N, 2), about the mean of its points, clockwise on the screen.

    >>> rotate_ring(np.array([[0.0, 0.0], [0.0, 4.0], [2.0, 4.0], [2.0, 0.0]]), 90).round()
    array([[-1.,  3.], [ 3.,  3.], [ 3.,  1.], [-1.,  1.]])
    """
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    middle = ring.mean(axis=0)
    return middle + (ring - middle) @ np.array([[cosine, -sine], [sine, cosine]])


def _origin(annotation: ImageAnnotation) -> str:
    return (
        f"{annotation.source}: image {annotation.image!r}"
        if annotation.image
        else annotation.source
    )


def _blank(annotation: ImageAnnotation, size: tuple[int, int]) -> np.ndarray:
    whole = tuple(size) if annotation.block is None else annotation.block.image_size
    if annotation.size is not None and annotation.size != whole:
        raise DataError(
            f"{_origin(annotation)} was annotated at {annotation.size[0]} x {annotation.size[1]} "
            f"(height x width) and the image has {whole[0]} x {whole[1]}; accepted is the same "
            "size; use the image that was annotated, not rotated or resized"
        )
    return np.zeros(size, np.int32)


def _placed_shapes(annotation: ImageAnnotation, size: tuple[int, int]) -> Iterator[Shape]:
    """Shapes in pixels of an image of this size, from the first pixel of its block on."""
    block = annotation.block
    whole = size if block is None else block.image_size
    first = (0, 0) if block is None else (block.row, block.column)
    for shape in annotation.shapes:
        parts: list[Rings | RunLengths] = []
        with at(_origin(annotation)):
            for part in shape.parts:
                if isinstance(part, RunLengths):
                    top, left = part.corner
                    corner = (top - first[0], left - first[1])
                    parts.append(replace(part.of_image(whole), corner=corner))
                else:
                    scale = whole if annotation.is_relative else (1, 1)
                    parts.append(tuple(ring * scale - first for ring in part))
        yield replace(shape, parts=tuple(parts))


def _paint(canvas: np.ndarray, shape: Shape, value: int) -> None:
    for part in shape.parts:
        if isinstance(part, RunLengths):
            inside, corner = part.decode(), np.array(part.corner)
            low, high = (np.clip(c, 0, canvas.shape) for c in (corner, corner + inside.shape))
            (top, left), (bottom, right) = low - corner, high - corner
            inside = inside[top:bottom, left:right]
        else:
            low, inside = _fill(part, canvas.shape)
        height, width = inside.shape
        canvas[low[0] : low[0] + height, low[1] : low[1] + width][inside] = value


def _fill(rings: Rings, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Fills rings by the even-odd rule; returns the first pixel of a window, and its (h, w) bool.

    An edge crosses the centre line of each row that it spans. The first pixel centre at or right of
    a crossing changes sides, and so do all that follow it. Time grows with crossings plus pixels.
    """
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    low = np.clip(np.floor(starts.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(starts.max(axis=0)), 0, size).astype(int)
    height, width = high - low
    changes = np.zeros(
        (height, width + 1), np.uint8
    )  # overflow does not change whether a count is even
    downwards = (starts[:, 0] <= ends[:, 0])[:, None]
    upper, lower = np.where(downwards, starts, ends), np.where(downwards, ends, starts)
    first = np.clip(np.ceil(upper[:, 0] - 0.5), low[0], high[0]).astype(int)
    spans = np.clip(np.ceil(lower[:, 0] - 0.5), low[0], high[0]).astype(int) - first
    step = max(1, CROSSINGS_AT_ONCE // max(1, height))
    for begin in range(0, len(spans), step):
        edges = np.arange(begin, min(begin + step, len(spans)))
        edge = np.repeat(edges, spans[edges])
        before = np.cumsum(spans[edges]) - spans[edges]  # crossings of all edges before each
        row = np.arange(len(edge)) + np.repeat(first[edges] - before, spans[edges])
        (r0, c0), (r1, c1) = upper[edge].T, lower[edge].T
        crossing = c0 + (row + 0.5 - r0) * ((c1 - c0) / (r1 - r0))
        column = np.clip(np.ceil(crossing - 0.5), low[1], high[1]).astype(int)
        np.add.at(changes, (row - low[0], column - low[1]), np.uint8(1))
    return low, np.cumsum(changes[:, :-1], axis=1, dtype=np.uint8) % 2 == 1
