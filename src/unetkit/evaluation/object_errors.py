"""The worst objects of an evaluation: merged, split, missed and invented ones, as small images.

While images are scored, the largest objects of each kind of error are kept, cut out of their image
with the outlines of the true and the found objects. Afterwards each kind is written as one strip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from unetkit.metrics.instances import Overlaps, wrong_objects
from unetkit.objects.border_weights import object_boxes

ERROR_KINDS = ("merged", "split", "missed", "invented")
OF_TRUTH = ("split", "missed")  # the others are errors of found objects
SHOWN_EACH = 4  # objects of each kind
TILE, GAP = 154, 8  # pixels
LEAST_SIDE = 40  # of what is cut out, in pixels of the image
AROUND = 1.6  # times the object
TRUE_COLOUR, FOUND_COLOUR = (86, 180, 233), (230, 159, 0)  # Okabe and Ito
PAPER = 255  # grey of empty parts
QUALITY = 90


@dataclass(frozen=True)
class ObjectError:
    """An object that was found wrongly.

    Args:
        area: Its area in pixels, by which the worst ones are chosen.
        name: Name of its image.
        tile: The object with outlines, (TILE, TILE, 3) uint8.
    """

    area: int
    name: str
    tile: np.ndarray


@dataclass
class ObjectErrors:
    """Collects the largest objects of each kind of error."""

    kept: dict[str, list[ObjectError]] = field(
        default_factory=lambda: {kind: [] for kind in ERROR_KINDS}
    )

    def add(
        self,
        name: str,
        photo: np.ndarray,
        truth: np.ndarray,
        found: np.ndarray,
        overlaps: Overlaps,
    ) -> None:
        """Looks at the errors of an image.

        Args:
            name: Name of the image.
            photo: The image, (H, W, 3) uint8.
            truth: Numbers of the true objects, (H, W) integers without gaps; 0 outside objects.
            found: Numbers of the found objects, likewise.
            overlaps: Their overlaps.
        """
        boxes = {True: object_boxes(truth), False: object_boxes(found)}
        areas = {True: overlaps.true_areas, False: overlaps.found_areas}
        for kind, places in wrong_objects(overlaps).items():
            is_true, kept = kind in OF_TRUTH, self.kept[kind]
            order = sorted(places.tolist(), key=lambda place: -areas[is_true][place])
            for place in order[:SHOWN_EACH]:
                area = int(areas[is_true][place])
                if len(kept) < SHOWN_EACH or area > kept[-1].area:
                    tile = _draw_tile(photo, truth, found, boxes[is_true][place + 1])
                    kept.append(ObjectError(area, name, tile))
                    kept.sort(key=lambda error: -error.area)
                    del kept[SHOWN_EACH:]

    def write(self, folder: Path, relative: str) -> list[dict[str, Any]]:
        """Writes a strip of each kind that occurs.

        Args:
            folder: Folder of the evaluation.
            relative: Name of the folder for the strips in it, which exists.

        Returns:
            For each strip its kind, (height, width), the names of the images, and its file.
        """
        rows = []
        for kind, errors in self.kept.items():
            if errors:
                strip = _join([error.tile for error in errors])
                file = f"{relative}/objects-{kind}.jpg"
                Image.fromarray(strip).save(folder / file, quality=QUALITY)
                names = [error.name for error in errors]
                rows.append(
                    {"kind": kind, "size": list(strip.shape[:2]), "names": names, "file": file}
                )
        return rows


def _draw_tile(
    photo: np.ndarray, truth: np.ndarray, found: np.ndarray, box: tuple[slice, slice]
) -> np.ndarray:
    """A square around an object, with the outlines of all objects in it."""
    side = max(LEAST_SIDE, *(round(AROUND * (span.stop - span.start)) for span in box))
    window = tuple(
        slice(max(0, (span.start + span.stop - side) // 2), (span.start + span.stop + side) // 2)
        for span in box
    )
    tile = np.full((TILE, TILE, 3), PAPER, np.uint8)
    height, width = photo[window].shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(scale * height)), max(1, round(scale * width))
    shown = cv2.resize(photo[window], size[::-1], interpolation=cv2.INTER_LINEAR)
    for objects, colour in ((truth, TRUE_COLOUR), (found, FOUND_COLOUR)):
        numbers = cv2.resize(
            objects[window].astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST
        )
        inner = cv2.erode(numbers, np.ones((3, 3), np.uint8))
        outer = cv2.dilate(numbers, np.ones((3, 3), np.uint8))
        shown[(inner != outer) & (numbers > 0)] = colour
    tile[: size[0], : size[1]] = shown
    return tile


def _join(tiles: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((TILE, GAP, 3), PAPER, np.uint8)
    parts = [tiles[0]]
    for tile in tiles[1:]:
        parts += [gap, tile]
    return np.concatenate(parts, axis=1)
