"""Several mask files of one image: one for each object, or one for each class.

    im1/images/im1.png with im1/masks/4f2a.png, im1/masks/9c01.png     a folder of each image
    images/im1.png with masks/im1/4f2a.png, masks/im1/9c01.png         the same beside the images
    images/s00.png with masks/s00_car.png, masks/s00_road.png          an ending
    images/s00.png with masks/car/s00.png, masks/road/s00.png          a folder of each class

What distinguishes the files of an image decides what they hold. Numbers, in different quantities,
and names that occur once are objects; words that recur are classes, if the files have two values
and do not overlap. Anything else is not guessed: `--mask-files` decides. The files of an image are
then read as shapes of one annotation, like those of a polygon file.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from unetkit.data.annotations import formats
from unetkit.data.filenames import (
    MASK_WORDS,
    PathInfo,
    bare_mask_stem,
    common_start,
    ends_word,
    numbered_stem,
)
from unetkit.data.labels import OBJECT
from unetkit.data.masks import MaskPart, read_inside
from unetkit.data.sources import Found
from unetkit.errors import DataError, DataNotFoundError

SAMPLED = 4  # images whose files are looked into
_NUMBER = re.compile(r"\d+")
_NAMED_PIECES = re.compile(r"[^\W\d_]+|\d+")

# For each image the files of its mask, by what distinguishes their names.
_Files = dict[PurePosixPath, dict[str, PurePosixPath]]


@dataclass(frozen=True)
class GroupedFiles:
    """Files of the masks of a data set whose images have several.

    Args:
        kind: "objects" or "classes".
        files: Files by image, all relative to the data folder.
        parts: The same files with their labels.
        description: What the files are, for messages.
    """

    kind: str
    files: dict[PurePosixPath, list[PurePosixPath]]
    parts: dict[PurePosixPath, tuple[MaskPart, ...]]
    description: str


def group_mask_files(folder: Path, found: Found, kind: str | None) -> GroupedFiles | None:
    """Finds the mask files of each image if images have several.

    Args:
        folder: Data folder.
        found: Images and masks.
        kind: "objects" or "classes" if the user says so; else it is inferred.

    Returns:
        The files; None if no image has several, or if it is not certain what they hold.
    """
    masks = [place for path, place in found.masks.items() if _is_image(path)]
    for files, may_be_objects in _layouts(list(found.images.values()), masks):
        if not any(len(group) > 1 for group in files.values()):
            continue
        names = {name for group in files.values() for name in group}
        shortened = _without_common_start(names)
        hold = kind or _infer(folder, files, shortened, may_be_objects)
        if hold is None:
            continue
        labels = shortened if hold == "classes" else dict.fromkeys(names, OBJECT)
        listed = f"class: {', '.join(sorted(labels.values()))}" if hold == "classes" else "object"
        return GroupedFiles(
            hold,
            {image: [path for _, path in sorted(group.items())] for image, group in files.items()},
            {
                image: tuple(MaskPart(folder / p, labels[n]) for n, p in sorted(group.items()))
                for image, group in files.items()
            },
            f"one file per {listed}",
        )
    return None


def several_files_remedy(found: Found) -> str:
    """Returns what to do if images have several mask files, as the end of an error sentence."""
    masks = [place for path, place in found.masks.items() if _is_image(path)]
    for files, may_be_objects in _layouts(list(found.images.values()), masks):
        if any(len(group) > 1 for group in files.values()):
            objects = "--mask-files objects if each file is an object, " if may_be_objects else ""
            return f"; use {objects}--mask-files classes if each file is a class"
    return ""


def _is_image(path: PurePosixPath) -> bool:
    return path.suffix.lower() not in formats.ANNOTATION_SUFFIXES


def _layouts(
    images: Sequence[PathInfo], masks: Sequence[PathInfo]
) -> Iterator[tuple[_Files, bool]]:
    """The files of each image in each of the layouts, and whether a file may be an object."""
    yield _in_folders_of_images(images, masks), True
    yield _in_folders_named_as_images(images, masks), True
    by_stem: dict[str, list[PathInfo]] = defaultdict(list)
    for image in images:
        by_stem[image.stem].append(image)
    for find, may_be_objects in ((_by_name, True), (_by_folder, False)):
        files: _Files = defaultdict(dict)
        for mask in masks:
            for image, name in find(mask, by_stem):
                files[image.path][name] = mask.path
        yield files, may_be_objects


def _in_folders_of_images(images: Sequence[PathInfo], masks: Sequence[PathInfo]) -> _Files:
    """Files in the folder of one image, if each image has its own folder."""
    owners = {(image.split, image.full): image for image in images}
    files: _Files = defaultdict(dict)
    if 1 < len(owners) == len(images):
        for mask in masks:
            if (mask.split, mask.full) in owners:
                files[owners[mask.split, mask.full].path][mask.stem] = mask.path
    return files


def _in_folders_named_as_images(images: Sequence[PathInfo], masks: Sequence[PathInfo]) -> _Files:
    """Files in a folder that has the name of one image."""
    owners = {(image.split, (*image.full, image.stem)): image for image in images}
    files: _Files = defaultdict(dict)
    if len(owners) == len(images):
        for mask in masks:
            if (mask.split, mask.full) in owners:
                files[owners[mask.split, mask.full].path][mask.stem] = mask.path
    return files


def _by_name(
    mask: PathInfo, by_stem: Mapping[str, Sequence[PathInfo]]
) -> Iterator[tuple[PathInfo, str]]:
    """The image whose name begins or ends that of a mask, and the rest of the name."""
    stem = mask.stem
    if numbered_stem(stem) in by_stem:  # "cat_mask_1" may be the mask of "cat_1"
        return
    for cut in range(len(stem) - 1, 0, -1):
        for start, rest, border in (
            (stem[:cut], stem[cut:], cut),
            (stem[-cut:], stem[:-cut], len(stem) - cut),
        ):
            if start in by_stem and ends_word(stem, border):
                images = [image for image in by_stem[start] if _is_near(image, mask)]
                if len(images) == 1:
                    yield images[0], rest.strip("-_ .")
                return


def _by_folder(
    mask: PathInfo, by_stem: Mapping[str, Sequence[PathInfo]]
) -> Iterator[tuple[PathInfo, str]]:
    """The image of a mask that has one more folder than the image, and the name of this folder."""
    for image in by_stem.get(mask.stem) or by_stem.get(bare_mask_stem(mask.stem), ()):
        if image.split != mask.split or len(mask.full) != len(image.full) + 1:
            continue
        for place, name in enumerate(mask.full):
            if (*mask.full[:place], *mask.full[place + 1 :]) == image.full:
                yield image, name
                break


def _is_near(image: PathInfo, mask: PathInfo) -> bool:
    """Whether image and mask may be in the same part of a data set."""
    return image.split == mask.split and (image.full == mask.full or not mask.full)


def _without_common_start(names: Iterable[str]) -> dict[str, str]:
    """Names without the words that all of them begin with: "class_car" is "car".

    >>> _without_common_start(["class_car", "class_road"])
    {'class_car': 'car', 'class_road': 'road'}
    """
    names = sorted(names)
    first, common = names[0], common_start(names)
    while common and not (first[common - 1] in "-_ ." and common < len(first)):
        common -= 1
    return {name: name[common:] for name in names}


def _infer(
    folder: Path, files: _Files, names: Mapping[str, str], may_be_objects: bool
) -> str | None:
    """What the files hold: "objects" or "classes"; None if it is not certain."""
    counts = Counter(name for group in files.values() for name in group)
    several = [group for group in files.values() if len(group) > 1]
    quantities = {len(group) for group in files.values()}
    if all(count == 1 for count in counts.values()) and len(files) > 1:
        kind = "objects"
    elif all(_are_numbers(group) for group in several):
        if len(quantities) == 1:  # as many in each image: they may be classes with numbers
            return None
        kind = "objects"
    elif _are_classes(names.values()) and min(counts.values()) > 1:
        kind = "classes"
    else:
        return None
    if kind == "objects" and not may_be_objects:
        return None
    filled: set[str] = set()
    for group in several[:SAMPLED]:
        try:
            inside = [read_inside(folder / path) for path in group.values()]
        except (DataError, DataNotFoundError):
            return None
        if len({mask.shape for mask in inside}) > 1:
            return None
        filled |= {name for name, mask in zip(group, inside, strict=True) if mask.any()}
        if kind == "objects" and not all(mask.any() for mask in inside):
            return None
        if kind == "classes" and (np.sum(inside, axis=0) > 1).any():
            return None
    return kind if len(filled) > 1 else None


def _are_numbers(names: Iterable[str]) -> bool:
    """Whether names differ in a number only; one of them may have none."""
    pieces = [_NAMED_PIECES.findall(name) for name in names]
    words = {
        tuple(p.lower() for p in name if not p.isdecimal() and p.lower() not in MASK_WORDS)
        for name in pieces
    }
    without = sum(not any(p.isdecimal() for p in name) for name in pieces)
    return len(words) == 1 and without <= 1


def _are_classes(names: Iterable[str]) -> bool:
    """Whether at least two names are words that may be names of classes."""
    words = {_NUMBER.sub("", name).strip("-_ .").lower() for name in names}
    return len(words) > 1 and "" not in words and not words <= MASK_WORDS
