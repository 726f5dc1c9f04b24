"""Match each mask to its image by their names, the most literal way first.

If an image has several kinds of masks, the error lists a pattern for each, as `--masks` takes it.
Which files are images and which are masks is decided in `sources`.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unetkit.data.annotations import formats
from unetkit.data.filenames import (
    PathInfo,
    affix_of,
    bare_image_stem,
    bare_mask_stem,
    common_start,
    numbered_stem,
    parse_path,
    split_of,
    to_words,
    without_splits,
)
from unetkit.data.sources import Found, Problem, Sources, list_some
from unetkit.errors import DataError

# For each pattern of masks: images, and the masks that match each of them.
Matched = dict[str, dict[PurePosixPath, list[PurePosixPath]]]
# Which folders of image and mask are compared, most literal first. "full" and "bare" are fields of
# `PathInfo`; "loose" compares by `_may_belong`.
_Ways = tuple[tuple[str, str], ...]
_LITERAL: _Ways = (("full", "full"), ("full", "bare"), ("bare", "full"))
_LENIENT: _Ways = (("bare", "bare"), ("loose", "loose"))


_ENDING_NUMBER = re.compile(r"(.*?)(\d+)")
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
        by_name[unicodedata.normalize("NFC", path.stem)].append(path)  # names without a suffix
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


def match_by_number(found: Found) -> Matched:
    """Matches masks to images by their numbers, if these differ in leading zeros only.

    Returns:
        A mask for some of the images; empty unless every mask has the number of one image, and no
        number occurs twice.
    """
    images = _by_number(found.images.values(), bare_image_stem)
    masks = _by_number(found.masks.values(), bare_mask_stem)
    if len(masks) < 2 or not masks.keys() <= images.keys():
        return {}
    return {"masks by number": {images[key]: [mask] for key, mask in masks.items()}}


def _by_number(
    places: Iterable[PathInfo], bare: Callable[[str], str]
) -> dict[tuple[str, tuple[str, ...], str, int], PurePosixPath]:
    """Files by split, folders, and the text and number of their names; empty if any repeats."""
    found: dict[tuple[str, tuple[str, ...], str, int], PurePosixPath] = {}
    for place in places:
        named = _ENDING_NUMBER.fullmatch(bare(place.stem))
        if named is None:
            continue
        key = place.split, place.full, named[1], int(named[2])
        if key in found:
            return {}
        found[key] = place.path
    return found


def likely_patterns(found: Found) -> str:
    """Returns options that match names with other beginnings or ends, to end an error sentence.

    The beginnings "x_" and "y_" of x_01.png and y_01.png give --images 'x_*.png' --masks 'y_*.png'.
    """
    options = []
    keys: list[set[str]] = []
    for option, places in (("--images", found.images), ("--masks", found.masks)):
        stems = [place.stem for place in places.values()]
        start = stems[0][: common_start(stems)].rstrip("0123456789")
        ends = [stem[len(start) :][::-1] for stem in stems]
        end = ends[0][: common_start(ends)].rstrip("0123456789")[::-1]
        suffixes = {path.suffix for path in places}
        suffix = suffixes.pop() if len(suffixes) == 1 else ""
        options.append(f"{option} '{start}*{end}{suffix}'")
        keys.append({stem[len(start) : len(stem) - len(end)] for stem in stems})
    common = keys[0] & keys[1] - {""}
    return f", perhaps {' '.join(options)}" if len(common) > len(found.masks) / 2 else ""


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
    has_shapes = mask.path.suffix.lower() in formats.ANNOTATION_SUFFIXES
    ending = "*" + mask.path.suffix if has_shapes else ""

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
        content = formats.read_annotations(folder / document)
    except DataError as error:
        problems.append(Problem("polygons", str(error), (folder / document,)))
        return
    for text in content.unplaced:
        text = f"{folder / document}: {text}"
        problems.append(Problem("unplaced", text, (folder / document,)))
    for name in sorted({annotation.image for annotation in content.annotations}):
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
