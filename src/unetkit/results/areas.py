"""The area of each class in a predicted image, as a table."""

import csv
from pathlib import Path

import numpy as np

from unetkit._shared.files import write_atomically
from unetkit.data.classes import Classes
from unetkit.io.pixel_size import PixelSize
from unetkit.results.predicted_image import PredictedImage

COUNTED_PIXELS = 1 << 20  # counted at once
AREA_DIGITS = 10  # significant ones


def write_areas(file: Path, image: PredictedImage) -> None:
    """Writes a CSV of a row for each class: its pixels, their fraction, and their area.

    The fraction is that of the pixels with data. The area is in the units of a pixel's size, and
    left out where that is not known.
    """
    rows = area_rows(count_classes(image), image.classes, image.pixel_size)

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
    (height, width), counts = image.size, np.zeros(256, np.int64)
    rows = max(1, COUNTED_PIXELS // width)
    for top in range(0, height, rows):
        window = image.window(slice(top, min(top + rows, height)), slice(0, width))
        counts += np.bincount(window.labels.ravel(), minlength=256)
    return counts[: len(image.classes)]
