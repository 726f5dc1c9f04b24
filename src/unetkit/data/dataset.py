"""Find pairs of image and mask in a folder or a table, by name and never by order.

    walk      every file once, links followed but never in circles
    match     each mask to its image (`matching`), or as a table says (`listing`)
    unfold    stacks of several pages become many pairs

What is ambiguous is not guessed: the candidates are listed with the option that decides. What has
no partner, or too many, is kept and reported; whether it stops a training is for `checking`.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from unetkit.data.filenames import Place, likely_masks, part_of
from unetkit.data.masks import MASK_SUFFIXES, MaskSource
from unetkit.data.pairing import SHOWN, Found, Matched, Problem, Sources, listed, match, sort_out
from unetkit.data.tables import TABLE_SUFFIXES, read_lists, read_table
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.io.images import ImageFile

MAX_FILES = 5_000_000
COLOURS = 3  # pages of which a colour model takes each for a picture
LAYOUTS = (
    "images/ with masks/, labels/, annotations/ or trimaps/; masks beside the images, as in "
    "cat.jpg and cat_mask.png; or a .csv of pairs"
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
        listed: How many pictures official lists name for each part, here or not; else empty.
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
    listed: dict[str, int] = field(default_factory=dict)

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
        ConfigError: `sources` chooses files, but the data is a table.
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
    found = sort_out(data, files, sources, problems)
    matched = match(data, found, sources, problems)
    pairs, own_parts, more = _make_pairs(data, found, matched, sources)
    if not pairs:
        raise _no_pairs(data, files, found, sources, [*problems, *more])
    listing = read_lists(data, files, [pair.name for pair in pairs])
    parts = listing.parts or _folder_parts(own_parts)
    if parts and not {"train", "trainval"} & set(parts.values()):
        parts = dict.fromkeys((pair.name for pair in pairs), "train") | parts
    unlisted = [pair.name for pair in pairs if parts and pair.name not in parts]
    return Dataset(
        source=data,
        pairs=tuple(pair for pair in pairs if not parts or pair.name in parts),
        masks=" and ".join(sorted(matched)),
        parts={pair.name: parts[pair.name] for pair in pairs if pair.name in parts},
        categories=listing.categories,
        kind="instances" if all(map(_holds_objects, matched)) else None,
        problems=_with_strays([*problems, *more]),
        unlisted=tuple(unlisted),
        listed=dict(Counter(listing.parts.values())),
    )


def _holds_objects(pattern: str) -> bool:
    """Whether masks are those of the Cell Tracking Challenge, a number an object."""
    return pattern.rsplit("/", 1)[-1].startswith(("man_seg", "man_track"))


def _with_strays(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Problems, where a polygon file that cannot be read is none of them if no image lacks one."""
    if any(problem.kind == "unpaired image" for problem in problems):
        return tuple(problems)
    return tuple(
        replace(problem, kind="stray") if problem.kind == "polygons" else problem
        for problem in problems
    )


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


def _make_pairs(
    folder: Path, found: Found, matched: Matched, sources: Sources
) -> tuple[list[Pair], dict[str, str], list[Problem]]:
    """Pairs of one image and one mask, and their folders' parts; what is left is a problem."""
    problems: list[Problem] = []
    pairs: list[Pair] = []
    parts: dict[str, str] = {}
    owners: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    masks_of: dict[PurePosixPath, list[PurePosixPath]] = {}
    for images in matched.values():
        for image, masks in images.items():
            masks_of[image] = masks
            for mask in masks:
                if mask in found.masks:
                    owners[mask].append(image)
    for image, masks in sorted(masks_of.items()):
        rivals = sorted({other for mask in masks for other in owners[mask]})
        if len(masks) > 1 or len(rivals) > 1:
            files = tuple(folder / path for path in sorted({*rivals, *masks, image}))
            what = f"{len(masks)} masks" if len(masks) > 1 else f"{len(rivals)} images"
            text = f"{listed(files)}: {what} share a name"
            problems.append(Problem("several files", text, files))
            continue
        place, mask = found.images[image], masks[0]
        part = place.part or (part_of(mask) if mask not in found.masks else found.masks[mask].part)
        name = "/".join(word for word in (part, *place.full, place.stem) if word)
        unfolded = _unfold(Pair(name, folder / image, folder / mask), sources, problems)
        pairs += unfolded
        parts |= {pair.name: part for pair in unfolded if part}
    used = set(masks_of) | set(owners)
    for kind, places in (("unpaired image", found.images), ("unpaired mask", found.masks)):
        for path in places:
            if path not in used:
                text = f"{folder / path} has no {'mask' if 'image' in kind else 'image'}"
                problems.append(Problem(kind, text, (folder / path,)))
    return _without_namesakes(pairs, problems), parts, problems


def _without_namesakes(pairs: Iterable[Pair], problems: list[Problem]) -> list[Pair]:
    """Pairs sorted by name, but for those that share one: cat.jpg and cat.png of a COCO file."""
    by_name: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_name[pair.name].append(pair)
    for name, same in by_name.items():
        if len(same) > 1:
            files = tuple(dict.fromkeys(pair.image for pair in same))
            text = f"{listed(files)}: {len(same)} pairs share the name {name!r}"
            problems.append(Problem("several files", text, files))
    return [same[0] for _, same in sorted(by_name.items()) if len(same) == 1]


def _unfold(pair: Pair, sources: Sources, problems: list[Problem]) -> list[Pair]:
    """One pair for each page of a stack; a TIFF with one mask may have its channels as pages.

    Three pages could be three pictures to a colour model, so that alone is not guessed.
    """
    try:
        with ImageFile(pair.image, sources.channel_axis) as image:
            pages, format = image.count, image.format
        masks = 1
        if not pair.source.is_drawn:
            with ImageFile(pair.mask) as mask:
                masks = mask.count
    except (DataError, DataNotFoundError):
        return [pair]  # whoever reads it says what is wrong with it
    if pages == masks == 1:
        return [pair]
    if masks == 1 and pages != COLOURS and format == "TIFF":
        return [pair]
    if pages == masks:
        return [replace(pair, name=f"{pair.name}_p{i:03d}", page=i) for i in range(pages)]
    text = f"{pair.image} has {pages} pages and its mask {pair.mask} has {masks}"
    if (pages, masks) == (COLOURS, 1):
        text += " (say --channel-axis first if they are the channels of one picture)"
    problems.append(Problem("pages", text, (pair.image, pair.mask)))
    return []


def _folder_parts(parts: dict[str, str]) -> dict[str, str]:
    """Parts by name where folders say which pairs are not for training."""
    return parts if set(parts.values()) & {"test", "validation"} else {}


def _tally(files: Sequence[PurePosixPath]) -> str:
    """The commonest endings of formats that are not read here."""
    suffixes = (path.suffix.lower() for path in files)
    endings = Counter(suffix for suffix in suffixes if suffix and suffix not in MASK_SUFFIXES)
    listed = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(SHOWN))
    return f" (but {listed})" if listed else ""


def _no_pairs(
    folder: Path,
    files: Sequence[PurePosixPath],
    found: Found,
    sources: Sources,
    problems: Sequence[Problem],
) -> Exception:
    images, masks = sorted(found.images), sorted(found.masks)
    reasons = [problem.text for problem in problems if not problem.kind.startswith("unpaired")]
    said = f" ({reasons[0].split('; ')[0]})" if reasons else ""
    missing = "images" if not images else "masks"
    if not images or not (masks or found.documents):
        others = found.images.values()
        pattern = getattr(sources, missing)
        which = f" whose path holds {pattern!r}" if pattern is not None else ""
        return DataNotFoundError(
            f"{folder} holds no {missing}{which}{said or _tally(files)}; accepted is a folder with "
            f"{LAYOUTS}; name such a folder, or say with --{missing} where they are"
            f"{_perhaps(others, others, sources)}"
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
        f"{_perhaps(found.images.values(), found.masks.values(), sources)}"
    )


def _perhaps(images: Iterable[Place], others: Iterable[Place], sources: Sources) -> str:
    """The options that may decide, as the end of an error sentence."""
    likely = likely_masks(list(images), list(others))
    patterns = [pattern for pattern in likely if pattern != sources.masks][:SHOWN]
    return f", perhaps {' or '.join(f'--masks {p!r}' for p in patterns)}" if patterns else ""


def _one_mask_an_object(found: Found) -> list[Place]:
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
    for option, pattern in (("--images", sources.images), ("--masks", sources.masks)):
        if pattern is not None:
            raise ConfigError(
                f"{option} is {pattern!r}, but {path} is a table, which names each image and its "
                "mask; accepted with a table are neither --images nor --masks; leave them out, or "
                "name the folder in place of the table"
            )
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
