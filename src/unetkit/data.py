"""Find pairs of image and mask, look at them before training, and split them.

Pairs are matched by stem, never by order. Official lists are obeyed where a folder has them, so
that a test set stays one. What the values of the masks mean is chosen here and kept in `classes`;
single files are read in `pictures`.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from unetkit.classes import TRIMAP_CLASSES, Classes
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.pictures import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    read_header,
    read_image,
    read_mask,
    read_mask_values,
)

T = TypeVar("T")

# Where images and masks lie within a data folder.
LAYOUTS = (
    ("images", "masks"),
    ("images", "trimaps"),
    ("images", "annotations/trimaps"),  # Oxford-IIIT Pet as published
    ("images/original", "images/masks"),  # the TensorFlow notebook's copy of it
)
READERS = 4  # decoding releases Python's lock, and waits for the disk now and then
SHOWN = 5  # names listed in a message before "and N more"


@dataclass(frozen=True)
class Pair:
    """One image with its mask, known by the stem that both share."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Dataset:
    """The pairs of a folder.

    Args:
        folder: The data folder.
        pairs: Sorted by name.
        masks_folder: Where the masks lie, relative to `folder`.
        official: "trainval" or "test" by name, where the folder has the official lists; else empty.
        groups: Category by name (a breed), for a stratified split; else empty.
        unpaired: Files that have no counterpart.
        unlisted: Pairs that official lists leave out, by name.
    """

    folder: Path
    pairs: tuple[Pair, ...]
    masks_folder: str
    official: dict[str, str]
    groups: dict[str, str]
    unpaired: tuple[Path, ...]
    unlisted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Pairs for training, for choosing the checkpoint, and for the figures that are quoted."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def parts(self) -> dict[str, tuple[Pair, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def require_seed(seed: int) -> None:
    """Refuses a seed that not every generator takes.

    Raises:
        ConfigError: It is negative, or 2^32 or more.
    """
    if not 0 <= seed < 1 << 32:
        raise ConfigError(
            f"seed is {seed}; accepted are whole numbers from 0 to {(1 << 32) - 1}; use a smaller "
            "one"
        )


@dataclass(frozen=True)
class SplitRule:
    """How pairs are cut into parts; the same cut for the same rule and names.

    Args:
        seed: Of the cuts, from 0 to 2^32 - 1.
        validation_fraction: Share of the pairs that are not test pairs, in (0, 1).
        test_fraction: Share of all pairs, in (0, 1); not used where there are official lists.

    Raises:
        ConfigError: A fraction is out of range.
    """

    seed: int = 0
    validation_fraction: float = 0.15
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        require_seed(self.seed)
        for name in ("validation_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted is a share between 0 and 1; use "
                    "0.15"
                )


@dataclass(frozen=True)
class Survey:
    """What the masks and the image headers of some pairs say.

    Args:
        sizes: (height, width) of each image, as displayed.
        values: For each value in the masks, one that holds it, in ascending order.
        grey: Whether every image has a single channel.
    """

    sizes: tuple[tuple[int, int], ...]
    values: dict[int, Path]
    grey: bool


def find_dataset(folder: str | Path) -> Dataset:
    """Finds the pairs of image and mask in a folder, by stem.

    Raises:
        DataNotFoundError: The folder, or any of the known pairs of subfolders, does not exist.
        DataError: No image has a mask, two files share a stem, or two layouts are there at once.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataNotFoundError(
            f"data folder {folder} {what}; accepted is a folder that holds images/ and masks/; "
            "check the path"
        )
    images_folder, masks_folder = _find_layout(folder)
    images = _files_by_stem(images_folder, IMAGE_SUFFIXES)
    masks = _files_by_stem(masks_folder, MASK_SUFFIXES)
    names = sorted(images.keys() & masks.keys())
    if not names:
        raise DataError(
            f"no image in {images_folder} ({_count(images)}) has a mask in {masks_folder} "
            f"({_count(masks)}); a mask bears its image's name, as in cat.jpg and cat.png; "
            "rename one or the other"
        )
    official, groups = _read_lists(folder, set(names))
    unlisted = tuple(name for name in names if official and name not in official)
    if official:
        names = [name for name in names if name in official]
        if not names:
            raise DataError(
                f"none of the pairs in {folder} is named in its trainval.txt or test.txt; accepted "
                "are lists whose lines begin with the image's name; correct or remove the lists"
            )
    return Dataset(
        folder=folder,
        pairs=tuple(Pair(name, images[name], masks[name]) for name in names),
        masks_folder=masks_folder.relative_to(folder).as_posix(),
        official=official,
        groups=groups,
        unpaired=tuple(
            sorted(
                (images | masks)[name]
                for name in images.keys() ^ masks.keys()
                if not official or name in official
            )
        ),
        unlisted=unlisted,
    )


def _find_layout(folder: Path) -> tuple[Path, Path]:
    found = [
        (folder / images, folder / masks)
        for images, masks in LAYOUTS
        if (folder / images).is_dir() and (folder / masks).is_dir()
    ]
    if (folder / "images/original").is_dir():
        found = [pair for pair in found if pair[0] != folder / "images"]
    if not found:
        layouts = ", ".join(f"{images}/ with {masks}/" for images, masks in LAYOUTS)
        raise DataNotFoundError(
            f"{folder} holds no images with masks; accepted are {layouts}; name a folder that "
            "holds such a pair of folders"
        )
    if len(found) > 1:
        masks = ", ".join(str(masks) for _, masks in found)
        raise DataError(
            f"{folder} holds several folders of masks: {masks}; accepted is one; move the others "
            "out of the data folder"
        )
    return found[0]


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in suffixes or not path.is_file():
            continue
        # One letter with its accent may be one character or two, as the system that named it likes.
        name = unicodedata.normalize("NFC", path.stem)
        if name in files:
            raise DataError(
                f"{files[name]} and {path} share the name {name!r}; accepted is one file a name; "
                "rename or remove one"
            )
        files[name] = path
    return files


def _count(files: dict[str, Path]) -> str:
    return f"{len(files)} files" + (f", {next(iter(files.values())).name} first" if files else "")


def _read_lists(folder: Path, known: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The published lists: part by name, and category by name, from `NAME CLASS SPECIES BREED`.

    A line may be a name alone; `known` names may hold spaces.
    """
    parts: dict[str, str] = {}
    groups: dict[str, str] = {}
    for part in ("trainval", "test"):
        path = next(
            (
                p
                for p in (folder / f"annotations/{part}.txt", folder / f"{part}.txt")
                if p.is_file()
            ),
            None,
        )
        if path is None:
            continue
        for line in _read_lines(path):
            readings = ([line], line.rsplit(maxsplit=3), line.split())
            fields = next((f for f in readings if f[0] in known), line.split())
            name = fields[0]
            if parts.setdefault(name, part) != part:
                raise DataError(
                    f"{path} names {name!r}, which trainval.txt names too; accepted are lists "
                    "without a common name; remove it from one of them"
                )
            if len(fields) > 1:
                groups[name] = fields[1]
    return parts, groups


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"list {path} is not UTF-8 ({error.reason} at byte {error.start}); accepted is UTF-8 "
            "text, a name a line; save it as such"
        ) from error
    lines = (unicodedata.normalize("NFC", line.strip()) for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def split_pairs(dataset: Dataset, rule: SplitRule) -> Split:
    """Cuts the pairs into train, validation and test.

    With official lists the test list is the test part and validation is cut from trainval.
    Without, the test part is cut from all, then validation from the rest. Cuts are stratified by
    category where categories are known.

    Raises:
        DataError: Too few pairs for three parts (two, where an official test list exists).
    """
    if "trainval" in dataset.official.values():
        test = tuple(p for p in dataset.pairs if dataset.official[p.name] == "test")
        rest = tuple(p for p in dataset.pairs if dataset.official[p.name] == "trainval")
        _require_pairs(dataset, len(rest), 2, "named in its trainval.txt")
    elif "test" in dataset.official.values():
        raise DataError(
            f"{dataset.folder} has a test.txt but no trainval.txt; accepted are both or neither; "
            "add the list or remove the other"
        )
    else:
        _require_pairs(dataset, len(dataset.pairs), 3, "found")
        rest, test = _cut(dataset.pairs, rule.test_fraction, rule.seed, dataset.groups)
    train, validation = _cut(rest, rule.validation_fraction, rule.seed, dataset.groups)
    return Split(train, validation, test)


def _require_pairs(dataset: Dataset, count: int, needed: int, how: str) -> None:
    if count < needed:
        raise DataError(
            f"{dataset.folder} has {count} pairs of image and mask {how}; training, validation and "
            f"test take at least {needed}; add more pairs"
        )


def _cut(
    pairs: Sequence[Pair], fraction: float, seed: int, groups: dict[str, str]
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    # scikit-learn belongs to the `train` extra; what only predicts does without.
    from sklearn.model_selection import train_test_split

    count = min(len(pairs) - 1, max(1, round(fraction * len(pairs))))
    labels = [groups.get(pair.name, "") for pair in pairs]
    sizes = Counter(labels)
    # A category too small to be in both parts joins the others of its kind.
    labels = [label if sizes[label] * fraction >= 1 else "rare" for label in labels]
    kinds = Counter(labels)
    possible = min(kinds.values()) >= 2 and len(kinds) <= min(count, len(pairs) - count)
    kept, cut = train_test_split(
        list(pairs),
        test_size=count,
        random_state=seed,
        stratify=labels if possible and len(kinds) > 1 else None,
    )
    return _sorted_by_name(kept), _sorted_by_name(cut)


def _sorted_by_name(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(sorted(pairs, key=lambda pair: pair.name))


def read_pair(pair: Pair, classes: Classes, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Image, (H, W, channels) uint8, and mask, (H, W) uint8 class indices.

    Raises:
        DataError: Either cannot be read, or their sizes differ.
    """
    image = read_image(pair.image, channels)
    mask = read_mask(pair.mask, classes)
    _require_same_size(pair, image.shape[:2], mask.shape)
    return image, mask


def _require_same_size(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if image != mask:
        turned = " (turned as its EXIF tag says)" if image == mask[::-1] else ""
        raise DataError(
            f"image {pair.image} is {image[0]}x{image[1]}{turned} and mask {pair.mask} is "
            f"{mask[0]}x{mask[1]} (height x width); accepted are equal sizes; draw the mask on "
            "this picture, or remove the pair"
        )


def survey(pairs: Sequence[Pair], on_done: Callable[[], object] = lambda: None) -> Survey:
    """Reads every mask and every image's header, in parallel.

    Args:
        on_done: Called after each pair, to show progress.

    Raises:
        DataError: Some cannot be read, or image and mask differ in size; the first few are named.
    """

    def look(pair: Pair) -> tuple[tuple[int, int], list[int], bool]:
        values = read_mask_values(pair.mask)
        size, grey = read_header(pair.image)
        _require_same_size(pair, size, values.shape)
        return size, np.unique(values).tolist(), grey

    looks = read_in_parallel(look, pairs, on_done)
    values = {
        value: pair.mask
        for pair, (_, present, _) in zip(reversed(pairs), reversed(looks), strict=True)
        for value in present
    }
    return Survey(
        sizes=tuple(size for size, _, _ in looks),
        values=dict(sorted(values.items())),
        grey=all(grey for _, _, grey in looks),
    )


def read_in_parallel(
    read: Callable[[Pair], T], pairs: Sequence[Pair], on_done: Callable[[], object] = lambda: None
) -> list[T]:
    """Applies `read` to each pair on a few threads; all failures are reported together.

    Raises:
        DataError: One or more could not be read.
    """
    results: list[T] = []
    failures: list[str] = []
    with ThreadPoolExecutor(READERS) as pool:
        try:
            for future in [pool.submit(read, pair) for pair in pairs]:
                try:
                    results.append(future.result())
                except (DataError, DataNotFoundError) as error:
                    failures.append(str(error))
                on_done()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for all the others
            raise
    if failures:
        more = len(failures) - SHOWN
        tail = [f"... and {more} more"] if more > 0 else []
        raise DataError("\n".join(failures[:SHOWN] + tail))
    return results


def choose_classes(dataset: Dataset, found: Survey, names: Sequence[str] | None = None) -> Classes:
    """What the values of the masks mean.

    1, 2 and 3 are a trimap's pet, background and border. 0 and 255 alone are two classes. Else
    values count up from 0, which is the background.

    Args:
        found: A survey of the pairs that training may see.
        names: Names of the classes in the order of their values. Values count up from 0 to as many
            as there are names, unless they are a trimap's or 0 and 255.

    Raises:
        DataError: The values are none of these.
    """
    values = set(found.values)
    known = _known_kind(dataset, values)
    if names:
        if known is not None and len(known) == len(names):
            return replace(known, names=tuple(names))
        classes = Classes(tuple(names), tuple(range(len(names))), background=0)
        _require_values(found, set(classes.values), classes.describe())
        return classes
    if known is not None:
        return known
    if values <= {0}:
        raise DataError(
            f"the masks in {dataset.folder / dataset.masks_folder} hold only the value 0; accepted "
            "are at least two values; check that these are the right masks"
        )
    count = max(values) + 1
    if values != set(range(count)):
        accepted = "0, 1, 2 ... without a gap, or 0 and 255, or a trimap's 1, 2, 3"
        consecutive = {v for v in values if set(range(v)) <= values}
        _require_values(found, consecutive, accepted)
    if count > 254:
        raise DataError(
            f"the masks in {dataset.folder / dataset.masks_folder} hold {count} values; accepted "
            "are up to 254 classes; check that they hold classes, not objects"
        )
    names = ("background", *(f"class {i}" for i in range(1, count)))
    return Classes(tuple(names), tuple(range(count)), background=0)


def _known_kind(dataset: Dataset, values: set[int]) -> Classes | None:
    if values == {1, 2, 3} or (dataset.masks_folder.endswith("trimaps") and values <= {1, 2, 3}):
        return TRIMAP_CLASSES
    if values == {0, 255}:
        return Classes(("background", "foreground"), (0, 255), background=0)
    return None


def _require_values(found: Survey, accepted: set[int], text: str) -> None:
    strange = sorted(set(found.values) - accepted)
    if not strange:
        return
    listed = ", ".join(map(str, strange[:10])) + (" ..." if len(strange) > 10 else "")
    raise DataError(
        f"masks have values that are no class: {listed} ({strange[0]} in "
        f"{found.values[strange[0]]}); accepted are {text}; correct the masks, or name all classes "
        "from value 0 up with --classes"
    )
