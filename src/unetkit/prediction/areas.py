"""The area of each class in a predicted image, as a table."""

import csv
from pathlib import Path

import numpy as np

from unetkit._shared.files import write_atomically
from unetkit.prediction.predicted_image import PredictedImage

COUNTED_PIXELS = 1 << 20  # counted at once
AREA_DIGITS = 10  # significant ones


def write_areas(file: Path, image: PredictedImage) -> None:
    """Writes a CSV of a row for each class: its pixels, their fraction, and their area.

    The fraction is that of the pixels with data. The area is in the units of a pixel's size, and
    left out where that is not known.
    """
    counts = count_classes(image)
    size, total = image.pixel_size, max(1, int(counts.sum()))
    columns = ["class", "pixels", "fraction", *([] if size is None else [f"area_{size.unit}2"])]

    def write(part: Path) -> None:
        with open(part, "w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(columns)
            for name, count in zip(image.classes.names, counts.tolist(), strict=True):
                area = [] if size is None else [f"{count * size.side**2:.{AREA_DIGITS}g}"]
                writer.writerow([name, count, f"{count / total:.6f}", *area])

    write_atomically(file, write)


def count_classes(image: PredictedImage) -> np.ndarray:
    """Number of pixels of each class, (K,) int64, counted by windows."""
    (height, width), counts = image.size, np.zeros(256, np.int64)
    rows = max(1, COUNTED_PIXELS // width)
    for top in range(0, height, rows):
        window = image.window(slice(top, min(top + rows, height)), slice(0, width))
        counts += np.bincount(window.labels.ravel(), minlength=256)
    return counts[: len(image.classes)]
