"""How the pixels of Kaggle's run lengths are counted, where the file does not say: its runs tell.

The runs of an object follow one another at the distance of a column, or of a row; if images are not
square, the distance tells which. A run that is an object's at the edge of the image begins or ends
with a column (or row); counted from a wrong first pixel, it would cross into the next one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unetkit.data.annotations.formats import annotation_format
from unetkit.data.annotations.polygons import ImageAnnotation, RunLengths
from unetkit.data.masks import find_annotation
from unetkit.data.pairs import Pair
from unetkit.data.sources import Sources
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.images import ImageFile
from unetkit.io.parts import size_of

MOST_SAMPLED = 200  # images whose runs are looked at
NEAR = 0.2  # of a column or row: how much the beginning of runs may differ from one to the next
MOST_OTHERS = 0.5  # runs at the other distance, as a fraction of those at the one that is chosen

_Sized = tuple[ImageAnnotation, tuple[int, int]]


def with_run_order(pairs: Sequence[Pair], sources: Sources) -> tuple[list[Pair], str]:
    """Returns pairs that know how the runs of their masks are counted, and a description of it.

    Args:
        pairs: Pairs; those whose mask is in a file of run lengths get `runs`.
        sources: What the user says of the runs.

    Raises:
        DataError: The runs do not tell their order, and the user does not either.
    """
    files = dict.fromkeys(pair.mask for pair in pairs if pair.mask.suffix.lower() == ".csv")
    rules: dict[Path, tuple[str, int]] = {}
    for file in files:
        if annotation_format(file) == "kaggle":
            found = list(
                _annotations_of([pair for pair in pairs if pair.mask == file][:MOST_SAMPLED])
            )
            has_runs = any(annotation.shapes for annotation, _ in found)
            order = sources.run_order or (find_order(found) if has_runs else "column")
            if order is None:
                raise DataError(
                    f"{file} has runs of pixels, and neither its runs nor the sizes of the images "
                    "tell whether they go down the columns or along the rows; accepted is either, "
                    "if it is given; use --run-order column if they go down the columns, as in "
                    "Kaggle's competitions, or --run-order row"
                )
            first = sources.first_pixel
            rules[file] = order, find_first_pixel(found, order) if first is None else first
    if not rules:
        return list(pairs), ""
    told = [replace(p, runs=rules[p.mask]) if p.mask in rules else p for p in pairs]
    order, first = next(iter(rules.values()))
    ways = {"column": "down the columns", "row": "along the rows"}
    return told, f" (runs {ways[order]}, the first pixel is {first})"


def _annotations_of(pairs: Iterable[Pair]) -> Iterable[_Sized]:
    for pair in pairs:
        try:
            annotation = find_annotation(pair.source)
            with ImageFile(pair.image) as file:
                yield annotation, size_of(file, pair.page)
        except (DataError, DataNotFoundError):  # reading the pair will raise the error
            continue


def find_order(annotations: Iterable[_Sized]) -> str | None:
    """Returns whether runs go down the columns ("column") or along the rows ("row").

    Args:
        annotations: Annotations with runs as they are in the file, each with (height, width).

    Returns:
        The order; None if the runs do not tell.
    """
    counts = {"column": 0, "row": 0}
    for annotation, (height, width) in annotations:
        if height == width:
            continue
        for starts, _ in _runs_of(annotation):
            distances = np.diff(starts)
            down, along = np.abs(distances - height), np.abs(distances - width)
            counts["column"] += int(((down < along) & (down <= NEAR * height)).sum())
            counts["row"] += int(((along < down) & (along <= NEAR * width)).sum())
    best, other = sorted(counts, key=lambda order: -counts[order])
    return best if counts[other] < MOST_OTHERS * counts[best] else None


def find_first_pixel(annotations: Iterable[_Sized], order: str) -> int:
    """Returns the number of the first pixel, 0 or 1; 1, as in Kaggle, if the runs do not tell.

    Args:
        annotations: Annotations with runs as they are in the file, each with (height, width).
        order: "column" or "row".
    """
    crossings = {0: 0, 1: 0}
    for annotation, (height, width) in annotations:
        length = height if order == "column" else width
        for starts, lengths in _runs_of(annotation):
            for first in crossings:
                begins = starts - first
                if (begins < 0).any():
                    return 0
                if (begins + lengths > height * width).any():
                    return 1
                crossings[first] += int((begins % length + lengths > length).sum())
    return 0 if crossings[0] < crossings[1] else 1


def _runs_of(annotation: ImageAnnotation) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """First pixel, as in the file, and length of the runs of each shape."""
    for shape in annotation.shapes:
        for part in shape.parts:
            if isinstance(part, RunLengths) and part.size is None:
                ends = np.cumsum(part.counts)
                yield ends[0::2][: len(part.counts) // 2], part.counts[1::2]
