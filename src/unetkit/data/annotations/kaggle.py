"""Read the run lengths of Kaggle's competitions: a CSV of many images, with a line for each object.

    ImageId,EncodedPixels
    a.jpg,3 2 12 4

Runs are pairs of a first pixel and a length. Kaggle counts pixels from 1 down the columns, other
programs along the rows or from 0: `data.run_order` finds that out. A line without runs is an image
without objects. A column of classes, or an image's name that ends in one ("a.jpg_2"),
gives the label.

Source: kaggle.com, "Airbus Ship Detection Challenge", "Severstal: Steel Defect Detection".
"""

import csv
import re
from collections import defaultdict
from typing import Any

import numpy as np

from unetkit.data.annotations.documents import refusal
from unetkit.data.annotations.polygons import (
    LARGEST_MASK,
    ImageAnnotation,
    RunLengths,
    Shape,
    ShapeCollector,
)
from unetkit.data.annotations.values import to_image_name, to_label
from unetkit.data.labels import OBJECT
from unetkit.errors import DataError

RUN_COLUMNS = ("encodedpixels", "rlemask", "rle", "maskrle")
IMAGE_COLUMNS = ("imageid", "id", "img", "image", "imagename", "filename", "file")
BOTH_COLUMNS = ("imageidclassid", "imagelabel")  # image and class
CLASS_COLUMNS = ("classid", "class", "label", "classname")
NO_RUNS = ("", "-1", "nan", "1 0")
_RUNS = re.compile(r"\d+ \d+(?: \d+ \d+)*")


def is_run_lengths(document: Any, suffix: str) -> bool:
    """Whether a text is a CSV of run lengths, by its first line."""
    if suffix != ".csv" or not isinstance(document, str):
        return False
    columns = _columns(document)
    return "runs" in columns and bool({"image", "both"} & columns.keys())


def _columns(document: str) -> dict[str, int]:
    """Positions of the columns that are read."""
    first = document.partition("\n")[0].strip()
    header = [re.sub(r"[^a-z]", "", name.lower()) for name in next(csv.reader([first]), [])]
    known = {"runs": RUN_COLUMNS, "image": IMAGE_COLUMNS, "both": BOTH_COLUMNS}
    found = {}
    for key, names in {**known, "class": CLASS_COLUMNS}.items():
        places = [header.index(name) for name in names if name in header]
        if places:
            found[key] = places[0]
    return found


def read_run_lengths(document: str) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the labels that occur, sorted, and one annotation for each image.

    Faults of lines without an image are in an annotation without an image name.

    Raises:
        DataError: The file is not CSV.
    """
    columns = _columns(document)
    unplaced = ShapeCollector()
    collectors: dict[str, ShapeCollector] = defaultdict(ShapeCollector)
    reader = csv.reader(document.splitlines()[1:])
    try:
        for row in reader:
            if row:
                _read_row(row, f"line {reader.line_num + 1}", columns, collectors, unplaced)
    except csv.Error as error:
        raise DataError(f"it cannot be read ({error}); accepted is undamaged CSV") from error
    found = [collector.collected(name, None) for name, collector in collectors.items()]
    if unplaced.problems:
        found.append(unplaced.collected("", None))
    return sorted({shape.label for each in found for shape in each.shapes}), found


def _read_row(
    row: list[str],
    place: str,
    columns: dict[str, int],
    collectors: dict[str, ShapeCollector],
    unplaced: ShapeCollector,
) -> None:
    with unplaced.reading(place):
        values = {key: row[index].strip() for key, index in columns.items() if index < len(row)}
        label = values.get("class") or OBJECT  # without a column of classes
        name = values.get("image", "")
        if "both" in values:
            name, _, label = values["both"].rpartition("_")
        if not to_image_name(name):
            raise refusal("the image", name, "is the name of a file")
        collector = collectors[name]
        with collector.reading(place):
            runs = values.get("runs", "")
            if runs.lower() not in NO_RUNS:
                collector.add(Shape(to_label(label), (_to_run_lengths(runs),)))


def _to_run_lengths(text: str) -> RunLengths:
    text = " ".join(text.split())
    if not _RUNS.fullmatch(text) or len(max(text.split(), key=len)) > 12:
        raise refusal("the list of runs", text, "are pairs of a first pixel and a length")
    starts, lengths = np.array(text.split(), np.int64).reshape(-1, 2).T
    order = np.argsort(starts, kind="stable")
    starts, lengths = starts[order], lengths[order]
    ends = starts + lengths
    gaps = np.diff(starts, prepend=0)
    gaps[1:] = starts[1:] - ends[:-1]
    if (gaps < 0).any() or not lengths.all() or ends[-1] > LARGEST_MASK:
        raise refusal("the list of runs", text, "are runs within the image that do not overlap")
    return RunLengths(np.stack([gaps, lengths], axis=1).ravel(), None)
