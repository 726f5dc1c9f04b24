"""Find pairs of image and mask in a folder or a table, by name and never by order.

    walk      every file once, links followed but never in circles
    place     what folders and stems say (`layout`)
    match     each mask to its image, most literal way first
    unfold    stacks of several pages become many pairs

What is ambiguous is not guessed: the candidates are listed with the option that decides. What has
no partner, or too many, is kept and reported; whether it stops a training is for `checking`.
"""

import fnmatch
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from unetkit import annotations
from unetkit.classes import CLASS_FILES
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.layout import (
    Place,
    affix_of,
    bare_image_stem,
    bare_mask_stem,
    common_start,
    likely_masks,
    part_of,
    place_of,
    stem_by,
    without_parts,
)
from unetkit.listing import PARTS, TABLE_SUFFIXES, read_lists, read_table
from unetkit.masks import MaskSource
from unetkit.pictures import IMAGE_SUFFIXES, count_pictures
from unetkit.pixels import CHANNEL_AXES

MAX_FILES = 5_000_000
TIFF_SUFFIXES = (".tif", ".tiff")
MANY_IMAGES = ("coco", "cvat")  # formats of polygon files that hold many images
SHOWN = 5  # names listed in a message before "and N more"
LAYOUTS = (
    "images/ with masks/, labels/, annotations/ or trimaps/; masks beside the images, as in "
    "cat.jpg and cat_mask.png; or a .csv of pairs"
)


@dataclass(frozen=True)
class Sources:
    """What decides where a folder leaves open which files are images and which masks.

    Args:
        images: A part of the path of images, with * for anything; None to go by names.
        masks: The same for masks, such as "GT/SEG" or "*_labels.png". In the last part of either,
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
class Pair:
    """One image with its mask.

    Args:
        name: What both are called: the stem, with folders where stems repeat.
        image: The file.
        mask: A picture, or a polygon file.
        page: Number of the picture in files of several; None for the only one.
    """

    name: str
    image: Path
    mask: Path
    page: int | None = None

    @property
    def source(self) -> MaskSource:
        return MaskSource(self.mask, self.page, self.image.name)


@dataclass(frozen=True)
class Problem:
    """Files that make no pair, and why.

    Args:
        kind: "unpaired image", "unpaired mask", "several files", "pages", "missing" or "folder".
        text: What is wrong, with the files' names.
        files: The files.
    """

    kind: str
    text: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Dataset:
    """The pairs of a folder or a table.

    Args:
        source: The data folder, or the table of pairs.
        pairs: Sorted by name.
        masks: Where the masks are, as a pattern.
        parts: "train", "validation", "trainval" or "test" by name, where lists, folders or a column
            say so; else empty.
        categories: Category by name (a breed), for a stratified split; else empty.
        groups: What must not be torn apart, by name, where a column says so; else empty.
        kind: Kind of mask, where the layout alone tells; else None.
        problems: What makes no pair.
        unlisted: Pairs that official lists leave out, by name.
    """

    source: Path
    pairs: tuple[Pair, ...]
    masks: str
    parts: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    kind: str | None = None
    problems: tuple[Problem, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The data folder, or the one that the table lies in."""
        return self.source.parent if self.source.is_file() else self.source

    @property
    def label(self) -> str:
        """What a run or a result calls the data."""
        return self.source.resolve().stem if self.source.is_file() else self.source.resolve().name


def find_dataset(data: str | Path, sources: Sources | None = None) -> Dataset:
    """Finds the pairs of image and mask in a folder, or reads a table of them.

    Args:
        data: A folder, or a .csv or .tsv file with the columns image and mask.
        sources: Which files are images and which masks, where names leave it open.

    Raises:
        DataNotFoundError: The path does not exist, or holds no images or no masks.
        DataError: No image has a mask, or several sources of masks compete.
    """
    data, sources = Path(data), sources or Sources()
    if data.is_file() and data.suffix.lower() in TABLE_SUFFIXES:
        return _from_table(data, sources)
    if not data.is_dir():
        what = "is a file" if data.exists() else "does not exist"
        raise DataNotFoundError(
            f"data folder {data} {what}; accepted is a folder with {LAYOUTS}; check the path"
        )
    files, problems = _walk(data)
    found = _sort_out(data, files, sources, problems)
    matched = _match(data, found, sources, problems)
    pairs, more = _make_pairs(data, found, matched, sources)
    if not pairs:
        raise _no_pairs(data, found, [*problems, *more])
    listing = read_lists(data, files, [pair.name for pair in pairs])
    parts = listing.parts or _folder_parts(pairs)
    unlisted = [pair.name for pair in pairs if parts and pair.name not in parts]
    return Dataset(
        source=data,
        pairs=tuple(pair for pair in pairs if not parts or pair.name in parts),
        masks=" and ".join(sorted(matched)),
        parts={pair.name: parts[pair.name] for pair in pairs if pair.name in parts},
        categories=listing.categories,
        kind="instances" if all("man_" in pattern for pattern in matched) else None,
        problems=(*problems, *more),
        unlisted=tuple(unlisted),
    )


@dataclass
class _Found:
    """Files that may be images or masks, by their place; polygon files of many images apart."""

    images: dict[PurePosixPath, Place] = field(default_factory=dict)
    masks: dict[PurePosixPath, Place] = field(default_factory=dict)
    documents: list[PurePosixPath] = field(default_factory=list)


def _walk(folder: Path) -> tuple[list[PurePosixPath], list[Problem]]:
    """All files, relative; links to folders are followed, but each folder is entered once."""
    files: list[PurePosixPath] = []
    problems: list[Problem] = []
    entered: set[str] = set()

    def refuse(error: OSError) -> None:
        path = Path(error.filename or folder)
        text = f"folder {path} cannot be read ({error.strerror}); its files are left out"
        problems.append(Problem("folder", text, (path,)))

    waiting = [folder]
    while waiting:  # links come last, so that a folder goes by its own name
        for root, folders, names in os.walk(waiting.pop(0), onerror=refuse):
            real = os.path.realpath(root)
            if real in entered:
                folders.clear()
                continue
            entered.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [path for name in folders if (path := Path(root, name)).is_symlink()]
            relative = PurePosixPath(Path(root).relative_to(folder).as_posix())
            files += [relative / name for name in sorted(names) if not name.startswith(".")]
            if len(files) > MAX_FILES:
                raise DataError(
                    f"{folder} holds more than {MAX_FILES:,} files; accepted are fewer; name the "
                    "folder of the images and masks themselves"
                )
    return files, problems


def _sort_out(
    folder: Path, files: Sequence[PurePosixPath], sources: Sources, problems: list[Problem]
) -> _Found:
    """Images, masks and polygon files, by their names and by what was decided."""
    found = _Found()
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    polygons = _polygon_files(folder, files, sources, found, problems)
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
    return found


def _polygon_files(
    folder: Path,
    files: Sequence[PurePosixPath],
    sources: Sources,
    found: _Found,
    problems: list[Problem],
) -> list[PurePosixPath]:
    """Polygon files of one image each; those of many images go to `found`."""
    single: list[PurePosixPath] = []
    for path in files:
        if path.suffix.lower() not in annotations.ANNOTATION_SUFFIXES or path.name in CLASS_FILES:
            continue
        if sources.masks is not None and not _fits(path, sources.masks):
            continue
        try:
            format = annotations.annotation_format(folder / path)
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
    taken = {}
    for path, place in list(images.items()):
        bare = bare_mask_stem(place.stem)
        if bare != place.stem and (path.parent, bare) in partners:
            taken[path] = images.pop(path)
    return taken


# For each pattern of masks: the images that a mask names, and the masks that do.
_Matched = dict[str, dict[PurePosixPath, list[PurePosixPath]]]
# How folders of image and mask are compared, most literal first. "full" and "bare" are those of
# `Place`; "loose" is `_may_belong`.
_LITERAL = (("full", "full"), ("full", "bare"), ("bare", "full"))
_LENIENT = (("bare", "bare"), ("loose", "loose"))


def _match(folder: Path, found: _Found, sources: Sources, problems: list[Problem]) -> _Matched:
    """Matches masks to images, and refuses to choose between several kinds of masks.

    A folder of masks is matched in the most literal way that fits any of its masks, so that a mask
    without an image never takes that of another folder.

    Raises:
        DataError: Two patterns of masks name the same image.
    """
    matched: _Matched = defaultdict(lambda: defaultdict(list))
    roots = (0, 0)
    if sources.masks is not None:  # as in "photos of 2019/" and "regions/"
        roots = _root(found.images.values()), _root(found.masks.values())
    by_folder: dict[PurePosixPath, list[Place]] = defaultdict(list)
    for path, place in found.masks.items():
        by_folder[path.parent].append(place)
    # "images_a" and "masks_b" may be one set, unless there are "images_b" or "masks_a" too.
    crowded = _crowded(found.images.values()) | _crowded(found.masks.values())
    for ways in (_LITERAL, _LENIENT):
        taken = {image.parent for images in matched.values() for image in images}
        index: dict[tuple[str, ...], list[Place]] = defaultdict(list)
        for path, place in found.images.items():
            if path.parent in taken or (ways == _LENIENT and _folders(place, "bare") in crowded):
                continue
            for key in _image_keys(place, ways):
                index[key].append(place)
        for parent, masks in list(by_folder.items()):
            for way in ways:
                hits = [(mask, *_find(mask, way, index, roots, sources)) for mask in masks]
                for mask, images, pattern in hits:
                    for image in images:
                        matched[pattern][image.path].append(mask.path)
                if any(images for _, images, _ in hits):
                    del by_folder[parent]
                    break
    for document in found.documents:
        _match_document(folder, document, found, matched, problems)
    if sources.masks in matched:  # it may be a part of another pattern, as "masks" of "masks_old"
        chosen = matched[sources.masks]
        others = {mask for masks in matched.values() for group in masks.values() for mask in group}
        others -= {mask for group in chosen.values() for mask in group}
        found.masks = {path: place for path, place in found.masks.items() if path not in others}
        return {sources.masks: chosen}
    _require_one_kind(folder, matched)
    return matched


def _image_keys(place: Place, ways: Sequence[tuple[str, str]]) -> dict[tuple[str, ...], None]:
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
    return (place.part, *(place.full if flavour == "full" else place.bare))


def _find(
    mask: Place,
    way: tuple[str, str],
    index: Mapping[tuple[str, ...], list[Place]],
    roots: tuple[int, int],
    sources: Sources,
) -> tuple[list[Place], str]:
    """Images that a mask names, by the most literal of its stems, and the mask's pattern."""
    flavour, own = way
    ending = "*" + mask.path.suffix if mask.path.suffix.lower() == ".json" else ""
    stems = {
        mask.given: (sources.masks or "").rsplit("/", 1)[-1],
        mask.stem: ending,
        bare_mask_stem(mask.stem): affix_of(mask.stem) or ending,
    }
    for stem, affix in stems.items():
        for which in ("stem", "bare stem") if stem else ():
            images = index.get((flavour, which, stem, *_folders(mask, own)), [])
            if flavour == "loose":
                images = [image for image in images if _may_belong(image, mask, roots)]
            if images:
                folders = mask.bare_pattern if own == "bare" else mask.full_pattern
                return images, "/".join(part for part in (folders, affix) if part) or "*"
    return [], ""


def _may_belong(image: Place, mask: Place, roots: tuple[int, int]) -> bool:
    """Whether folders are equal, or one file lies in no folder, so that stems alone decide."""
    if image.part and mask.part and image.part != mask.part:
        return False
    theirs, ours = image.full[roots[0] :], mask.full[roots[1] :]
    return not theirs or not ours or theirs == ours


def _root(places: Iterable[Place]) -> int:
    """Number of outer folders that stand for a role which their names do not tell."""
    return 0 if any(p.role for p in places) else common_start(p.full for p in places)


def _match_document(
    folder: Path,
    document: PurePosixPath,
    found: _Found,
    matched: _Matched,
    problems: list[Problem],
) -> None:
    """Adds the images that a polygon file of many images names."""
    try:
        drawings = annotations.read_annotations(folder / document).drawings
    except DataError as error:
        problems.append(Problem("polygons", str(error), (folder / document,)))
        return
    by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in found.images:
        by_name[unicodedata.normalize("NFC", path.name)].append(path)
    for name in sorted({drawing.image for drawing in drawings}):
        images = _named(name, by_name, document)
        if len(images) > 1:
            files = tuple(folder / path for path in (document, *images))
            text = f"{folder / document} names {name!r}, which {_listed(files[1:])} may be"
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


def _require_one_kind(folder: Path, matched: _Matched) -> None:
    owner: dict[PurePosixPath, str] = {}
    for pattern, images in matched.items():
        for image in images:
            if owner.setdefault(image, pattern) != pattern:
                listed = ", ".join(f"{p!r} ({len(i)} images)" for p, i in sorted(matched.items()))
                raise DataError(
                    f"{folder} holds several kinds of masks: {listed}; accepted is one; choose "
                    f"with --masks, as in --masks {min(matched)!r}"
                )


def _make_pairs(
    folder: Path, found: _Found, matched: _Matched, sources: Sources
) -> tuple[list[Pair], list[Problem]]:
    """Pairs of one image and one mask; whatever is more or less becomes a problem."""
    problems: list[Problem] = []
    pairs: list[Pair] = []
    owners: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    masks_of: dict[PurePosixPath, list[PurePosixPath]] = {}
    for images in matched.values():
        for image, masks in images.items():
            masks_of[image] = masks
            for mask in masks:
                if mask not in found.documents:
                    owners[mask].append(image)
    for image, masks in sorted(masks_of.items()):
        rivals = sorted({other for mask in masks for other in owners[mask]})
        if len(masks) > 1 or len(rivals) > 1:
            files = tuple(folder / path for path in sorted({*rivals, *masks, image}))
            what = f"{len(masks)} masks" if len(masks) > 1 else f"{len(rivals)} images"
            text = f"{_listed(files)}: {what} share a name"
            problems.append(Problem("several files", text, files))
            continue
        place, mask = found.images[image], masks[0]
        part = place.part or (part_of(mask) if mask not in found.masks else found.masks[mask].part)
        name = "/".join(word for word in (part, *place.full, place.stem) if word)
        pairs += _unfold(Pair(name, folder / image, folder / mask), sources, problems)
    used = set(masks_of) | set(owners)
    for kind, places in (("unpaired image", found.images), ("unpaired mask", found.masks)):
        for path in places:
            if path not in used:
                text = f"{folder / path} has no {'mask' if 'image' in kind else 'image'}"
                problems.append(Problem(kind, text, (folder / path,)))
    return _without_namesakes(pairs, problems), problems


def _without_namesakes(pairs: Iterable[Pair], problems: list[Problem]) -> list[Pair]:
    """Pairs sorted by name, but for those that share one: cat.jpg and cat.png of a COCO file."""
    by_name: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_name[pair.name].append(pair)
    for name, same in by_name.items():
        if len(same) > 1:
            files = tuple(dict.fromkeys(pair.image for pair in same))
            text = f"{_listed(files)}: {len(same)} pairs share the name {name!r}"
            problems.append(Problem("several files", text, files))
    return [same[0] for _, same in sorted(by_name.items()) if len(same) == 1]


def _listed(files: Sequence[Path]) -> str:
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(map(str, files[:SHOWN])) + more


def _unfold(pair: Pair, sources: Sources, problems: list[Problem]) -> list[Pair]:
    """One pair for each page of a stack; a TIFF with one mask may have its channels as pages."""
    try:
        pages = count_pictures(pair.image, sources.channel_axis)
        masks = 1 if pair.source.is_drawn else count_pictures(pair.mask)
    except (DataError, DataNotFoundError):
        return [pair]  # whoever reads it says what is wrong with it
    if pages == masks == 1 or (masks == 1 and pair.image.suffix.lower() in TIFF_SUFFIXES):
        return [pair]
    if pages == masks:
        return [replace(pair, name=f"{pair.name}_p{i:03d}", page=i) for i in range(pages)]
    text = f"{pair.image} has {pages} pages and its mask {pair.mask} has {masks}"
    problems.append(Problem("pages", text, (pair.image, pair.mask)))
    return []


def _folder_parts(pairs: Sequence[Pair]) -> dict[str, str]:
    """Parts by name where folders say which pairs are not for training."""
    parts = {pair.name: pair.name.split("/")[0] for pair in pairs if "/" in pair.name}
    known = {name: part for name, part in parts.items() if part in PARTS}
    return known if set(known.values()) & {"test", "validation"} else {}


def _no_pairs(folder: Path, found: _Found, problems: Sequence[Problem]) -> Exception:
    images, masks = sorted(found.images), sorted(found.masks)
    reasons = [problem.text for problem in problems if not problem.kind.startswith("unpaired")]
    said = f" ({reasons[0].split('; ')[0]})" if reasons else ""
    missing = "images" if not images else "masks"
    if not images or not (masks or found.documents):
        others = found.images.values()
        return DataNotFoundError(
            f"{folder} holds no {missing}{said}; accepted is a folder with {LAYOUTS}; name such a "
            f"folder, or say with --{missing} where they are{_perhaps(others, others)}"
        )
    if reasons:
        return DataError(
            f"no image in {folder} has one mask{said}; accepted is one mask an image; correct the "
            "files, choose with --images or --masks, or list the pairs in a .csv"
        )
    crowded = _one_mask_an_object(found)
    if crowded:
        return DataError(
            f"no image in {folder} has a mask of its name, but in {crowded[0].path.parent} are "
            f"{len(crowded)} files beside one image, as if each were an object; accepted is one "
            "mask an image; draw the objects of an image into one mask, each with its own number"
        )
    return DataError(
        f"no image in {folder} has a mask: {_count(images)} images, {_count(masks)} masks; "
        "a mask bears its image's name, as in cat.jpg and cat.png; rename one or the other, list "
        "the pairs in a .csv, or say with --masks which part of a name they share"
        f"{_perhaps(found.images.values(), found.masks.values())}"
    )


def _perhaps(images: Iterable[Place], others: Iterable[Place]) -> str:
    """The options that may decide, as the end of an error sentence."""
    patterns = likely_masks(list(images), list(others))[:SHOWN]
    return f", perhaps {' or '.join(f'--masks {p!r}' for p in patterns)}" if patterns else ""


def _one_mask_an_object(found: _Found) -> list[Place]:
    """Masks of an image's folder that holds several, where each image has a folder of its own."""
    images = Counter((place.part, place.full) for place in found.images.values())
    masks: dict[tuple[str, tuple[str, ...]], list[Place]] = defaultdict(list)
    for place in found.masks.values():
        masks[place.part, place.full].append(place)
    if len(images) < 2 or max(images.values()) > 1:
        return []
    return max((masks[key] for key in images if len(masks[key]) > 1), key=len, default=[])


def _count(paths: Sequence[PurePosixPath]) -> str:
    return f"{len(paths)}" + (f" ({paths[0]} first)" if paths else "")


def _from_table(path: Path, sources: Sources) -> Dataset:
    """The pairs that a table lists."""
    rows = read_table(path)
    problems: list[Problem] = []
    pairs: list[Pair] = []
    parts: dict[str, str] = {}
    groups: dict[str, str] = {}
    for row in rows:
        absent = [file for file in (row.image, row.mask) if not os.path.isfile(file)]
        if absent:
            text = f"{path} names {absent[0]}, which does not exist"
            problems.append(Problem("missing", text, tuple(absent)))
            continue
        for pair in _unfold(Pair(row.name, row.image, row.mask), sources, problems):
            pairs.append(pair)
            if row.part:
                parts[pair.name] = row.part
            if row.group:
                groups[pair.name] = row.group
    if not pairs:
        raise DataError(
            f"table {path} names no pair of files that exist ({len(rows)} rows); accepted are "
            "paths relative to the table's folder; correct them"
        )
    return Dataset(
        source=path,
        pairs=tuple(_without_namesakes(pairs, problems)),
        masks=path.name,
        parts=parts,
        groups=groups,
        problems=tuple(problems),
    )
