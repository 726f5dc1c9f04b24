"""The pictures worth looking at: the worst, the median and the best, kept beside the figures.

What is kept is small and needs neither the data nor the model: the picture as it is shown, and
truth and prediction as palette PNGs of class indices, all at one size.
"""

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from unetkit.data.classes import Classes
from unetkit.data.scale import IGNORE, resize_mask
from unetkit.errors import OutputExistsError
from unetkit.visualization.figures import Example, draw_examples
from unetkit.visualization.overlays import palette_image

WORST = 20
TYPICAL = 3  # of the best and of the median
LARGEST_KEPT = 640  # pixels a side
JPEG_QUALITY = 88
FOLDER = "cases"
EXAMPLE_FILE = re.compile(r"(best|median|worst)-\d+-(image\.jpg|(truth|prediction)\.png)")
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


def choose_examples(scores: Sequence[float]) -> list[Place]:
    """The worst, the median and the best pictures, each once.

    Args:
        scores: Of each picture, higher is better; those that have none (nan) are left out.

    Returns:
        The best first, then the median, then the worst, the very worst being worst-01.

    >>> [place.stem for place in choose_examples([0.5, 0.9, 0.1])]
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


def write_examples(
    folder: Path, places: Sequence[Place], cases: Iterable[Example], classes: Classes
) -> list[dict[str, Any]]:
    """Writes the pictures of each case into `folder`, and some of them as one cases.png.

    Cases are taken one by one and shrunk at once, so that large ones need not all be in memory.

    Args:
        folder: New or empty; see `put_in_place`.

    Returns:
        Where each lies: label, number, (height, width), and file names as they will be.
    """
    (folder / FOLDER).mkdir(parents=True)
    rows, kept = [], []
    for place, case in zip(places, cases, strict=True):
        small = _shrink(case)
        names = {
            "image": f"{FOLDER}/{place.stem}-image.jpg",
            "truth": f"{FOLDER}/{place.stem}-truth.png",
            "prediction": f"{FOLDER}/{place.stem}-prediction.png",
        }
        Image.fromarray(small.image).save(folder / names["image"], quality=JPEG_QUALITY)
        for kind, mask in (("truth", small.truth), ("prediction", small.prediction)):
            palette_image(mask, classes).save(folder / names[kind], transparency=IGNORE)
        rows.append(
            {
                "label": place.label,
                "number": place.number,
                "size": list(small.truth.shape),
                **names,
            }
        )
        kept.append(small)
    # As many of the worst as of the best, a row of each.
    across = sum(place.label == "best" for place in places)
    shown = [case for place, case in zip(places, kept, strict=True) if place.number <= across]
    if shown:
        draw_examples(folder / PICTURE, shown, classes, across=across)
    return rows


def put_in_place(made: Path, folder: Path) -> None:
    """Moves what `write_examples` wrote into an evaluation's folder, in place of earlier cases."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    for path in list(made.iterdir()):
        path.replace(folder / path.name)
    made.rmdir()


def require_own(folder: Path) -> None:
    """Refuses a folder whose cases/ holds something else, which would be lost.

    Raises:
        OutputExistsError: It does.
    """
    if not (folder / FOLDER).exists():
        return
    if (folder / FOLDER).is_dir():
        foreign = [p for p in (folder / FOLDER).iterdir() if not EXAMPLE_FILE.fullmatch(p.name)]
    else:
        foreign = [folder / FOLDER]
    if foreign:
        raise OutputExistsError(
            f"{foreign[0]} is not of an evaluation, whose pictures go to {folder / FOLDER}; "
            "accepted is a folder without other files there; name another with --out"
        )


def _shrink(case: Example) -> Example:
    """The same case, with sides of at most LARGEST_KEPT pixels."""
    size = case.truth.shape
    shrink = LARGEST_KEPT / max(size)
    if shrink >= 1:
        return case
    height, width = (max(1, round(side * shrink)) for side in size)
    image = cv2.resize(case.image, (width, height), interpolation=cv2.INTER_AREA)
    truth, prediction = (resize_mask(m, height, width) for m in (case.truth, case.prediction))
    return Example(image, truth, prediction, case.caption)
