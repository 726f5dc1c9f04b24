"""Examples of an evaluation: its worst, median and best images, stored beside the metrics.

Each example is stored at a reduced size, as a JPEG of the image and palette PNGs of truth and
prediction with class indices, so that a report needs neither the data nor the model.
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

WORST = 20  # number of worst images
TYPICAL = 3  # number of best images, and of median images
MAX_EXAMPLE_SIDE = 640  # pixels
JPEG_QUALITY = 88
EXAMPLES_FOLDER = "cases"
EXAMPLE_FILE = re.compile(
    r"(best|median|worst)-\d+-(image\.jpg|(truth|prediction)\.png)"
    r"|objects-(merged|split|missed|invented)\.jpg"
)
EXAMPLES_IMAGE = "cases.png"


@dataclass(frozen=True)
class ExampleChoice:
    """An image that was chosen as an example.

    Args:
        index: Index of the image among all evaluated images.
        label: "worst", "median" or "best".
        number: Number among the examples of this label, from 1.
    """

    index: int
    label: str
    number: int

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""
        return f"{self.label}-{self.number:02d}"


def choose_examples(scores: Sequence[float]) -> list[ExampleChoice]:
    """Chooses the worst, median and best images, each once.

    Args:
        scores: Score of each image, higher is better; images with nan are left out.

    Returns:
        The best images first, then the median, then the worst ones; worst-01 has the lowest score.

    >>> [choice.stem for choice in choose_examples([0.5, 0.9, 0.1])]
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
    chosen = sorted(labels.items(), key=lambda item: tuple(ranks).index(item[1][0]))
    return [ExampleChoice(int(order[rank]), label, number) for rank, (label, number) in chosen]


def write_examples(
    folder: Path, choices: Sequence[ExampleChoice], examples: Iterable[Example], classes: Classes
) -> list[dict[str, Any]]:
    """Writes examples to a folder, and some of them as one image, cases.png.

    Examples are reduced in size one by one, so that large ones are not all in memory.

    Args:
        folder: New or empty folder, whose content `replace_examples` moves to its final place.
        choices: Label and number of each example.
        examples: The examples, in the order of `choices`.
        classes: Classes of the masks.

    Returns:
        For each example its label, number, (height, width) and the names of its files.
    """
    (folder / EXAMPLES_FOLDER).mkdir(parents=True)
    rows, reduced = [], []
    for choice, example in zip(choices, examples, strict=True):
        small = _shrink(example)
        names = {
            "image": f"{EXAMPLES_FOLDER}/{choice.stem}-image.jpg",
            "truth": f"{EXAMPLES_FOLDER}/{choice.stem}-truth.png",
            "prediction": f"{EXAMPLES_FOLDER}/{choice.stem}-prediction.png",
        }
        Image.fromarray(small.image).save(folder / names["image"], quality=JPEG_QUALITY)
        for kind, mask in (("truth", small.truth), ("prediction", small.prediction)):
            palette_image(mask, classes).save(folder / names[kind], transparency=IGNORE)
        rows.append(
            {
                "label": choice.label,
                "number": choice.number,
                "size": list(small.truth.shape),
                **names,
            }
        )
        reduced.append(small)
    # As many of the worst as of the best images, one row of each.
    across = sum(choice.label == "best" for choice in choices)
    shown = [one for choice, one in zip(choices, reduced, strict=True) if choice.number <= across]
    if shown:
        draw_examples(folder / EXAMPLES_IMAGE, shown, classes, across=across)
    return rows


def replace_examples(source: Path, folder: Path) -> None:
    """Moves the files of `write_examples` to an evaluation's folder, replacing earlier examples.

    Args:
        source: Folder that `write_examples` wrote; it is removed.
        folder: Folder of the evaluation.
    """
    shutil.rmtree(folder / EXAMPLES_FOLDER, ignore_errors=True)
    for path in list(source.iterdir()):
        path.replace(folder / path.name)
    source.rmdir()


def require_own_examples(folder: Path) -> None:
    """Checks that replacing the examples in a folder deletes no other files.

    Args:
        folder: Folder of an evaluation, which need not exist.

    Raises:
        OutputExistsError: The folder's cases/ is a file, or has files that are not examples.
    """
    if not (folder / EXAMPLES_FOLDER).exists():
        return
    if (folder / EXAMPLES_FOLDER).is_dir():
        foreign = [
            p for p in (folder / EXAMPLES_FOLDER).iterdir() if not EXAMPLE_FILE.fullmatch(p.name)
        ]
    else:
        foreign = [folder / EXAMPLES_FOLDER]
    if foreign:
        raise OutputExistsError(
            f"{foreign[0]} does not belong to an evaluation, which replaces "
            f"{folder / EXAMPLES_FOLDER}; accepted is a folder without other files there; choose "
            "another with --out"
        )


def _shrink(example: Example) -> Example:
    """Returns the example with sides of at most MAX_EXAMPLE_SIDE pixels."""
    size = example.truth.shape
    factor = MAX_EXAMPLE_SIDE / max(size)
    if factor >= 1:
        return example
    height, width = (max(1, round(side * factor)) for side in size)
    image = cv2.resize(example.image, (width, height), interpolation=cv2.INTER_AREA)
    truth, prediction = (resize_mask(m, height, width) for m in (example.truth, example.prediction))
    return Example(image, truth, prediction, example.caption)
