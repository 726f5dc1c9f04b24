"""Find pairs of image and mask in a folder or a table, by name and never by order.

    walk      list every file once; links are followed, but never in circles
    sort      decide which files are images and which are masks (`sources`)
    match     find the image of each mask by names (`pairing`) or in a table (`tables`)
    unfold    make a pair of each page of a stack

Ambiguous names are not guessed: the error lists the candidates and the option that decides. Files
without a counterpart, or with several, are reported as problems; whether a problem prevents
training is decided in `checks`.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from unetkit._shared.files import is_present
from unetkit.data.annotations.formats import ANNOTATION_SUFFIXES
from unetkit.data.blocks import choose_blocks, cut_into_blocks
from unetkit.data.classes import CLASS_FILES
from unetkit.data.filenames import PathInfo, common_start, likely_masks, parse_path, split_of
from unetkit.data.mask_files import GroupedFiles, group_mask_files, several_files_remedy
from unetkit.data.masks import MASK_SUFFIXES, MaskPart, find_annotation, read_raw_mask
from unetkit.data.pairing import Matched, likely_patterns, match_by_number, match_masks
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.run_order import with_run_order
from unetkit.data.sources import SHOWN, Found, Problem, Sources, list_some, sort_files
from unetkit.data.tables import TABLE_SUFFIXES, read_lists, read_table
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.io.images import IMAGE_SUFFIXES, ImageFile
from unetkit.io.other_formats import count_other_images, other_image_kind

MAX_FILES = 5_000_000
COLOUR_CHANNELS = 3  # number of pages that may be either the channels of one image or three images
LAYOUTS = (
    "images/ with masks/, labels/, annotations/ or trimaps/; masks beside the images, as in "
    "cat.jpg and cat_mask.png; or a .csv of pairs"
)


def find_dataset(
    data: str | Path, sources: Sources | None = None, *, for_training: bool = False
) -> Dataset:
    """Finds the pairs of image and mask in a folder, or reads a table of them.

    Args:
        data: Path of a folder, or of a .csv or .tsv file with the columns image and mask.
        sources: Which files are images and which are masks, where their names do not decide it.
        for_training: Whether the pairs will be split for a training, for which a single large image
            is cut into blocks.

    Raises:
        DataNotFoundError: The path does not exist, or contains no images or no masks.
        DataError: No image has a mask, images have several kinds of masks, or no image has several
            of the blocks that `sources` asks for.
        ConfigError: `sources` has a pattern, but `data` is a table.
    """
    sources = sources or Sources()
    dataset = _find_whole(Path(data), sources)
    if sources.blocks is None and not for_training:
        return dataset
    blocks = choose_blocks(dataset, sources)
    return dataset if blocks is None else cut_into_blocks(dataset, *blocks)


def _find_whole(data: Path, sources: Sources) -> Dataset:
    """The pairs of whole images."""
    if is_present(data) and data.suffix.lower() in TABLE_SUFFIXES:
        return _from_table(data, sources)
    if not data.is_dir():
        what = "is a file" if data.exists() else "does not exist"
        raise DataNotFoundError(f"data folder {data} {what}; accepted is a folder with {LAYOUTS}")
    files, problems = _walk(data)
    found = sort_files(data, files, sources, problems)
    problems += _passed_over(data, files)
    matched, grouped = _match(data, found, sources, problems)
    parts = grouped.parts if grouped else {}
    pairs, own_splits, more = _make_pairs(data, found, matched, sources, parts)
    if not pairs:
        raise _no_pairs(data, files, found, sources, [*problems, *more])
    pairs, counted = with_run_order(pairs, sources)
    pairs = _without_incomplete(pairs, sources, more)
    listing = read_lists(data, files, [pair.name for pair in pairs])
    splits = listing.splits or _folder_splits(own_splits)
    if splits and not {"train", "trainval"} & set(splits.values()):
        splits = dict.fromkeys((pair.name for pair in pairs), "train") | splits
    is_instances = grouped.kind == "objects" if grouped else all(map(_holds_objects, matched))
    unlisted = [pair.name for pair in pairs if splits and pair.name not in splits]
    return Dataset(
        source=data,
        pairs=tuple(pair for pair in pairs if not splits or pair.name in splits),
        masks=" and ".join(sorted(matched)) + counted,
        splits={pair.name: splits[pair.name] for pair in pairs if pair.name in splits},
        categories=listing.categories,
        kind="instances" if is_instances else None,
        problems=_with_strays([*problems, *more]),
        unlisted=tuple(unlisted),
        listed=dict(Counter(listing.splits.values())),
    )


def _match(
    folder: Path, found: Found, sources: Sources, problems: list[Problem]
) -> tuple[Matched, GroupedFiles | None]:
    """The masks of each image, and what they hold if images have several files."""
    matched: Matched = {}
    error = None
    try:
        matched = match_masks(folder, found, sources, problems)
    except DataError as several_kinds:
        error = several_kinds
    counts = [len(masks) for images in matched.values() for masks in images.values()]
    if sources.mask_files or max(counts, default=0) != 1:
        grouped = group_mask_files(folder, found, sources.mask_files)
        if grouped:
            return {grouped.description: grouped.files}, grouped
    if error:
        raise DataError(f"{error}{several_files_remedy(found)}") from error
    numbered = match_by_number(found)
    has_more = sum(map(len, numbered.values())) > len(counts)
    return numbered if has_more else matched, None


def _holds_objects(pattern: str) -> bool:
    """Whether masks are those of the Cell Tracking Challenge, with one value for each object."""
    return pattern.rsplit("/", 1)[-1].startswith(("man_seg", "man_track"))


def _with_strays(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Problems; damaged polygon files become "stray" if every image has a mask."""
    if any(problem.kind == "unpaired image" for problem in problems):
        return tuple(problems)
    return tuple(
        replace(problem, kind="stray") if problem.kind == "polygons" else problem
        for problem in problems
    )


def _walk(folder: Path) -> tuple[list[PurePosixPath], list[Problem]]:
    """All files, relative to `folder`; links are followed, but each folder is entered once."""
    files: list[PurePosixPath] = []
    problems: list[Problem] = []
    entered: set[str] = set()

    def refuse(error: OSError) -> None:
        path = Path(error.filename or folder)
        text = f"folder {path} cannot be read ({error.strerror}); its files are left out"
        problems.append(Problem("folder", text, (path,)))

    waiting = [folder]
    while waiting:  # links come last, so that a folder keeps its own name
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
                    f"{folder} contains more than {MAX_FILES:,} files; accepted are fewer; give "
                    "the folder of the images and masks themselves"
                )
    return files, problems


def _make_pairs(
    folder: Path,
    found: Found,
    matched: Matched,
    sources: Sources,
    parts: Mapping[PurePosixPath, tuple[MaskPart, ...]],
) -> tuple[list[Pair], dict[str, str], list[Problem]]:
    """Pairs, the splits that their folders name, and problems of files that do not form a pair."""
    problems: list[Problem] = []
    pairs: list[Pair] = []
    splits: dict[str, str] = {}
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
        if (len(masks) > 1 and image not in parts) or len(rivals) > 1:
            files = tuple(folder / path for path in sorted({*rivals, *masks, image}))
            what = f"{len(masks)} masks" if len(masks) > 1 else f"{len(rivals)} images"
            text = f"{list_some(files)}: {what} share a name"
            problems.append(Problem("several files", text, files))
            continue
        place, mask = found.images[image], masks[0]
        of_mask = found.masks[mask].split if mask in found.masks else split_of(mask)
        split = place.split or of_mask
        name = "/".join(word for word in (split, *place.full, place.stem) if word)
        pair = Pair(name, folder / image, folder / mask, None, parts.get(image, ()))
        unfolded = _unfold(pair, sources, problems)
        pairs += unfolded
        splits |= {pair.name: split for pair in unfolded if split}
    used = set(masks_of) | set(owners)
    for kind, places in (("unpaired image", found.images), ("unpaired mask", found.masks)):
        for path in places:
            if path not in used:
                text = f"{folder / path} has no {'mask' if 'image' in kind else 'image'}"
                problems.append(Problem(kind, text, (folder / path,)))
    return _without_namesakes(pairs, problems), splits, problems


def _passed_over(folder: Path, files: Sequence[PurePosixPath]) -> list[Problem]:
    """Images of formats that are not read, counted by their suffixes."""
    others = [folder / path for path in files if other_image_kind(path)]
    parts = [
        f"{', '.join(f'{n} {suffix}' for suffix, n in counts.most_common(SHOWN))} ({reason})"
        for reason, counts in count_other_images(others).items()
    ]
    return [Problem("passed over", "; ".join(parts), tuple(others))] if others else []


def _without_namesakes(pairs: Iterable[Pair], problems: list[Problem]) -> list[Pair]:
    """Pairs sorted by name, without those of equal names (cat.jpg and cat.png of a COCO file)."""
    by_name: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_name[pair.name].append(pair)
    for name, same in by_name.items():
        if len(same) > 1:
            files = tuple(dict.fromkeys(pair.image for pair in same))
            text = f"{list_some(files)}: {len(same)} pairs share the name {name!r}"
            problems.append(Problem("several files", text, files))
    return [same[0] for _, same in sorted(by_name.items()) if len(same) == 1]


def _without_incomplete(pairs: list[Pair], sources: Sources, problems: list[Problem]) -> list[Pair]:
    """Pairs without those whose annotation has a shape without an area, if that is asked for."""
    if not sources.strict_annotations:
        return pairs
    complete = []
    for pair in pairs:
        left_out: tuple[str, ...] = ()
        if pair.source.has_shapes:
            with suppress(DataError, DataNotFoundError):  # reading it will raise the error
                left_out = find_annotation(pair.source).left_out
        if left_out:
            text = f"{pair.image} ({pair.mask}: {left_out[0]})"
            problems.append(Problem("incomplete", text, (pair.image,)))
        else:
            complete.append(pair)
    return complete


def _unfold(pair: Pair, sources: Sources, problems: list[Problem]) -> list[Pair]:
    """One pair for each page of a stack; a TIFF with one mask may have its channels as pages.

    Three pages are ambiguous, as they may be three images or the channels of a colour image.
    """
    if sources.alpha_masks and not pair.source.has_shapes:
        pair = replace(pair, is_alpha=True)
    try:
        with ImageFile(pair.image, sources.channel_axis) as image:
            pages, format = image.count, image.format
        masks = 1
        if not pair.source.has_shapes:
            with ImageFile(pair.mask, role="mask") as mask:
                masks = mask.count
                if pages == 1 < masks and _is_one_hot(mask):
                    masks = 1
    except (DataError, DataNotFoundError):
        return [pair]  # reading it will raise the error
    if pages == masks == 1:
        return [pair]
    if masks == 1 and pages != COLOUR_CHANNELS and format == "TIFF":
        return [pair]
    if pages == masks:
        return [replace(pair, name=f"{pair.name}_p{i:03d}", page=i) for i in range(pages)]
    text = f"{pair.image} has {pages} pages and its mask {pair.mask} has {masks}"
    if (pages, masks) == (COLOUR_CHANNELS, 1):
        text += " (use --channel-axis first if they are the channels of one image)"
    problems.append(Problem("pages", text, (pair.image, pair.mask)))
    return []


def _is_one_hot(mask: ImageFile) -> bool:
    """Whether the pages of a mask are the channels of its classes."""
    try:
        read_raw_mask(mask)
    except (DataError, DataNotFoundError):
        return False
    return True


def _folder_splits(splits: dict[str, str]) -> dict[str, str]:
    """Splits by name, if the folders name a test or validation split; else empty."""
    return splits if set(splits.values()) & {"test", "validation"} else {}


def _tally(files: Sequence[PurePosixPath], found: Found) -> str:
    """The most frequent suffixes of files that are neither images nor masks."""
    used = {*found.images, *found.masks, *found.documents}
    unknown = [path for path in files if path not in used and path.name not in CLASS_FILES]
    counts = Counter(
        f"{suffix} of no known format" if suffix in ANNOTATION_SUFFIXES else suffix
        for path in unknown
        if (suffix := _suffix(path)) and suffix not in IMAGE_SUFFIXES
    )
    text = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(SHOWN))
    return f" (but {text})" if text else ""


def _suffix(path: PurePosixPath) -> str:
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _unreadable_error(folder: Path, files: Sequence[PurePosixPath]) -> DataNotFoundError | None:
    """The error for a folder of images or masks whose format is not read; None if there is none."""
    skip = common_start(path.parts[:-1] for path in files)
    readable: set[str] = set()
    others: dict[str, list[PurePosixPath]] = {"image": [], "mask": []}
    for path in files:
        role = parse_path(path, skip).role
        if path.suffix.lower() in MASK_SUFFIXES:
            readable.add(role)
        elif role in others:
            others[role].append(path)
    missing = [role for role, paths in others.items() if paths and role not in readable]
    if not missing:
        return None
    parts = []
    for role in missing:
        paths = others[role]
        counts = Counter(map(_suffix, paths)).most_common(SHOWN)
        listed = ", ".join(f"{count} {suffix}" for suffix, count in counts)
        parts.append(f"{role}s that cannot be read ({listed}; {folder / paths[0]} first)")
    return DataNotFoundError(
        f"{folder} holds {' and '.join(parts)}; accepted are {', '.join(IMAGE_SUFFIXES)}; convert "
        "them to TIFF or PNG"
    )


def _no_pairs(
    folder: Path,
    files: Sequence[PurePosixPath],
    found: Found,
    sources: Sources,
    problems: Sequence[Problem],
) -> Exception:
    images, masks = sorted(found.images), sorted(found.masks)
    harmless = ("unpaired image", "unpaired mask", "passed over")
    reasons = [problem.text for problem in problems if problem.kind not in harmless]
    reason = f" ({reasons[0].split('; ')[0]})" if reasons else ""
    missing = "images" if not images else "masks"
    if images and not masks and all(parse_path(path).role == "mask" for path in images):
        missing = "images"  # a folder of masks beside images of another format
    if not images or not (masks or found.documents):
        unreadable = _unreadable_error(folder, files)
        if unreadable is not None:
            return unreadable
        others = found.images.values()
        pattern = getattr(sources, missing)
        which = f" whose path contains {pattern!r}" if pattern is not None else ""
        return DataNotFoundError(
            f"{folder} contains no {missing}{which}{reason or _tally(files, found)}; accepted is a "
            f"folder with {LAYOUTS}; give such a folder, or a pattern of the {missing} with "
            f"--{missing}"
            f"{_perhaps(others, others, sources)}{_perhaps_cutouts(folder, images)}"
        )
    if reasons:
        return DataError(
            f"no image in {folder} has exactly one mask{reason}; accepted is one mask per image; "
            "correct the files, choose with --images or --masks, or list the pairs in a .csv"
            f"{several_files_remedy(found)}"
        )
    is_given = sources.images is not None or sources.masks is not None
    likely = "" if is_given else likely_patterns(found)
    return DataError(
        f"no image in {folder} has a mask: {_count(images)} images, {_count(masks)} masks; "
        "a mask has the name of its image, as in cat.jpg and cat.png; rename one or the other, "
        "list the pairs in a .csv, or give a pattern of the masks with --masks"
        f"{_perhaps(found.images.values(), found.masks.values(), sources) or likely}"
        f"{several_files_remedy(found)}"
    )


def _perhaps(images: Iterable[PathInfo], others: Iterable[PathInfo], sources: Sources) -> str:
    """Values of --masks that may be right, as the end of an error sentence."""
    likely = likely_masks(list(images), list(others))
    patterns = [pattern for pattern in likely if pattern != sources.masks][:SHOWN]
    return f", perhaps {' or '.join(f'--masks {p!r}' for p in patterns)}" if patterns else ""


def _perhaps_cutouts(folder: Path, images: Sequence[PurePosixPath]) -> str:
    """The option for images whose opacity may be the mask, as the end of an error sentence."""
    for path in images[:1]:
        with suppress(DataError, DataNotFoundError), ImageFile(folder / path) as file:
            if file.count == 1 and file.read().is_transparent:
                return ", or use --alpha-masks if the opacity of the images is the mask"
    return ""


def _count(paths: Sequence[PurePosixPath]) -> str:
    return f"{len(paths)}" + (f" ({paths[0]} first)" if paths else "")


def _from_table(path: Path, sources: Sources) -> Dataset:
    """The pairs in a table."""
    for option, pattern in (("--images", sources.images), ("--masks", sources.masks)):
        if pattern is not None:
            raise ConfigError(
                f"{option} is {pattern!r}, but {path} is a table, which names each image and its "
                "mask; with a table, neither --images nor --masks is accepted; leave them out, or "
                "give the folder in place of the table"
            )
    rows = read_table(path)
    problems: list[Problem] = []
    pairs: list[Pair] = []
    splits: dict[str, str] = {}
    groups: dict[str, str] = {}
    for row in rows:
        absent = [file for file in (row.image, row.mask) if not os.path.isfile(file)]
        if absent:
            text = f"{path} names {absent[0]}, which does not exist"
            problems.append(Problem("missing", text, tuple(absent)))
            continue
        for pair in _unfold(Pair(row.name, row.image, row.mask), sources, problems):
            pairs.append(pair)
            if row.split:
                splits[pair.name] = row.split
            if row.group:
                groups[pair.name] = row.group
    if not pairs:
        raise DataError(
            f"table {path} names no pair of existing files ({len(rows)} rows); accepted are paths "
            "relative to the folder of the table"
        )
    pairs, counted = with_run_order(_without_namesakes(pairs, problems), sources)
    pairs = _without_incomplete(pairs, sources, problems)
    return Dataset(
        source=path,
        pairs=tuple(pairs),
        masks=path.name + counted,
        splits=splits,
        groups=groups,
        problems=tuple(problems),
    )
