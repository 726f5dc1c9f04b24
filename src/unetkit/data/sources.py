"""Decide which files of a folder are images and which are masks, by their names.

The words in a path decide (`filenames`), or the patterns of the user. Masks may also lie beside
their images, as in cat.jpg and cat_mask.png, or be polygon files. Which mask belongs to which image
is left to `pairing`.
"""

import fnmatch
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from unetkit.data.annotations import formats
from unetkit.data.classes import CLASS_FILES
from unetkit.data.filenames import (
    PathInfo,
    bare_image_stem,
    bare_mask_stem,
    common_start,
    numbered_stem,
    parse_path,
    stem_by,
    stem_role,
)
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.io.images import is_image_name
from unetkit.io.pixel_format import CHANNEL_AXES

MASK_FILES = ("objects", "classes")
RUN_ORDERS = ("column", "row")
LEAST_BLOCK = 16  # pixels of its side
SHOWN = 5  # number of names listed in a message before "and N more"


@dataclass(frozen=True)
class Sources:
    """Which files of a folder are images and which are masks, where their names do not decide it.

    Args:
        images: Substring of the path of every image, with * for any characters; None to find
            images by their names.
        masks: Substring of the path of every mask, such as `GT/SEG` or `*_labels.png`. The
            characters that * stands for in the file name, here and in `images`, are the stem that
            image and mask have in common.
        channel_axis: Position of the channels in TIFF files without axis metadata: "auto", "first"
            or "last".
        skip_bad: Whether to continue without files that have no counterpart and pairs that cannot
            be read.
        accept: Codes of issues that do not stop a training, of those that would.
        alpha_masks: Whether the opacity of the masks, or without masks that of the images, is the
            mask.
        mask_files: What each of several mask files of an image holds: "objects" or "classes"; None
            if their names decide it.
        strict_annotations: Whether images are left out whose annotation has a shape without an
            area; otherwise only that shape is left out.
        blocks: Side in pixels of the blocks that images are cut into, each a pair of its own; None
            for whole images, and for a side that suits it where a data set has a single large one.
        gap: Pixels between neighbouring blocks, which belong to no split; None for an eighth of
            their side.
        run_order: Whether runs of pixels in a .csv go down the columns ("column") or along the rows
            ("row"); None if they tell by themselves.
        first_pixel: Number of the first pixel in runs, 0 or 1; None for what they tell, else 1.

    Raises:
        ConfigError: `channel_axis`, `mask_files`, `run_order` or `first_pixel` is not one of these,
            blocks are too small, or `gap` is negative.
    """

    images: str | None = None
    masks: str | None = None
    channel_axis: str = "auto"
    skip_bad: bool = False
    accept: tuple[str, ...] = ()
    alpha_masks: bool = False
    mask_files: str | None = None
    strict_annotations: bool = False
    blocks: int | None = None
    gap: int | None = None
    run_order: str | None = None
    first_pixel: int | None = None

    def __post_init__(self) -> None:
        if self.channel_axis not in CHANNEL_AXES:
            raise ConfigError(
                f"channel_axis is {self.channel_axis!r}; accepted are {', '.join(CHANNEL_AXES)}"
            )
        if self.mask_files not in (None, *MASK_FILES):
            raise ConfigError(
                f"mask_files is {self.mask_files!r}; accepted are {' and '.join(MASK_FILES)}"
            )
        if self.run_order not in (None, *RUN_ORDERS) or self.first_pixel not in (None, 0, 1):
            raise ConfigError(
                f"run_order is {self.run_order!r} and first_pixel {self.first_pixel}; accepted are "
                f"{' and '.join(RUN_ORDERS)}, and 0 and 1"
            )
        if (self.blocks or LEAST_BLOCK) < LEAST_BLOCK or (self.gap or 0) < 0:
            raise ConfigError(
                f"blocks is {self.blocks} and gap {self.gap}; accepted are blocks of {LEAST_BLOCK} "
                "pixels or more and gaps of 0 or more"
            )


@dataclass(frozen=True)
class Problem:
    """Files that do not form a pair, and the reason.

    Args:
        kind: "unpaired image", "unpaired mask", "several files", "pages", "missing", "folder",
            "polygons", "stray" for a damaged polygon file that no image needs, "unplaced" for an
            entry of a polygon file that belongs to no image, "incomplete" for an image that is
            left out as its annotation is not complete, or "passed over" for all files of formats
            that are not read.
        text: Description of the problem, with the names of the files.
        files: Paths of the files.
    """

    kind: str
    text: str
    files: tuple[Path, ...]


@dataclass
class Found:
    """Files that may be images or masks, and polygon files of many images.

    Args:
        images: Possible images, by path relative to the data folder.
        masks: Possible masks of one image each, by path relative to the data folder.
        documents: Polygon files of many images.
    """

    images: dict[PurePosixPath, PathInfo] = field(default_factory=dict)
    masks: dict[PurePosixPath, PathInfo] = field(default_factory=dict)
    documents: list[PurePosixPath] = field(default_factory=list)


def sort_files(
    folder: Path, files: Sequence[PurePosixPath], sources: Sources, problems: list[Problem]
) -> Found:
    """Finds images, masks and polygon files by their names and the user's patterns.

    Args:
        folder: Data folder.
        files: All files in it, relative to it.
        sources: Patterns of the user.
        problems: Problems found so far; damaged polygon files are added.

    Raises:
        DataError: A file name is not UTF-8.
    """
    found = Found()
    image_files = [path for path in files if is_image_name(path)]
    polygons = _polygon_files(folder, files, sources, found, problems)
    for path in (*image_files, *polygons):
        _require_utf8(folder, path)
    # Words in folders that all files have in common do not count: in "dataset_with_gt/..." not
    # every file is a mask.
    skip = common_start(path.parts[:-1] for path in (*image_files, *polygons))
    places = {path: parse_path(path, skip) for path in image_files}
    if sources.masks is not None:
        found.masks = _chosen(places, sources.masks)
    else:
        found.masks = {path: place for path, place in places.items() if place.role == "mask"}
    others = {path: place for path, place in places.items() if path not in found.masks}
    if sources.images is not None:
        found.images = _chosen(others, sources.images)
    else:
        named = {path: place for path, place in others.items() if place.role == "image"}
        blank = {path: place for path, place in others.items() if not place.role}
        found.images = named or blank or (others if sources.masks is not None else {})
    if sources.masks is None or sources.images is None:
        beside = _take_beside(found.images)
        if sources.masks is None:
            found.masks |= beside
    polygon_places = {path: parse_path(path, skip) for path in polygons}
    if sources.masks is not None:
        polygon_places = _chosen(polygon_places, sources.masks)
    found.masks |= polygon_places
    _name_by_folder(found)
    if not found.masks and sources.alpha_masks:
        found.masks = dict(found.images)
    elif not found.masks and sources.masks is None:
        # An archive of NumPy may hold both.
        both = {path: place for path, place in found.images.items() if path.suffix == ".npz"}
        found.masks = both if len(both) == len(found.images) else {}
    return found


def _require_utf8(folder: Path, path: PurePosixPath) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{folder} contains {str(path)!a}, a name that is not UTF-8; accepted are UTF-8 names; "
            "rename the file or its folder"
        ) from error


def _polygon_files(
    folder: Path,
    files: Sequence[PurePosixPath],
    sources: Sources,
    found: Found,
    problems: list[Problem],
) -> list[PurePosixPath]:
    """Polygon files of one image each; those of many images are added to `found`."""
    single: list[PurePosixPath] = []
    empty: list[PurePosixPath] = []
    for path in files:
        if path.suffix.lower() not in formats.ANNOTATION_SUFFIXES or path.name in CLASS_FILES:
            continue
        if sources.masks is not None and not _fits(path, sources.masks):
            continue
        try:
            format = formats.annotation_format(folder / path)
        except (DataError, DataNotFoundError) as error:
            if path.suffix.lower() in (".txt", ".csv"):  # of any content; few are of polygons
                continue
            problems.append(Problem("polygons", str(error), (folder / path,)))
            continue
        if format == "yolo" and not (folder / path).stat().st_size:
            empty.append(path)  # of an image without objects, if others beside it have some
        elif format is not None:
            has_many_images = formats.ANNOTATION_FORMATS[format].has_many_images
            (found.documents if has_many_images else single).append(path)
    labelled = {path.parent for path in single if path.suffix.lower() == ".txt"}
    return single + [path for path in empty if path.parent in labelled]


def _chosen(
    places: Mapping[PurePosixPath, PathInfo], pattern: str
) -> dict[PurePosixPath, PathInfo]:
    """Files that fit the user's pattern, each with the stem that the pattern gives."""
    return {
        path: replace(place, given=stem_by(pattern, path.name))
        for path, place in places.items()
        if _fits(path, pattern)
    }


def _fits(path: PurePosixPath, pattern: str) -> bool:
    literal = pattern.replace("[", "[[]").replace("?", "[?]")  # only * is a wildcard
    return fnmatch.fnmatchcase(path.as_posix(), f"*{literal}*")


def _take_beside(images: dict[PurePosixPath, PathInfo]) -> dict[PurePosixPath, PathInfo]:
    """Removes masks beside their images, as in cat.jpg and cat_mask.png, and returns them."""
    partners = {
        (path.parent, stem)
        for path, place in images.items()
        if bare_mask_stem(place.stem) == place.stem
        for stem in (place.stem, bare_image_stem(place.stem))
    }
    samples = _sample_folders(images.values(), images.values())
    taken = {}
    for path, place in list(images.items()):
        bare, numbered = bare_mask_stem(place.stem), numbered_stem(place.stem)
        is_named = bare != place.stem and (path.parent, bare) in partners
        is_numbered = bool(numbered) and (path.parent, numbered) in partners
        # If each sample has a folder, a "mask.png" without an image is a mask, too.
        is_sample = bool(samples) and not place.role and stem_role(place.stem) == "mask"
        if is_named or is_numbered or is_sample:
            taken[path] = images.pop(path)
    return taken or _take_from_samples(images)


def _take_from_samples(images: dict[PurePosixPath, PathInfo]) -> dict[PurePosixPath, PathInfo]:
    """Removes the masks of samples with a folder each, as in p1/image.png and p1/vessel.png.

    Every folder has one file named "image" or a synonym, and others.
    """
    names: dict[PurePosixPath, list[str]] = {}
    for path, place in images.items():
        names.setdefault(path.parent, []).append(stem_role(place.stem))
    is_sample = [roles.count("image") == 1 < len(roles) for roles in names.values()]
    if len(names) < 2 or not all(is_sample):
        return {}
    masks = [path for path, place in images.items() if stem_role(place.stem) != "image"]
    return {path: images.pop(path) for path in masks}


def _sample_folders(images: Iterable[PathInfo], masks: Iterable[PathInfo]) -> set[PurePosixPath]:
    """Folders of one sample each: one file named "image" or a synonym, and one named "mask"."""
    counts = [
        Counter(
            place.path.parent
            for place in places
            if not place.role and stem_role(place.stem) == role
        )
        for places, role in ((images, "image"), (masks, "mask"))
    ]
    return {parent for parent in counts[0] if counts[0][parent] == counts[1][parent] == 1}


def _name_by_folder(found: Found) -> None:
    """Sets the stem of image and mask in the folder of one sample to the name of the folder."""
    samples = _sample_folders(found.images.values(), found.masks.values())
    images = [place for place in found.images.values() if stem_role(place.stem) == "image"]
    stems = {place.path.parent: place.stem for place in images if place.path.parent in samples}
    for places, role in ((found.images, "image"), (found.masks, "mask")):
        for path, place in list(places.items()):
            if path.parent not in samples or stem_role(place.stem) != role:
                continue
            # The name of a split, or of a folder that all files have in common, is not a stem.
            is_named = place.full[-1:] == (unicodedata.normalize("NFC", path.parent.name),)
            places[path] = replace(
                place,
                stem=place.full[-1] if is_named else stems[path.parent],
                full=place.full[:-1] if is_named else place.full,
                bare=place.bare[:-1] if is_named else place.bare,
                full_pattern="/".join(filter(None, (place.full_pattern, place.stem))),
                bare_pattern="/".join(filter(None, (place.bare_pattern, place.stem))),
            )


def list_some(items: Sequence[object]) -> str:
    """Returns the first SHOWN files or names as text, and the number of further ones."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more
