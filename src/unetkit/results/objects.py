"""Objects of a predicted image: their numbers at each pixel, and a table of their measures.

An image in memory and one larger than memory take the same way: its prediction is read by windows,
`objects.components` finds the objects in it, and each is written as soon as it is found. Only a few
rows and one connected region are in memory.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from unetkit._shared.memory_budget import MIB
from unetkit.errors import SizeError
from unetkit.io.pixel_size import PixelSize
from unetkit.objects.components import Component, FoundObjects, find_objects
from unetkit.objects.measures import Measures, measure_objects
from unetkit.objects.separation import HALO, SeparationMaps
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.results.predicted_image import ImageObjects, PredictedImage

BAND_PIXELS = 1 << 22  # read at once
# Of a region's box while it is separated: lists of the watershed, with a seed in every tenth pixel.
BYTES_PER_PIXEL = 300
NUMBERS_FILE, TABLE_FILE = ".objects", ".objects.csv"  # while an image is predicted
TABLE_DIGITS = 10  # significant ones of a measure in a table
OBJECT_COLUMNS = (
    *("label", "class", "area", "row", "column", "top", "left", "bottom", "right"),
    *("perimeter", "major_axis", "minor_axis", "orientation"),
)


def with_objects(
    image: PredictedImage,
    folder: Path,
    most_bytes: int,
    *,
    on_disk: bool = False,
) -> PredictedImage:
    """Finds the objects of an image, and writes their numbers and their table.

    Args:
        image: The predicted image.
        folder: Folder for the table, and for the numbers of objects if they are on disk.
        most_bytes: Memory for the largest connected region.
        on_disk: Whether the numbers of objects are in a file instead of memory.

    Returns:
        The image with its objects, numbered from 1 up.

    Raises:
        SizeError: A connected region needs more memory.
    """
    labels = (
        np.memmap(folder / NUMBERS_FILE, np.uint32, "w+", shape=image.size)
        if on_disk
        else np.zeros(image.size, np.uint32)
    )
    table = folder / TABLE_FILE
    found: list[int] = []  # class of each object
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        size = image.pixel_size
        intensities = channel_columns(image.source.shape[2])
        writer.writerow([*OBJECT_COLUMNS, *intensities, *physical_columns(size)])
        for part in _find(image, most_bytes):
            classes = image.window(*part.box).labels
            part.objects[classes == NODATA_LABEL] = 0  # a filled hole may lack data
            inside = part.objects > 0
            labels[part.box][inside] = part.objects[inside] + len(found)
            origin = part.box[0].start, part.box[1].start
            measures = measure_objects(part.objects, image.source.read(*part.box), origin)
            majorities = _majorities(part, classes, image.classes.background or 0)
            for one, index in zip(measures, majorities, strict=True):
                found.append(index)
                row = _row(len(found), image.classes.names[index], one)
                writer.writerow([*row, *_physical(one, size)])
    if isinstance(labels, np.memmap):
        labels.flush()  # for other processes that read it
    return replace(image, objects=ImageObjects(labels, table, len(found), tuple(found)))


def with_found_objects(image: PredictedImage, folder: Path, count: int) -> PredictedImage:
    """The image with the objects that `with_objects` wrote to the disk, perhaps in another process.

    Args:
        image: The predicted image.
        folder: Folder that `with_objects` was given.
        count: Number of objects that it found.
    """
    labels = np.memmap(folder / NUMBERS_FILE, np.uint32, "r", shape=image.size)
    return replace(image, objects=ImageObjects(labels, folder / TABLE_FILE, count))


def channel_columns(channels: int) -> list[str]:
    """Names of the columns with intensities.

    >>> channel_columns(1), channel_columns(2)[:2]
    (['mean', 'sum'], ['mean_0', 'sum_0'])
    """
    ends = [""] if channels == 1 else [f"_{channel}" for channel in range(channels)]
    return [f"{name}{end}" for end in ends for name in ("mean", "sum")]


def physical_columns(size: PixelSize | None) -> list[str]:
    """Names of the columns with physical units.

    >>> physical_columns(PixelSize(0.65, "um"))
    ['area_um2', 'perimeter_um', 'major_axis_um', 'minor_axis_um']
    """
    if size is None:
        return []
    lengths = (f"{name}_{size.unit}" for name in ("perimeter", "major_axis", "minor_axis"))
    return [f"area_{size.unit}2", *lengths]


def _physical(measures: Measures, size: PixelSize | None) -> list[float]:
    if size is None:
        return []
    lengths = measures.perimeter, measures.major_axis, measures.minor_axis
    return [
        _rounded(measures.area * size.side**2),
        *(_rounded(length * size.side) for length in lengths),
    ]


def _find(image: PredictedImage, most_bytes: int) -> Iterator[FoundObjects]:
    spec = image.spec
    height, width = image.size

    def read(rows: slice, columns: slice) -> SeparationMaps:
        top, left = max(0, rows.start - HALO), max(0, columns.start - HALO)
        outer = (
            slice(top, min(height, rows.stop + HALO)),
            slice(left, min(width, columns.stop + HALO)),
        )
        maps = image.window(*outer).separation_maps
        inner = (
            slice(side.start - start, side.stop - start)
            for side, start in ((rows, top), (columns, left))
        )
        return maps.window(*inner)

    return find_objects(
        read,
        image.size,
        spec.objects,
        band_rows=max(1, BAND_PIXELS // width),
        require_fits=partial(_require_fits, most_bytes=most_bytes),
        pixel_area=spec.scale.pixel_area(image.size),
    )


def _require_fits(component: Component, most_bytes: int) -> None:
    height, width = component.size
    needed = height * width * BYTES_PER_PIXEL
    if needed > most_bytes:
        raise SizeError(
            f"a connected region of objects has {height}x{width} pixels (rows {component.top} to "
            f"{component.bottom}, columns {component.left} to {component.right}), which take "
            f"{needed / MIB:,.0f} MiB to separate; accepted are up to {most_bytes / MIB:,.0f} "
            "MiB; allow more with --memory"
        )


def _majorities(part: FoundObjects, labels: np.ndarray, background: int) -> list[int]:
    """The class of most pixels of each object; the background and gaps have no vote."""
    votes = np.zeros((part.count + 1, NODATA_LABEL + 1), np.int64)
    np.add.at(votes, (part.objects, labels), 1)
    votes[:, [background, NODATA_LABEL]] = 0
    found: list[int] = votes[1:].argmax(axis=1).tolist()
    return found


def _row(number: int, name: str, measures: Measures) -> list[str | int | float]:
    intensities = [
        value for pair in zip(measures.means, measures.sums, strict=True) for value in pair
    ]
    shape = (measures.perimeter, measures.major_axis, measures.minor_axis, measures.orientation)
    return [
        *(number, name, measures.area),
        *map(_rounded, measures.centroid),
        *measures.box,
        *map(_rounded, (*shape, *intensities)),
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.{TABLE_DIGITS}g}")
