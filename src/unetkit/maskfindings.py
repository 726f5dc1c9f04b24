"""What is odd about the masks of a data set, and how many pixels and objects they hold."""

from collections.abc import Sequence

import numpy as np

from unetkit.classes import Classes
from unetkit.findings import Finding, listed, number_of
from unetkit.kinds import as_colour, looks_like_objects
from unetkit.looks import Look
from unetkit.masks import BACKGROUND
from unetkit.splits import Split

TINY_OBJECT = 9  # pixels: an area that is rather a slip of the pen
RARE = 0.001  # share of pixels below which a class is hard to learn
MANY_EMPTY = 0.5  # share of the masks
FEW_OBJECTS = 1 / 3  # of the median number; an image with fewer may be annotated in part
BLURRED = 0.05  # share of a thresholded JPEG mask that is neither nearly black nor nearly white
SPLIT_OBJECTS = 1.5  # pieces an object above which its numbers are rather classes


def about_masks(good: Sequence[Look], classes: Classes, split: Split | None) -> list[Finding]:
    """What is odd about the masks.

    Args:
        good: Looks at pairs that can be read.
    """
    counts = class_counts(good, classes)
    findings = _about_empty(good, classes, counts) + _about_classes(good, classes, split, counts)
    lossy = [look for look in good if look.is_lossy]
    if lossy:
        between = sum(look.between for look in lossy) / len(lossy)
        findings.append(
            Finding(
                "warning" if between > BLURRED else "note",
                "jpeg-mask",
                f"{number_of(lossy, 'mask is a JPEG', 'masks are JPEGs')}, thresholded at "
                f"{classes.threshold}; {between:.1%} of the pixels were neither nearly black nor "
                "nearly white",
                tuple(look.pair.name for look in lossy),
            )
        )
    return findings + _about_kind(classes, good) + _about_objects(classes, good)


def _about_empty(good: Sequence[Look], classes: Classes, counts: np.ndarray) -> list[Finding]:
    if classes.background is None:
        return []
    others = np.delete(counts, classes.background, axis=1)[:, :-1].sum(axis=1)
    empty = tuple(look.pair.name for look, n in zip(good, others, strict=True) if not n)
    if not empty:
        return []
    level = "warning" if len(empty) > MANY_EMPTY * len(good) else "note"
    text = f"{number_of(empty, 'mask holds', 'masks hold')} background alone: {listed(empty)}"
    return [Finding(level, "empty-mask", text, empty)]


def _about_classes(
    good: Sequence[Look], classes: Classes, split: Split | None, counts: np.ndarray
) -> list[Finding]:
    findings = []
    train = {pair.name for pair in split.train} if split else set()
    in_train = np.array([look.pair.name in train for look in good])
    total = max(1, int(counts[:, :-1].sum()))
    for index, name in enumerate(classes.names):
        pixels = int(counts[:, index].sum())
        if pixels == 0 or (split and not counts[in_train, index].any()):
            where = "no mask" if pixels == 0 else "no training mask"
            findings.append(Finding("warning", "absent-class", f"class {name!r} occurs in {where}"))
        elif pixels < RARE * total:
            text = f"class {name!r} covers {pixels / total:.3%} of the pixels"
            findings.append(Finding("warning", "rare-class", text))
    return findings


def _about_kind(classes: Classes, good: Sequence[Look]) -> list[Finding]:
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
            return [Finding("warning", "suspect-kind", text, remedy=remedy)]
    elif len(classes) > 2 and classes.border is None and looks_like_objects(good, classes.ignore):
        text = "nearly every value of the masks is in one piece, as if it were an object"
        remedy = "say --kind instances, if each value is an object"
        return [Finding("warning", "suspect-kind", text, remedy=remedy)]
    return []


def _about_objects(classes: Classes, good: Sequence[Look]) -> list[Finding]:
    """Objects of instance masks that are very small, and images with very few of them."""
    if classes.kind != "instances":
        return []
    findings = []
    numbers = {look.pair.name: len(object_areas(look, classes)) for look in good}
    median = float(np.median([number for number in numbers.values() if number] or [0]))
    few = tuple(name for name, number in numbers.items() if 0 < number < FEW_OBJECTS * median)
    if few:
        text = f"{number_of(few, 'mask has', 'masks have')} less than a third of the usual "
        text += f"{median:g} objects: {listed(few)}"
        findings.append(Finding("note", "few-objects", text, few))
    areas = [_without_ignored(look, classes)[:, 1] for look in good]
    tiny = sum(int((one < TINY_OBJECT).sum()) for one in areas)
    if tiny:
        text = f"{number_of(tiny, 'piece of an object has', 'pieces of objects have')} "
        text += f"fewer than {TINY_OBJECT} pixels"
        findings.append(Finding("note", "tiny-objects", text))
    return findings


def _without_ignored(look: Look, classes: Classes) -> np.ndarray:
    if look.is_drawn or classes.ignore is None:
        return look.regions
    return look.regions[look.regions[:, 0] != classes.ignore]


def class_counts(looks: Sequence[Look], classes: Classes) -> np.ndarray:
    """Pixels of each class in each mask, (n, K + 1) int64; the last column is ignored pixels."""
    counts = np.zeros((len(looks), len(classes) + 1), np.int64)
    for row, look in zip(counts, looks, strict=True):
        for value, pixels in look.values.items():
            row[_class_of(look, value, classes)] += pixels
        if classes.kind == "instances":
            row[1:] += (-look.crowd, look.crowd)
    return counts


def object_areas(look: Look, classes: Classes) -> np.ndarray:
    """Pixels of each object of an instance mask, or of a polygon file."""
    if look.is_drawn:
        return look.regions[:, 1]
    none = (0, classes.ignore)
    return np.array([n for value, n in look.values.items() if value not in none], np.int64)


def _class_of(look: Look, value: int | str, classes: Classes) -> int:
    """Index of the class that a mask's value stands for; -1 for one that is ignored."""
    background = classes.background or 0
    if look.is_drawn and classes.kind == "instances":
        return int(value not in (0, BACKGROUND))
    if isinstance(value, str):
        return classes.names.index(value) if value in classes.names else 1 - background
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
