"""Which files of a folder are images, which are masks, and which belong together: by their names.

    sort      what folders and stems say (`layout`), or what the user says
    match     each mask to its image, most literal way first

Several kinds of masks for one image are refused with the pattern of each, as `--masks` takes it.
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
    Place,
    affix_of,
    bare_image_stem,
    bare_mask_stem,
    common_start,
    numbered_stem,
    part_of,
    place_of,
    stem_by,
    stem_role,
    to_words,
    without_parts,
)
from unetkit.errors import ConfigError, DataError
from unetkit.io.images import IMAGE_SUFFIXES
from unetkit.io.pixel_format import CHANNEL_AXES

MANY_IMAGES = ("coco", "cvat")  # formats of polygon files that hold many images
SHOWN = 5  # names listed in a message before "and N more"


@dataclass(frozen=True)
class Sources:
    """What decides where a folder leaves open which files are images and which masks.

    Args:
        images: A part of the path of images, with * for anything; None to go by names.
        masks: The same for masks, such as `GT/SEG` or `*_labels.png`. In the last part of either,
            what stands for * is the stem that image and mask share.
        channel_axis: Where a TIFF that does not say keeps its channels: "auto", "first", "last".
        skip_bad: Whether to go on without files that make no pair and pairs that cannot be read.

    Raises:
        ConfigError: `channel_axis` is another word.
    """

    images: str | None = None
    masks: str | None = None
    channel_axis: str = "auto"
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.channel_axis not in CHANNEL_AXES:
            raise ConfigError(
                f"channel_axis is {self.channel_axis!r}; accepted are {', '.join(CHANNEL_AXES)}; "
                "choose one"
            )


@dataclass(frozen=True)
class Problem:
    """Files that make no pair, and why.

    Args:
        kind: "unpaired image", "unpaired mask", "several files", "pages", "missing",
            "folder", "polygons", or "stray" for polygons that no image needs.
        text: What is wrong, with the files' names.
        files: The files.
    """

    kind: str
    text: str
    files: tuple[Path, ...]


@dataclass
class Found:
    """Files that may be images or masks, by their place; polygon files of many images apart."""

    images: dict[PurePosixPath, Place] = field(default_factory=dict)
    masks: dict[PurePosixPath, Place] = field(default_factory=dict)
    documents: list[PurePosixPath] = field(default_factory=list)


def sort_out(
    folder: Path, files: Sequence[PurePosixPath], sources: Sources, problems: list[Problem]
) -> Found:
    """Images, masks and polygon files, by their names and by what was decided.

    Raises:
        DataError: The name of one cannot be written.
    """
    found = Found()
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    polygons = _polygon_files(folder, files, sources, found, problems)
    for path in (*pictures, *polygons):
        _require_utf8(folder, path)
    # A folder that all lie in tells nothing: "dataset_with_gt/..." does not make them all masks.
    skip = common_start(path.parts[:-1] for path in (*pictures, *polygons))
    places = {path: place_of(path, skip) for path in pictures}
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
    drawn = {path: place_of(path, skip) for path in polygons}
    found.masks |= drawn if sources.masks is None else _chosen(drawn, sources.masks)
    _name_by_folder(found)
    return found


def _require_utf8(folder: Path, path: PurePosixPath) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{folder} holds {str(path)!a}, a name that is not UTF-8; accepted are names that can "
            "be written and shown; rename the file or its folder"
        ) from error


def _polygon_files(
    folder: Path,
    files: Sequence[PurePosixPath],
    sources: Sources,
    found: Found,
    problems: list[Problem],
) -> list[PurePosixPath]:
    """Polygon files of one image each; those of many images go to `found`."""
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
        if format in MANY_IMAGES:
            found.documents.append(path)
        elif format is not None:
            single.append(path)
    return single


def _chosen(places: Mapping[PurePosixPath, Place], pattern: str) -> dict[PurePosixPath, Place]:
    """Files that the user's pattern means, with the stems that it tells."""
    return {
        path: replace(place, given=stem_by(pattern, path.name))
        for path, place in places.items()
        if _fits(path, pattern)
    }


def _fits(path: PurePosixPath, pattern: str) -> bool:
    literal = pattern.replace("[", "[[]").replace("?", "[?]")  # only * stands for anything
    return fnmatch.fnmatchcase(path.as_posix(), f"*{literal}*")


def _take_beside(images: dict[PurePosixPath, Place]) -> dict[PurePosixPath, Place]:
    """Takes masks that lie beside their images, as in cat.jpg and cat_mask.png, from the images."""
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
        # Where folders are samples, a "mask.png" without its image is a mask too.
        is_sample = bool(samples) and not place.role and stem_role(place.stem) == "mask"
        if is_named or is_numbered or is_sample:
            taken[path] = images.pop(path)
    return taken


def _sample_folders(images: Iterable[Place], masks: Iterable[Place]) -> set[PurePosixPath]:
    """Folders of one sample each: one file called "image", or a word for it, and one "mask"."""
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
    """Gives the image and the mask of a sample's folder the folder's name as their stem."""
    samples = _sample_folders(found.images.values(), found.masks.values())
    images = [place for place in found.images.values() if stem_role(place.stem) == "image"]
    stems = {place.path.parent: place.stem for place in images if place.path.parent in samples}
    for places, role in ((found.images, "image"), (found.masks, "mask")):
        for path, place in list(places.items()):
            if path.parent not in samples or stem_role(place.stem) != role:
                continue
            # A folder that tells a part, or that all files lie in, is no name.
            is_named = place.full[-1:] == (unicodedata.normalize("NFC", path.parent.name),)
            places[path] = replace(
                place,
                stem=place.full[-1] if is_named else stems[path.parent],
                full=place.full[:-1] if is_named else place.full,
                bare=place.bare[:-1] if is_named else place.bare,
                full_pattern="/".join(part for part in (place.full_pattern, place.stem) if part),
                bare_pattern="/".join(part for part in (place.bare_pattern, place.stem) if part),
            )


# For each pattern of masks: the images that a mask names, and the masks that do.
Matched = dict[str, dict[PurePosixPath, list[PurePosixPath]]]
# How folders of image and mask are compared, most literal first. "full" and "bare" are those of
# `Place`; "loose" is `_may_belong`.
_Ways = tuple[tuple[str, str], ...]
_LITERAL: _Ways = (("full", "full"), ("full", "bare"), ("bare", "full"))
_LENIENT: _Ways = (("bare", "bare"), ("loose", "loose"))


# A mask, the images that it names, and its pattern.
_Hit = tuple[Place, list[Place], str]


class _Outer(NamedTuple):
    """Folders whose names do not tell a role, but which have one: "photos of 2019/", "regions/".

    Args:
        of_images: Number of outer folders of all images, where the user says which files are masks.
        of_masks: The same of masks.
        is_one: Whether all images lie in one folder.
    """

    of_images: int
    of_masks: int
    is_one: bool


def match(folder: Path, found: Found, sources: Sources, problems: list[Problem]) -> Matched:
    """Matches masks to images, and refuses to choose between several kinds of masks.

    Raises:
        DataError: Two patterns of masks name the same image.
    """
    matched = _match_places(found, sources)
    by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in found.images:
        by_name[unicodedata.normalize("NFC", path.name)].append(path)
    for document in found.documents:
        _match_document(folder, document, by_name, matched, problems)
    if sources.masks in matched:  # it may be a part of another pattern, as "masks" of "masks_old"
        chosen = matched[sources.masks]
        others = {mask for masks in matched.values() for group in masks.values() for mask in group}
        others -= {mask for group in chosen.values() for mask in group}
        found.masks = {path: place for path, place in found.masks.items() if path not in others}
        return {sources.masks: chosen}
    _require_one_kind(folder, matched)
    return matched


def _match_places(found: Found, sources: Sources) -> Matched:
    """Matches by stems and folders.

    A folder of masks is matched in the most literal way that fits any of its masks, so that a mask
    without an image never takes that of another folder.
    """
    matched: Matched = defaultdict(lambda: defaultdict(list))
    outer = _outer_folders(found, sources)
    waiting: dict[PurePosixPath, list[Place]] = defaultdict(list)
    for path, place in found.masks.items():
        waiting[path.parent].append(place)
    # "images_a" and "masks_b" may be one set, unless there are "images_b" or "masks_a" too.
    crowded = _crowded(found.images.values()) | _crowded(found.masks.values())
    for ways in (_LITERAL, _LENIENT):
        taken = {image.parent for images in matched.values() for image in images}
        index: dict[tuple[str, ...], list[Place]] = defaultdict(list)
        for path, place in found.images.items():
            if ways == _LITERAL or not (path.parent in taken or _folders(place, "bare") in crowded):
                for key in _image_keys(place, ways):
                    index[key].append(place)
        for parent, masks in list(waiting.items()):
            if ways == _LENIENT and _folders(masks[0], "bare") in crowded:
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
    """Gives "cat_mask_1" to "cat_1", or to "cat", where the other one has a mask of its own."""
    owned = {images[0].path for _, images, _ in hits if len(images) == 1}
    settled = []
    for mask, images, pattern in hits:
        if numbered_stem(mask.stem) and len(images) > 1:
            images = [image for image in images if image.path not in owned] or images
        settled.append((mask, images, pattern))
    return settled


def _image_keys(place: Place, ways: _Ways) -> dict[tuple[str, ...], None]:
    """Keys under which an image is found, each once."""
    stems = [("stem", stem) for stem in (place.given, place.stem) if stem]
    stems.append(("bare stem", bare_image_stem(place.stem)))
    return dict.fromkeys(
        (flavour, which, stem, *_folders(place, flavour))
        for flavour in {flavour for flavour, _ in ways}
        for which, stem in stems
    )


def _crowded(places: Iterable[Place]) -> set[tuple[str, ...]]:
    """Bare folders that several full ones have in common."""
    full: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for place in places:
        full[_folders(place, "bare")].add(place.full)
    return {bare for bare, several in full.items() if len(several) > 1}


def _folders(place: Place, flavour: str) -> tuple[str, ...]:
    if flavour == "loose":
        return ()
    return place.part, *map(to_words, place.full if flavour == "full" else place.bare)


def _find(
    mask: Place,
    way: tuple[str, str],
    index: Mapping[tuple[str, ...], list[Place]],
    outer: _Outer,
    sources: Sources,
) -> tuple[list[Place], str]:
    """Images that a mask names, by the most literal of its stems, and the mask's pattern."""
    flavour, own = way
    is_drawn = mask.path.suffix.lower() in formats.ANNOTATION_SUFFIXES
    ending = "*" + mask.path.suffix if is_drawn else ""

    def named(stem: str) -> list[Place]:
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
        # "cat_mask_1" may be of "cat" or of "cat_1": `_settle_numbers`.
        (bare_mask_stem(mask.stem), numbered_stem(mask.stem)): affix_of(mask.stem) or ending,
    }
    for readings, affix in stems.items():
        images = list({image.path: image for stem in readings for image in named(stem)}.values())
        if images:
            folders = mask.bare_pattern if own == "bare" else mask.full_pattern
            return images, "/".join(part for part in (folders, affix) if part) or "*"
    return [], ""


def _may_belong(image: Place, mask: Place, outer: _Outer) -> bool:
    """Whether folders are equal, or one file lies in no folder, so that stems alone decide."""
    if image.part and mask.part and image.part != mask.part:
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
    """Adds the images that a polygon file of many images names."""
    try:
        drawings = formats.read_annotations(folder / document).drawings
    except DataError as error:
        problems.append(Problem("polygons", str(error), (folder / document,)))
        return
    for name in sorted({drawing.image for drawing in drawings}):
        images = _named(name, by_name, document)
        if len(images) > 1:
            files = tuple(folder / path for path in (document, *images))
            text = f"{folder / document} names {name!r}, which {listed(files[1:])} may be"
            problems.append(Problem("several files", text, files))
        for image in images if len(images) == 1 else ():
            matched[without_parts(document)][image].append(document)


def _named(
    name: str, by_name: Mapping[str, list[PurePosixPath]], document: PurePosixPath
) -> list[PurePosixPath]:
    """Images that a polygon file may mean by a name, which may have folders in front."""
    wanted = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    images = by_name.get(wanted.name, [])
    for is_nearer in (
        lambda path: path.parts[-len(wanted.parts) :] == wanted.parts,
        lambda path: path.parent == document.parent,
        lambda path: place_of(path).part == part_of(document),
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
                    f"{folder} holds several kinds of masks: {kinds}; accepted is one; choose "
                    f"with --masks, as in --masks {min(matched)!r}"
                )


def listed(items: Sequence[object]) -> str:
    """The first of some files or names, and how many more there are."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more
