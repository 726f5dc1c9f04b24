"""What is odd about the masks of a data set, and how many pixels and objects they hold."""

from collections.abc import Sequence

import numpy as np

from unetkit.checks.class_inference import as_colour, looks_like_objects
from unetkit.checks.issues import Issue, list_some, number_of
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.masks import BACKGROUND
from unetkit.data.splits import Split

TINY_OBJECT = 9  # pixels: an area that is rather a slip of the pen
RARE = 0.001  # share of pixels below which a class is hard to learn
MANY_EMPTY = 0.5  # share of the masks
FEW_OBJECTS = 1 / 3  # of the median number; an image with fewer may be annotated in part
BLURRED = 0.05  # share of thresholded masks that is neither nearly black nor nearly white
NEARLY_BLACK, NEARLY_WHITE = 16, 239
SPLIT_OBJECTS = 1.5  # pieces an object above which its numbers are rather classes


def about_masks(
    good: Sequence[PairStatistics], classes: Classes, split: Split | None, is_told: bool = True
) -> list[Issue]:
    """What is odd about the masks.

    Args:
        good: Looks at pairs that can be read.
        is_told: Whether somebody has named the classes, or the layout says that they are trimaps.
    """
    counts = class_counts(good, classes)
    issues = _about_empty(good, classes, counts) + _about_classes(good, classes, split, counts)
    trimap = set(zip(TRIMAP_CLASSES.values, TRIMAP_CLASSES.names, strict=True))
    if not is_told and set(zip(classes.values, classes.names, strict=True)) <= trimap:
        text = "values 1, 2 and 3 are taken for a trimap's pet, background and border"
        issues.append(Issue("note", "trimap", text))
    issues += _about_threshold(classes, good) + _about_ignored(classes, good)
    return issues + _about_kind(classes, good) + _about_objects(classes, good)


def _about_threshold(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """How much of thresholded masks lies between black and white."""
    if classes.threshold is None:
        return []
    shares = {look.pair.name: _between(look, classes) for look in good if not look.is_drawn}
    lossy = [look.pair.name for look in good if look.is_lossy]
    blurred = tuple(name for name, share in shares.items() if share or name in lossy)
    if not blurred:
        return []
    between = sum(shares.values()) / len(shares)
    text = f"{number_of(shares, 'mask is', 'masks are')} thresholded at {classes.threshold} "
    text += f"({number_of(lossy, 'JPEG', 'JPEGs')}); {between:.1%} of the pixels were neither "
    text += "nearly black nor nearly white"
    return [Issue("warning" if between > BLURRED else "note", "thresholded", text, blurred)]


def _between(look: PairStatistics, classes: Classes) -> float:
    """Share of an 8-bit mask's pixels that are neither nearly black nor nearly white."""
    counts = {int(value): n for value, n in look.values.items() if value != classes.ignore}
    if len(counts) <= 2 or max(counts) > 255:
        return 0.0
    grey = sum(n for value, n in counts.items() if NEARLY_BLACK < value < NEARLY_WHITE)
    return grey / sum(counts.values())


def _about_ignored(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """A value to ignore that is in no mask."""
    ignored = classes.ignore
    if ignored is None or any(look.num_values > len(look.values) for look in good):
        return []  # not all values are known
    for look in good:
        for value in look.values:
            if not look.is_drawn and isinstance(value, int):
                shown = as_colour(look, value) if classes.kind == "colours" else value
                if shown == ignored:
                    return []
    text = f"the value to ignore, {classes.show(ignored)}, occurs in no mask"
    return [Issue("note", "ignore-absent", text)]


def _about_empty(
    good: Sequence[PairStatistics], classes: Classes, counts: np.ndarray
) -> list[Issue]:
    if classes.background is None:
        return []
    others = np.delete(counts, classes.background, axis=1)[:, :-1].sum(axis=1)
    empty = tuple(look.pair.name for look, n in zip(good, others, strict=True) if not n)
    if not empty:
        return []
    level = "warning" if len(empty) > MANY_EMPTY * len(good) else "note"
    text = f"{number_of(empty, 'mask holds', 'masks hold')} background alone: {list_some(empty)}"
    return [Issue(level, "empty-mask", text, empty)]


def _about_classes(
    good: Sequence[PairStatistics], classes: Classes, split: Split | None, counts: np.ndarray
) -> list[Issue]:
    issues = []
    train = {pair.name for pair in split.train} if split else set()
    in_train = np.array([look.pair.name in train for look in good])
    total = max(1, int(counts[:, :-1].sum()))
    for index, name in enumerate(classes.names):
        pixels = int(counts[:, index].sum())
        if pixels == 0 or (split and not counts[in_train, index].any()):
            where = "no mask" if pixels == 0 else "no training mask"
            issues.append(Issue("warning", "absent-class", f"class {name!r} occurs in {where}"))
        elif pixels < RARE * total:
            text = f"class {name!r} covers {pixels / total:.3%} of the pixels"
            issues.append(Issue("warning", "rare-class", text))
    return issues


def _about_kind(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """Instances that look like classes, and classes that look like instances."""
    if any(look.is_drawn or look.is_colour for look in good):
        return []
    if classes.kind == "instances":
        regions = [_without_ignored(look, classes) for look in good]
        pieces = sum(map(len, regions))
        numbers = sum(len(np.unique(one[:, 0])) for one in regions)
        if pieces > SPLIT_OBJECTS * numbers > 0:
            text = f"{numbers} numbers of objects stand for {pieces} separate pieces"
            remedy = "say --kind classes, if each number is a class"
            return [Issue("warning", "suspect-kind", text, remedy=remedy)]
    elif len(classes) > 2 and classes.border is None and looks_like_objects(good, classes.ignore):
        text = "nearly every value of the masks is in one piece, as if it were an object"
        remedy = "say --kind instances, if each value is an object"
        return [Issue("warning", "suspect-kind", text, remedy=remedy)]
    return []


def _about_objects(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """Objects of instance masks that are very small, and images with very few of them."""
    if classes.kind != "instances":
        return []
    issues = []
    numbers = {look.pair.name: len(object_areas(look, classes)) for look in good}
    median = float(np.median([number for number in numbers.values() if number] or [0]))
    few = tuple(name for name, number in numbers.items() if 0 < number < FEW_OBJECTS * median)
    if few:
        text = f"{number_of(few, 'mask has', 'masks have')} less than a third of the usual "
        text += f"{median:g} objects: {list_some(few)}"
        issues.append(Issue("note", "few-objects", text, few))
    areas = [_without_ignored(look, classes)[:, 1] for look in good]
    tiny = sum(int((one < TINY_OBJECT).sum()) for one in areas)
    if tiny:
        text = f"{number_of(tiny, 'piece of an object has', 'pieces of objects have')} "
        text += f"fewer than {TINY_OBJECT} pixels"
        issues.append(Issue("note", "tiny-objects", text))
    return issues


def _without_ignored(look: PairStatistics, classes: Classes) -> np.ndarray:
    if look.is_drawn or classes.ignore is None:
        return look.regions
    return look.regions[look.regions[:, 0] != classes.ignore]


def class_counts(looks: Sequence[PairStatistics], classes: Classes) -> np.ndarray:
    """Pixels of each class in each mask, (n, K + 1) int64; the last column is ignored pixels."""
    counts = np.zeros((len(looks), len(classes) + 1), np.int64)
    for row, look in zip(counts, looks, strict=True):
        for value, pixels in look.values.items():
            row[_class_of(look, value, classes)] += pixels
        if classes.kind == "instances":
            row[1:] += (-look.crowd, look.crowd)
    return counts


def object_areas(look: PairStatistics, classes: Classes) -> np.ndarray:
    """Pixels of each object of an instance mask, or of a polygon file."""
    if look.is_drawn:
        return look.regions[:, 1]
    none = (0, classes.ignore)
    return np.array([n for value, n in look.values.items() if value not in none], np.int64)


def _class_of(look: PairStatistics, value: int | str, classes: Classes) -> int:
    """Index of the class that a mask's value stands for; -1 for one that is ignored."""
    background = classes.background or 0
    if look.is_drawn and classes.kind == "instances":
        return int(value not in (0, BACKGROUND))
    if isinstance(value, str):
        return classes.indices_of_labels().get(value, -1)
    if look.is_drawn:
        return background
    shown = as_colour(look, value) if classes.kind == "colours" else value
    if shown == classes.ignore:
        return -1
    if classes.kind == "instances":
        return int(value != 0)
    if classes.threshold is not None:
        return int(value > classes.threshold)
    return classes.values.index(shown) if shown in classes.values else -1
