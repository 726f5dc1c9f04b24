"""Strokes propagated over regions of similar colour, as labels for training.

A few strokes say nothing about where an object ends; a network that learns from them alone grows
over its edges. A random walk from each pixel, which avoids edges, reaches strokes of one class with
a probability; where that is high, the pixel is labelled for training. The masks that were drawn
stay as they are, and scores are computed from these alone. Where colours do not tell classes apart,
this would do harm: hidden strokes, which have to be found again from the others, decide.
"""

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from unetkit._shared.files import read_text, write_text
from unetkit.data.classes import CLASS_FILES, read_class_file
from unetkit.data.masks import read_raw_mask
from unetkit.label.tiles import read_shown

WALK_SIDE = 192  # of the image in which strokes are propagated, at most
EDGES = 5000.0  # how strongly differences of colour hold the walk up (docs/log.md)
WALK_PROBABILITY = 0.9  # of a class, for a pixel to be labelled
MOST_LABELLED = 0.2  # fraction of labelled pixels; masks with more are left as they are
CHECKED_IMAGES = 20  # whose hidden strokes are looked for
LEAST_FOUND = 0.25  # fraction of hidden strokes that get a class, for propagation at all
LEAST_AGREEMENT = 0.6  # fraction of these that get the right one (docs/log.md)
PROPAGATED_TABLE = "propagated.csv"  # beside the table of drawn masks
PROPAGATED_MASKS = "propagated"  # folder of its masks


@dataclass(frozen=True)
class Scribble:
    """An image and the strokes on it, reduced.

    Args:
        image: Image, (h, w, C) float32 of 1 or 3 channels.
        seeds: Number of a class from 1 on, or 0 where nothing is drawn, (h, w) int64.
        values: Value in the mask of each class, in the order of their numbers.
    """

    image: np.ndarray
    seeds: np.ndarray
    values: tuple[int, ...]


def is_scribbled(mask: np.ndarray, unlabelled: int) -> bool:
    """Whether a mask has several classes, and much that is not drawn."""
    drawn = mask[mask != unlabelled]
    return 0 < drawn.size <= MOST_LABELLED * mask.size and bool(np.ptp(drawn) > 0)


def reduce_scribble(image: np.ndarray, mask: np.ndarray, unlabelled: int) -> Scribble:
    """Reduces an image and its mask to the size in which strokes are propagated.

    Args:
        image: Image, (H, W, C) uint8 of 1 or 3 channels.
        mask: Mask, (H, W) integers.
        unlabelled: Value of pixels where nothing is drawn.
    """
    height, width = mask.shape
    scale = min(1.0, WALK_SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    small = np.atleast_3d(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA))
    pixels = small.astype(np.float32) / 255
    if pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB) / 100
    drawn = np.nonzero(mask != unlabelled)
    values, numbers = np.unique(mask[drawn], return_inverse=True)
    seeds = np.zeros((rows, columns), np.int64)
    seeds[drawn[0] * rows // height, drawn[1] * columns // width] = numbers + 1
    present = np.unique(seeds[seeds > 0])  # a stroke of a pixel may lie under another one
    seeds = np.where(seeds > 0, np.searchsorted(present, seeds) + 1, 0)
    return Scribble(pixels, seeds, tuple(values[present - 1].tolist()))


def walk(scribble: Scribble) -> np.ndarray:
    """Number of the class of each pixel, (h, w) int64; 0 where no class is probable enough."""
    from skimage.segmentation import random_walker

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about faster solvers, which are less exact
        probabilities = random_walker(
            scribble.image,
            scribble.seeds,
            beta=EDGES,
            mode="bf",
            channel_axis=-1,
            return_full_prob=True,
        )
    numbers = np.argmax(probabilities, axis=0) + 1
    return np.where(np.max(probabilities, axis=0) >= WALK_PROBABILITY, numbers, 0)


def propagate(scribble: Scribble, mask: np.ndarray, unlabelled: int) -> np.ndarray:
    """Returns a mask with more labelled pixels; those that were drawn have their values.

    Args:
        scribble: The image and the mask, reduced.
        mask: Mask, (H, W) integers.
        unlabelled: Value of pixels without a label.
    """
    table = np.array([unlabelled, *scribble.values], mask.dtype)
    found = table[walk(scribble)]
    height, width = mask.shape
    grown = cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.where(mask == unlabelled, grown, mask)


def count_found(scribble: Scribble) -> tuple[int, int, int]:
    """Hides half of the strokes of each class, and finds them again from the others.

    Returns:
        Number of pixels of hidden strokes that get the right class, that get any, and of all.
    """
    hidden = np.zeros(scribble.seeds.shape, bool)
    for number in range(1, len(scribble.values) + 1):
        count, strokes = cv2.connectedComponents((scribble.seeds == number).astype(np.uint8))
        hidden |= np.isin(strokes, np.arange(2, count, 2))
    if not hidden.any():
        return 0, 0, 0
    shown = np.where(hidden, 0, scribble.seeds)
    found = walk(Scribble(scribble.image, shown, scribble.values))[hidden]
    right = int(np.sum(found == scribble.seeds[hidden]))
    return right, int(np.count_nonzero(found)), len(found)


def is_reliable(scribbles: Sequence[Scribble]) -> bool:
    """Whether hidden strokes of some images are found again from the others."""
    counts = np.sum([count_found(one) for one in scribbles] or [(0, 0, 0)], axis=0)
    right, found, hidden = map(int, counts)
    return found > LEAST_FOUND * hidden and right >= LEAST_AGREEMENT * found


def propagate_table(table: Path) -> Path:
    """Propagates the strokes of the masks in a table, for training.

    Args:
        table: Table with the columns "image" and "mask", beside a class file.

    Returns:
        A table of the same images beside it, in which scribbled masks are replaced by others; the
        given table if its masks are not scribbled, are of objects, or propagation is not reliable.

    Raises:
        DataNotFoundError, DataError: An image or a mask cannot be read.
    """
    folder, classes = table.parent, read_class_file(table.parent / CLASS_FILES[0])
    unlabelled = classes["ignore"]
    rows = list(csv.DictReader(io.StringIO(read_text(table))))

    def read(place: int) -> np.ndarray:
        return read_raw_mask(folder / rows[place]["mask"]).values.astype(np.uint16)

    def reduced(place: int, mask: np.ndarray) -> Scribble:
        return reduce_scribble(read_shown(folder / rows[place]["image"]), mask, unlabelled)

    if classes["kind"] == "instances":
        return table
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    scribbled = [place for place in order if is_scribbled(read(place), unlabelled)]
    if not is_reliable([reduced(place, read(place)) for place in scribbled[:CHECKED_IMAGES]]):
        return table
    (folder / PROPAGATED_MASKS).mkdir()
    for place in scribbled:
        mask = read(place)
        grown = propagate(reduced(place, mask), mask, unlabelled)
        path = Path(PROPAGATED_MASKS, f"{place:06d}.png")
        is_small = grown.max() <= np.iinfo(np.uint8).max
        Image.fromarray(grown.astype(np.uint8) if is_small else grown).save(folder / path)
        rows[place]["mask"] = path.as_posix()
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / PROPAGATED_TABLE, text.getvalue())
    return folder / PROPAGATED_TABLE
