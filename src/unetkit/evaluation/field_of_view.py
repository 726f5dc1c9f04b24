"""Masks of the field of view: where each image is scored.

Images of the eye, of a dish or of a scanner have a frame that shows nothing, and the sets that
define a field of view are scored inside it only. Its masks are matched to the images by their
names, by the rules that match the masks of the classes.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from unetkit.data.filenames import common_start, parse_path
from unetkit.data.masks import read_raw_mask
from unetkit.data.pairing import match_masks
from unetkit.data.pairs import Pair
from unetkit.data.scale import IGNORE
from unetkit.data.sources import Found, Sources
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.images import IMAGE_SUFFIXES, ImageFile


@dataclass(frozen=True)
class FieldOfView:
    """Masks of the field of view of images.

    Args:
        folder: Folder of the masks.
        masks: Mask file by the path of the image.
    """

    folder: Path
    masks: Mapping[Path, Path]

    def apply(self, pair: Pair, truth: np.ndarray) -> np.ndarray:
        """Returns the truth, (H, W) uint8, with IGNORE where the field of view is 0.

        Raises:
            DataError: The mask of the field of view cannot be read, or has another size.
        """
        file = self.masks[pair.image]
        with ImageFile(file) as opened:
            page = pair.page if opened.count > 1 else None
            inside = read_raw_mask(opened, page, block=pair.block).values != 0
        if inside.shape != truth.shape:
            raise DataError(
                f"field of view {file} is {inside.shape[0]}x{inside.shape[1]} and image "
                f"{pair.image} {truth.shape[0]}x{truth.shape[1]} (height x width); accepted are "
                "equal sizes"
            )
        if not inside.any() and pair.block is None:
            raise DataError(
                f"field of view {file} is 0 everywhere; accepted are masks that are 0 outside of "
                "it and not 0 inside"
            )
        return np.where(inside, truth, np.uint8(IGNORE))


def find_field_of_view(folder: str | Path, pairs: Sequence[Pair], root: Path) -> FieldOfView:
    """Finds the field of view of each image.

    Args:
        folder: Folder with one mask for each image, and maybe subfolders; masks of other images
            are left out.
        pairs: Pairs whose images are scored.
        root: Data folder, in which the images are.

    Raises:
        DataNotFoundError: The folder does not exist.
        DataError: An image has no mask in it, or several.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataNotFoundError(
            f"field of view {folder} {what}; accepted is a folder with a mask for each image, 0 "
            "outside of the field of view"
        )
    images = {_below(pair.image, root): pair.image for pair in pairs}
    files = [
        PurePosixPath(Path(place, name).relative_to(folder).as_posix())
        for place, _, names in os.walk(folder)
        for name in sorted(names)
        if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
    ]
    # Words in folders that all images have in common say nothing.
    skip = common_start(path.parts[:-1] for path in images)
    found = Found(
        images={path: parse_path(path, skip) for path in images},
        masks={path: parse_path(path) for path in files},
    )
    masks: dict[Path, list[Path]] = defaultdict(list)
    try:
        matched = match_masks(folder, found, Sources(), [])
    except DataError as error:
        raise DataError(
            f"field of view {folder} has several masks for an image; accepted is a folder with one "
            "for each, and no other masks; name the subfolder"
        ) from error
    for of_pattern in matched.values():
        for path, some in of_pattern.items():
            masks[images[path]] += [folder / mask for mask in some]
    for image in images.values():
        if len(masks[image]) != 1:
            several = f"{len(masks[image])} masks" if masks[image] else "no mask"
            raise DataError(
                f"image {image} has {several} in the field of view {folder}; accepted is one for "
                "each image, of its name, as in cat.jpg and cat.png or cat_mask.png"
            )
    return FieldOfView(folder, {image: some[0] for image, some in masks.items()})


def _below(image: Path, root: Path) -> PurePosixPath:
    """Path of an image below the data folder; that from the root of the disk if it is elsewhere."""
    path = Path(os.path.abspath(image))
    base = Path(os.path.abspath(root))
    below = base if base in path.parents else path.anchor
    return PurePosixPath(path.relative_to(below).as_posix())
