"""Find which files of a folder are images and masks, and which belong together, by their names.

    sort_files     images and masks, by words in their paths (`filenames`) or the user's patterns
    match_masks    each mask to its image, the most literal way first

If an image has several kinds of masks, the error lists a pattern for each, as `--masks` takes it.
"""

import fnmatch
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unetkit.data.annotations import formats
from unetkit.data.classes import CLASS_FILES
from unetkit.data.filenames import (
    PathInfo,
    affix_of,
    bare_image_stem,
    bare_mask_stem,
    common_start,
    numbered_stem,
    parse_path,
    split_of,
    stem_by,
    stem_role,
    to_words,
    without_splits,
)
from unetkit.errors import ConfigError, DataError
from unetkit.io.images import IMAGE_SUFFIXES
from unetkit.io.pixel_format import CHANNEL_AXES

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

    Raises:
        ConfigError: `channel_axis` is not one of these.
    """

    images: str | None = None
    masks: str | None = None
    channel_axis: str = "auto"
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.channel_axis not in CHANNEL_AXES:
            raise ConfigError(
                f"channel_axis is {self.channel_axis!r}; accepted are {', '.join(CHANNEL_AXES)}"
            )


@dataclass(frozen=True)
class Problem:
    """Files that do not form a pair, and the reason.

    Args:
        kind: "unpaired image", "unpaired mask", "several files", "pages", "missing", "folder",
            "polygons", or "stray" for a damaged polygon file that no image needs.
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
    image_files = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
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
    for path in files:
        if path.suffix.lower() not in formats.ANNOTATION_SUFFIXES or path.name in CLASS_FILES:
            continue
        if sources.masks is not None and not _fits(path, sources.masks):
            continue
        try:
            format = formats.annotation_format(folder / path)
        except DataError as error:
            problems.append(Problem("polygons", str(error), (folder / path,)))
            continue
        if format is not None:
            has_many_images = formats.ANNOTATION_FORMATS[format].has_many_images
            (found.documents if has_many_images else single).append(path)
    return single


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
    return taken


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


# For each pattern of masks: images, and the masks that match each of them.
Matched = dict[str, dict[PurePosixPath, list[PurePosixPath]]]
# Which folders of image and mask are compared, most literal first. "full" and "bare" are fields of
# `PathInfo`; "loose" compares by `_may_belong`.
_Ways = tuple[tuple[str, str], ...]
_LITERAL: _Ways = (("full", "full"), ("full", "bare"), ("bare", "full"))
_LENIENT: _Ways = (("bare", "bare"), ("loose", "loose"))


# A mask, the images that it may belong to, and its pattern.
_Hit = tuple[PathInfo, list[PathInfo], str]


class _Outer(NamedTuple):
    """Outer folders of images and of masks without a known word, such as "regions/".

    Args:
        of_images: Number of outer folders that all images have in common, if the user gives a
            pattern for masks; else 0.
        of_masks: Number of outer folders that all masks have in common, likewise.
        is_one: Whether all images are in one folder.
    """

    of_images: int
    of_masks: int
    is_one: bool


def match_masks(folder: Path, found: Found, sources: Sources, problems: list[Problem]) -> Matched:
    """Matches masks to images.

    Args:
        folder: Data folder.
        found: Images and masks; masks that the user's pattern excludes are removed.
        sources: Patterns of the user.
        problems: Problems found so far; those of polygon files are added.

    Raises:
        DataError: Masks of several patterns match the same image.
    """
    matched = _match_places(found, sources)
    by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in found.images:
        by_name[unicodedata.normalize("NFC", path.name)].append(path)
    for document in found.documents:
        _match_document(folder, document, by_name, matched, problems)
    if sources.masks in matched:  # it may be within another pattern, as "masks" in "masks_old"
        chosen = matched[sources.masks]
        others = {mask for masks in matched.values() for group in masks.values() for mask in group}
        others -= {mask for group in chosen.values() for mask in group}
        found.masks = {path: place for path, place in found.masks.items() if path not in others}
        return {sources.masks: chosen}
    _require_one_kind(folder, matched)
    return matched


def _match_places(found: Found, sources: Sources) -> Matched:
    """Matches masks to images by stems and folders.

    All masks of a folder are matched in the same way, the most literal one that matches any of
    them. So a mask without an image never matches an image of another folder.
    """
    matched: Matched = defaultdict(lambda: defaultdict(list))
    outer = _outer_folders(found, sources)
    waiting: dict[PurePosixPath, list[PathInfo]] = defaultdict(list)
    for path, place in found.masks.items():
        waiting[path.parent].append(place)
    # "images_a" and "masks_b" may belong together, unless "images_b" or "masks_a" exist, too.
    ambiguous = _ambiguous(found.images.values()) | _ambiguous(found.masks.values())
    for ways in (_LITERAL, _LENIENT):
        taken = {image.parent for images in matched.values() for image in images}
        index: dict[tuple[str, ...], list[PathInfo]] = defaultdict(list)
        for path, place in found.images.items():
            is_ambiguous = _folders(place, "bare") in ambiguous
            if ways == _LITERAL or not (path.parent in taken or is_ambiguous):
                for key in _image_keys(place, ways):
                    index[key].append(place)
        for parent, masks in list(waiting.items()):
            if ways == _LENIENT and _folders(masks[0], "bare") in ambiguous:
                continue
            for way in ways:
                hits = [(mask, *_find(mask, way, index, outer, sources)) for mask in masks]
                hits = _settle_numbers(hits)
                for mask, images, pattern in hits:
                    for image in images:
                        matched[pattern][image.path].append(mask.path)
                if any(images for _, images, _ in hits):
                    del waiting[parent]
                    break
    return matched


def _settle_numbers(hits: list[_Hit]) -> list[_Hit]:
    """Matches "cat_mask_1" to "cat_1" or to "cat", whichever has no other mask."""
    owned = {images[0].path for _, images, _ in hits if len(images) == 1}
    settled = []
    for mask, images, pattern in hits:
        if numbered_stem(mask.stem) and len(images) > 1:
            images = [image for image in images if image.path not in owned] or images
        settled.append((mask, images, pattern))
    return settled


def _image_keys(place: PathInfo, ways: _Ways) -> dict[tuple[str, ...], None]:
    """Keys of an image in the index, each once."""
    stems = [("stem", stem) for stem in (place.given, place.stem) if stem]
    stems.append(("bare stem", bare_image_stem(place.stem)))
    return dict.fromkeys(
        (flavour, which, stem, *_folders(place, flavour))
        for flavour in {flavour for flavour, _ in ways}
        for which, stem in stems
    )


def _ambiguous(places: Iterable[PathInfo]) -> set[tuple[str, ...]]:
    """Bare folders that stand for several full ones."""
    full: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for place in places:
        full[_folders(place, "bare")].add(place.full)
    return {bare for bare, several in full.items() if len(several) > 1}


def _folders(place: PathInfo, flavour: str) -> tuple[str, ...]:
    if flavour == "loose":
        return ()
    return place.split, *map(to_words, place.full if flavour == "full" else place.bare)


def _find(
    mask: PathInfo,
    way: tuple[str, str],
    index: Mapping[tuple[str, ...], list[PathInfo]],
    outer: _Outer,
    sources: Sources,
) -> tuple[list[PathInfo], str]:
    """Images that match a mask, by the most literal of its stems, and the pattern of the mask."""
    flavour, own = way
    is_polygon_file = mask.path.suffix.lower() in formats.ANNOTATION_SUFFIXES
    ending = "*" + mask.path.suffix if is_polygon_file else ""

    def named(stem: str) -> list[PathInfo]:
        for which in ("stem", "bare stem") if stem else ():
            images = index.get((flavour, which, stem, *_folders(mask, own)), [])
            if flavour == "loose":
                images = [image for image in images if _may_belong(image, mask, outer)]
            if images:
                return images
        return []

    stems = {
        (mask.given,): (sources.masks or "").rsplit("/", 1)[-1],
        (mask.stem,): ending,
        # "cat_mask_1" may belong to "cat" or to "cat_1"; see `_settle_numbers`.
        (bare_mask_stem(mask.stem), numbered_stem(mask.stem)): affix_of(mask.stem) or ending,
    }
    for readings, affix in stems.items():
        images = list({image.path: image for stem in readings for image in named(stem)}.values())
        if images:
            folders = mask.bare_pattern if own == "bare" else mask.full_pattern
            return images, "/".join(filter(None, (folders, affix))) or "*"
    return [], ""


def _may_belong(image: PathInfo, mask: PathInfo, outer: _Outer) -> bool:
    """Whether image and mask are in folders of the same name, or one of them is in no folder."""
    if image.split and mask.split and image.split != mask.split:
        return False
    theirs, ours = image.full[outer.of_images :], mask.full[outer.of_masks :]
    if outer.is_one and not mask.bare[outer.of_masks :]:
        return True
    return not theirs or not ours or [*map(to_words, theirs)] == [*map(to_words, ours)]


def _outer_folders(found: Found, sources: Sources) -> _Outer:
    is_one = len({place.full for place in found.images.values()}) == 1
    if sources.masks is None:
        return _Outer(0, 0, is_one)
    of_images, of_masks = (
        0 if any(p.role for p in places) else common_start(p.full for p in places)
        for places in (found.images.values(), found.masks.values())
    )
    return _Outer(of_images, of_masks, is_one)


def _match_document(
    folder: Path,
    document: PurePosixPath,
    by_name: Mapping[str, list[PurePosixPath]],
    matched: Matched,
    problems: list[Problem],
) -> None:
    """Adds the images in a polygon file of many images to `matched`."""
    try:
        annotations = formats.read_annotations(folder / document).annotations
    except DataError as error:
        problems.append(Problem("polygons", str(error), (folder / document,)))
        return
    for name in sorted({annotation.image for annotation in annotations}):
        images = _named(name, by_name, document)
        if len(images) > 1:
            files = tuple(folder / path for path in (document, *images))
            text = f"{folder / document} names {name!r}, which may be any of {list_some(files[1:])}"
            problems.append(Problem("several files", text, files))
        for image in images if len(images) == 1 else ():
            matched[without_splits(document)][image].append(document)


def _named(
    name: str, by_name: Mapping[str, list[PurePosixPath]], document: PurePosixPath
) -> list[PurePosixPath]:
    """Images that a name in a polygon file, with or without folders, may refer to."""
    wanted = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    images = by_name.get(wanted.name, [])
    for is_nearer in (
        lambda path: path.parts[-len(wanted.parts) :] == wanted.parts,
        lambda path: path.parent == document.parent,
        lambda path: parse_path(path).split == split_of(document),
    ):
        images = [path for path in images if is_nearer(path)] or images
    return images


def _require_one_kind(folder: Path, matched: Matched) -> None:
    owner: dict[PurePosixPath, str] = {}
    for pattern, images in matched.items():
        for image in images:
            if owner.setdefault(image, pattern) != pattern:
                kinds = ", ".join(f"{p!r} ({len(i)} images)" for p, i in sorted(matched.items()))
                raise DataError(
                    f"{folder} contains several kinds of masks: {kinds}; accepted is one; choose "
                    f"with --masks, as in --masks {min(matched)!r}"
                )


def list_some(items: Sequence[object]) -> str:
    """Returns the first SHOWN files or names as text, and the number of further ones."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more
