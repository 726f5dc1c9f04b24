"""The pictures worth looking at: the worst, the median and the best, kept beside the figures.

What is kept is small and needs neither the data nor the model: the picture as it is shown, and
truth and prediction as palette PNGs of class indices, all at one size.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from unetkit.classes import Classes
from unetkit.outputs import palette_picture, write_whole
from unetkit.plotting import Case, draw_cases
from unetkit.scale import IGNORE, resize_mask

WORST = 20
TYPICAL = 3  # of the best and of the median
LARGEST_KEPT = 640  # pixels a side
JPEG_QUALITY = 88
FOLDER = "cases"
PICTURE = "cases.png"


@dataclass(frozen=True)
class Place:
    """A picture's place among all: "worst", "median" or "best", and its number there from 1."""

    index: int
    label: str
    number: int

    @property
    def stem(self) -> str:
        """How its files' names begin."""
        return f"{self.label}-{self.number:02d}"


def choose_cases(scores: Sequence[float]) -> list[Place]:
    """The worst, the median and the best pictures, each once.

    Args:
        scores: Of each picture, higher is better; those that have none (nan) are left out.

    Returns:
        The best first, then the median, then the worst, the very worst being worst-01.

    >>> [place.stem for place in choose_cases([0.5, 0.9, 0.1])]
    ['best-01', 'median-01', 'worst-01']
    """
    order = [i for i in np.argsort(-np.asarray(scores, float)) if not np.isnan(scores[i])]
    if not order:
        return []
    count = max(1, min(TYPICAL, len(order) // 3))
    middle = (len(order) - count) // 2
    worst = min(WORST, len(order) - middle - count)
    ranks = {
        "best": range(count),
        "median": range(middle, middle + count),
        "worst": range(len(order) - 1, len(order) - 1 - worst, -1),
    }
    labels: dict[int, tuple[str, int]] = {}
    for label in ("best", "worst", "median"):
        for number, rank in enumerate(ranks[label], start=1):
            labels.setdefault(rank, (label, number))
    sides = sorted(labels.items(), key=lambda item: tuple(ranks).index(item[1][0]))
    return [Place(int(order[rank]), label, number) for rank, (label, number) in sides]


def write_cases(
    folder: Path, places: Sequence[Place], cases: Sequence[Case], classes: Classes
) -> list[dict[str, Any]]:
    """Writes the pictures of each case into `folder`/cases, and some of them as one cases.png.

    Returns:
        Where each lies: label, number, and file names within the folder.
    """
    shutil.rmtree(folder / FOLDER, ignore_errors=True)  # of an evaluation that is replaced
    (folder / FOLDER).mkdir(parents=True)
    rows = []
    for place, case in zip(places, cases, strict=True):
        names = {
            "image": f"{FOLDER}/{place.stem}-image.jpg",
            "truth": f"{FOLDER}/{place.stem}-truth.png",
            "prediction": f"{FOLDER}/{place.stem}-prediction.png",
        }
        size = _kept_size(case.truth.shape)
        photo = Image.fromarray(_shrink(case.image, size))
        write_whole(
            folder / names["image"], partial(photo.save, format="JPEG", quality=JPEG_QUALITY)
        )
        for kind, mask in (("truth", case.truth), ("prediction", case.prediction)):
            picture = _indexed(resize_mask(mask, *size), classes)
            write_whole(
                folder / names[kind], partial(picture.save, format="PNG", transparency=IGNORE)
            )
        rows.append({"label": place.label, "number": place.number, "size": list(size), **names})
    _draw_some(folder / PICTURE, places, cases, classes)
    return rows


def _draw_some(
    path: Path, places: Sequence[Place], cases: Sequence[Case], classes: Classes
) -> None:
    """As many of the worst as of the best, a row of each."""
    across = sum(place.label == "best" for place in places)
    shown = [case for place, case in zip(places, cases, strict=True) if place.number <= across]
    if shown:
        draw_cases(path, shown, classes, across=across)


def _indexed(mask: np.ndarray, classes: Classes) -> Image.Image:
    picture = palette_picture(mask, classes)
    # With a palette as short as the classes, Pillow writes too few bits to hold IGNORE.
    picture.putpalette((picture.getpalette() or []) + [0] * 3 * (256 - len(classes)))
    return picture


def _kept_size(size: tuple[int, ...]) -> tuple[int, int]:
    shrink = min(1.0, LARGEST_KEPT / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _shrink(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if photo.shape[:2] == size:
        return photo
    return cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA)
