"""The area of each class in a predicted image, as a table."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unetkit._shared.files import write_atomically
from unetkit.data.classes import Classes
from unetkit.io.pixel_size import PixelSize
from unetkit.results.predicted_image import PredictedImage

COUNTED_PIXELS = 1 << 20  # counted at once
AREA_DIGITS = 10  # significant ones
UNCERTAINTY_LEVELS, MEAN_DIGITS = 1 << 20, 6


def write_areas(file: Path, image: PredictedImage) -> None:
    """Writes a CSV of a row for each class: its pixels, their fraction, and their area.

    The fraction is that of the pixels with data. The area is in the units of a pixel's size, and
    left out where that is not known. Where uncertainty is written, its mean over the pixels of each
    class is in the table, too.
    """
    rows = area_rows(count_classes(image), image.classes, image.pixel_size)
    if image.has_uncertainty:
        for row, mean in zip(rows, mean_uncertainties(image), strict=True):
            row["uncertainty"] = "" if mean is None else mean

    def write(part: Path) -> None:
        with open(part, "w", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(file, write)


def area_rows(
    counts: np.ndarray, classes: Classes, size: PixelSize | None
) -> list[dict[str, str | int | float]]:
    """The rows of the table, from the number of pixels of each class, (K,) integers."""
    total = max(1, int(counts.sum()))
    rows: list[dict[str, str | int | float]] = []
    for name, count in zip(classes.names, counts.tolist(), strict=True):
        row = {"class": name, "pixels": count, "fraction": round(count / total, 6)}
        if size is not None:
            row[f"area_{size.unit}2"] = float(f"{count * size.side**2:.{AREA_DIGITS}g}")
        rows.append(row)
    return rows


def count_classes(image: PredictedImage) -> np.ndarray:
    """Number of pixels of each class, (K,) int64, counted by windows."""
    counts = np.zeros(256, np.int64)
    for window in _bands(image):
        counts += np.bincount(window.labels.ravel(), minlength=256)
    return counts[: len(image.classes)]


def mean_uncertainties(image: PredictedImage) -> list[float | None]:
    """Mean uncertainty of the pixels of each class, from 0 to 1; None for a class without any."""
    counts, sums = np.zeros(256), np.zeros(256)
    for window in _bands(image):
        labels = window.labels.ravel()
        levels = np.rint(np.nan_to_num(window.uncertainty).ravel() * UNCERTAINTY_LEVELS)
        counts += np.bincount(labels, minlength=256)
        sums += np.bincount(labels, levels, 256)  # of whole numbers: the same in any bands
    return [
        round(total / UNCERTAINTY_LEVELS / count, MEAN_DIGITS) if count else None
        for total, count in zip(sums, counts[: len(image.classes)].tolist(), strict=False)
    ]


def _bands(image: PredictedImage) -> Iterator[PredictedImage]:
    """The image in bands of rows."""
    height, width = image.size
    rows = max(1, COUNTED_PIXELS // width)
    for top in range(0, height, rows):
        yield image.window(slice(top, min(top + rows, height)), slice(0, width))
