"""Issues of the masks of a data set, and their numbers of pixels and objects.

What is an issue follows from the classes: empty masks and rare classes for all kinds, blurred edges
for thresholded masks, very small or few objects for instances. Other issues are found in `issues`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from unetkit._shared.wording import format_count
from unetkit.checks.integer_inference import NEARLY_BLACK, NEARLY_WHITE
from unetkit.checks.issues import Issue, list_some
from unetkit.checks.label_inference import describe_labels
from unetkit.checks.mask_values import is_instance_like, value_to_colour
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.colours import LOSSY_TOLERANCE, TOLERANCE, is_near, nearest_colours
from unetkit.data.labels import BACKGROUND
from unetkit.data.splits import Split

TINY_OBJECT = 9  # pixels; smaller regions are probably drawn by mistake
RARE_FRACTION = 0.001  # of the pixels; a rarer class is hard to learn
MANY_EMPTY = 0.5  # fraction of the masks
MANY_IGNORED = 0.25  # of the masks; with more that hide all their objects, something is mistaken
FEW_OBJECTS = 1 / 3  # of the median number; with fewer an image may be annotated incompletely
BLURRED = 0.05  # fraction of pixels that are neither nearly black nor nearly white
ABSENT = "add pairs with this class, or remove the class"
ABSENT_IN_TRAINING = "add pairs with this class, or split the pairs with another --seed or --split"
ALL_IGNORED = "correct what is ignored; to train all the same: --accept all-ignored"
FEW_FIELDS = 4  # masks; fewer may be equal by chance
LEAST_FIELD = 0.4  # of an image, which a field of view covers
SPLIT_OBJECTS = 1.5  # regions per value; values with more are probably classes


def find_mask_issues(
    good: Sequence[PairStatistics], classes: Classes, split: Split | None, is_given: bool = True
) -> list[Issue]:
    """Returns issues about the masks.

    Args:
        good: Statistics of the pairs that can be used.
        classes: Classes of the masks.
        split: Splits of the pairs; None if they cannot be split.
        is_given: Whether the classes were given, or the folder layout names the masks as trimaps.
    """
    counts = count_class_pixels(good, classes)
    issues = _find_left_out_issues(good) + _find_overlap_issues(good)
    issues += _find_empty_issues(good, classes, counts)
    issues += _find_class_issues(good, classes, split, counts)
    trimap = set(zip(TRIMAP_CLASSES.values, TRIMAP_CLASSES.names, strict=True))
    if not is_given and set(zip(classes.values, classes.names, strict=True)) <= trimap:
        text = "values 1, 2 and 3 are read as a trimap: pet, background, border"
        issues.append(Issue("note", "trimap", text))
    issues += _find_threshold_issues(classes, good) + _find_ignored_issues(classes, good)
    issues += _find_all_ignored_issues(good, classes, split, counts)
    issues += _find_reading_issues(good, classes, counts)
    return issues + _find_kind_issues(classes, good) + _find_object_issues(classes, good)


def _find_left_out_issues(good: Sequence[PairStatistics]) -> list[Issue]:
    """Returns an issue if shapes of polygon files enclose no area."""
    left_out = [text for stats in good for text in stats.left_out]
    if not left_out:
        return []
    text = format_count(left_out, "shape is", "shapes are")
    text += f" left out, as nothing can be filled: {list_some(left_out)}"
    names = tuple(stats.pair.name for stats in good if stats.left_out)
    return [Issue("warning", "shapes", text, names)]


def _find_overlap_issues(good: Sequence[PairStatistics]) -> list[Issue]:
    """Returns an issue if objects in several mask files of an image overlap."""
    names = tuple(stats.pair.name for stats in good if stats.overlap)
    if not names:
        return []
    pixels = sum(stats.overlap for stats in good)
    text = f"{format_count(names, 'image has', 'images have')} mask files of objects that overlap, "
    text += f"in {format_count(pixels, 'pixel', 'pixels')}: {list_some(names)}"
    return [Issue("note", "overlap", text, names)]


def _find_threshold_issues(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """Returns an issue if thresholded masks have pixels between black and white."""
    if classes.threshold is None:
        return []
    fractions = {stats.pair.name: _between(stats, classes) for stats in good if not stats.is_drawn}
    lossy = [stats.pair.name for stats in good if stats.is_lossy]
    blurred = tuple(name for name, fraction in fractions.items() if fraction or name in lossy)
    if not blurred:
        return []
    between = sum(fractions.values()) / len(fractions)
    text = f"{format_count(fractions, 'mask is', 'masks are')} thresholded at {classes.threshold} "
    text += f"({format_count(lossy, 'JPEG', 'JPEGs')}); {between:.1%} of the pixels are neither "
    text += "nearly black nor nearly white"
    return [Issue("warning" if between > BLURRED else "note", "thresholded", text, blurred)]


def _between(stats: PairStatistics, classes: Classes) -> float:
    """Returns the fraction of an 8-bit mask that is neither nearly black nor nearly white."""
    counts = {int(value): n for value, n in stats.values.items() if value != classes.ignore}
    if len(counts) <= 2 or max(counts) > 255:
        return 0.0
    grey = sum(n for value, n in counts.items() if NEARLY_BLACK < value < NEARLY_WHITE)
    return grey / sum(counts.values())


def _find_ignored_issues(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """Returns an issue if the ignored value occurs in no mask."""
    present = {value for stats in good for value in stats.values}
    if absent := [repr(name) for name in classes.ignored_labels if name not in present]:
        text = f"the ignored label {', '.join(absent)} occurs in no mask"
        return [Issue("note", "ignore-absent", text)]
    ignored = classes.ignore
    if ignored is None or any(stats.num_values > len(stats.values) for stats in good):
        return []  # not all values were counted
    if any(stats.missing for stats in good):
        return []  # the value may be declared to be no data, too
    for stats in good:
        for value in stats.values:
            if not stats.is_drawn and isinstance(value, int):
                shown = value_to_colour(stats, value) if classes.kind == "colours" else value
                if shown == ignored:
                    return []
    text = f"the ignored value, {classes.show(ignored)}, occurs in no mask"
    return [Issue("note", "ignore-absent", text)]


def _find_all_ignored_issues(
    good: Sequence[PairStatistics], classes: Classes, split: Split | None, counts: np.ndarray
) -> list[Issue]:
    """Returns an issue if all objects are ignored, in all masks or in those of one source."""
    if not len(counts):
        return []
    background = () if classes.background is None else classes.background
    objects = np.delete(counts[:, :-1], background, axis=1).sum(axis=1)
    ignores = counts[:, -1] > [stats.missing for stats in good]
    hidden = ignores & (objects == 0)
    names = tuple(s.pair.name for s, is_hidden in zip(good, hidden, strict=True) if is_hidden)
    if not names:
        return []
    ignored = [] if classes.ignore is None else [classes.show(classes.ignore)]
    what = ", ".join([*ignored, *map(repr, classes.ignored_labels)]) or "crowds"
    others = "" if classes.background is None else "background and "
    text = f"{format_count(names, 'mask contains', 'masks contain')} only {others}pixels that are "
    text += f"ignored ({what}): {list_some(names)}"
    train = {pair.name for pair in split.train} if split else {s.pair.name for s in good}
    in_train = np.array([stats.pair.name in train for stats in good])
    if not objects[in_train].any():
        every = f"every object is ignored: {text}"
        return [Issue("error", "all-ignored", every, names, ALL_IGNORED, acceptable=True)]
    # As if 255 were an object in the masks of one source, and ignored in those of another.
    is_many = len(names) > max(1, MANY_IGNORED * len(good)) and (objects > 0).sum() > 1
    if is_many and not (ignores & (objects > 0)).any():
        return [Issue("error", "all-ignored", text, names, ALL_IGNORED, acceptable=True)]
    return []


def _find_reading_issues(
    good: Sequence[PairStatistics], classes: Classes, counts: np.ndarray
) -> list[Issue]:
    """Returns notes on labels, pixels without data and colours that are read as something else."""
    issues = []
    total = max(1, int(counts.sum()))
    parts = describe_labels(classes, good)
    if parts:
        text = f"labels are read as something else: {'; '.join(parts)}"
        if classes.ignored_labels:
            text += f" ({int(counts[:, -1].sum()) / total:.2%} of the pixels are ignored)"
        issues.append(Issue("note", "labels", text))
    missing = tuple(stats.pair.name for stats in good if stats.missing)
    if missing:
        fraction = sum(stats.missing for stats in good) / total
        text = f"{format_count(missing, 'pair has', 'pairs have')} pixels without data, which are "
        text += f"ignored ({fraction:.2%} of the pixels): {list_some(missing)}"
        issues.append(Issue("note", "no-data", text, missing))
    if classes.blended:
        moved = np.array([_count_blended(stats, classes) for stats in good])
        names = tuple(s.pair.name for s, n in zip(good, moved, strict=True) if n)
        lossy = sum(stats.is_lossy for stats in good)
        where = f", in {format_count(lossy, 'JPEG')}," if lossy else ""
        text = f"{moved.sum() / total:.2%} of the pixels have colours between those of the classes"
        text += f"{where} and are read as the nearest of them"
        if lossy:
            far = sum(_count_far(stats, classes) for stats in good) / total
            text += f"; {far:.2%} differ from it by more than noise"
        issues.append(Issue("note", "blended", text, names))
    return issues


def _count_blended(stats: PairStatistics, classes: Classes) -> int:
    """Number of pixels whose colour is that of no class; colours that were not counted are not."""
    known = {*classes.values, classes.ignore}
    exact = sum(
        count
        for value, count in stats.values.items()
        if isinstance(value, int) and value_to_colour(stats, value) in known
    )
    return 0 if stats.is_drawn else stats.size[0] * stats.size[1] - stats.missing - exact


def _count_far(stats: PairStatistics, classes: Classes) -> int:
    """Number of pixels whose colour differs from that of its class by more than noise."""
    known = [*classes.values, *([] if classes.ignore is None else [classes.ignore])]
    values = [value for value in stats.values if isinstance(value, int)]
    if stats.is_drawn or not values:
        return 0
    near = is_near(np.array([value_to_colour(stats, value) for value in values]), known)
    return sum(
        stats.values[value] for value, is_one in zip(values, near, strict=True) if not is_one
    )


def _find_empty_issues(
    good: Sequence[PairStatistics], classes: Classes, counts: np.ndarray
) -> list[Issue]:
    if classes.background is None:
        return []
    others = np.delete(counts, classes.background, axis=1)[:, :-1].sum(axis=1)
    empty = tuple(stats.pair.name for stats, n in zip(good, others, strict=True) if not n)
    if not empty:
        return []
    level = "warning" if len(empty) > MANY_EMPTY * len(good) else "note"
    text = format_count(empty, "mask contains", "masks contain")
    text += f" only background: {list_some(empty)}"
    return [Issue(level, "empty-mask", text, empty)]


def _find_class_issues(
    good: Sequence[PairStatistics], classes: Classes, split: Split | None, counts: np.ndarray
) -> list[Issue]:
    issues = []
    train = {pair.name for pair in split.train} if split else set()
    in_train = np.array([stats.pair.name in train for stats in good])
    total = max(1, int(counts[:, :-1].sum()))
    for index, name in enumerate(classes.names):
        pixels = int(counts[:, index].sum())
        if pixels == 0 or (split and not counts[in_train, index].any()):
            where = "no mask" if pixels == 0 else "no training mask"
            text = f"class {name!r} occurs in {where}"
            if index == classes.background:  # objects may cover all of each image
                remedy = "nothing, if objects cover all of each image"
                issues.append(Issue("warning", "absent-class", text, remedy=remedy))
            else:
                remedy = f"{ABSENT_IN_TRAINING if pixels else ABSENT}; to train all the same: "
                remedy += "--accept absent-class"
                issues.append(Issue("error", "absent-class", text, (), remedy, acceptable=True))
        elif pixels < RARE_FRACTION * total:
            text = f"class {name!r} covers {pixels / total:.3%} of the pixels"
            issues.append(Issue("warning", "rare-class", text))
    return issues


def _find_kind_issues(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """Returns an issue if instances look like classes, or classes like instances."""
    if any(stats.is_drawn for stats in good):
        return []
    if len(classes) == 2 and len(good) >= FEW_FIELDS and _is_one_field(good):
        text = "all masks mark one region of the same size, as those of a field of view do"
        remedy = "choose other masks with --masks, if these are not the objects; masks of a field "
        remedy += "of view are for unetkit evaluate --field-of-view"
        return [Issue("warning", "suspect-kind", text, remedy=remedy)]
    if classes.kind == "instances":
        regions = [_without_ignored(stats, classes) for stats in good]
        num_regions = sum(map(len, regions))
        num_values = sum(len(np.unique(one[:, 0])) for one in regions)
        if num_regions > SPLIT_OBJECTS * num_values > 0:
            text = f"the masks have {num_values} object numbers for {num_regions} separate regions"
            remedy = "use --kind classes if each value is a class"
            return [Issue("warning", "suspect-kind", text, remedy=remedy)]
    elif len(classes) > 2 and classes.border is None and is_instance_like(good, classes.ignore):
        text = "nearly every value of the masks is one connected region, like an object"
        remedy = "use --kind instances if each value is an object"
        return [Issue("warning", "suspect-kind", text, remedy=remedy)]
    return []


def _is_one_field(good: Sequence[PairStatistics]) -> bool:
    """Whether every mask has one region, of a large part of the image and of the same area."""
    areas = {tuple(stats.regions[:, 1].tolist()) for stats in good}
    sizes = {stats.size for stats in good}
    if len(areas) != 1 or len(sizes) != 1:
        return False
    (area,), (size,) = areas, sizes
    return len(area) == 1 and LEAST_FIELD * size[0] * size[1] < area[0] < size[0] * size[1]


def _find_object_issues(classes: Classes, good: Sequence[PairStatistics]) -> list[Issue]:
    """Returns issues about very small objects and images with very few objects."""
    if classes.kind != "instances":
        return []
    issues = []
    numbers = {stats.pair.name: len(measure_object_areas(stats, classes)) for stats in good}
    median = float(np.median([number for number in numbers.values() if number] or [0]))
    few = tuple(name for name, number in numbers.items() if 0 < number < FEW_OBJECTS * median)
    if few:
        text = f"{format_count(few, 'mask has', 'masks have')} less than a third of the "
        text += f"median number of objects, {median:g}: {list_some(few)}"
        issues.append(Issue("note", "few-objects", text, few))
    areas = [_without_ignored(stats, classes)[:, 1] for stats in good]
    tiny = sum(int((one < TINY_OBJECT).sum()) for one in areas)
    if tiny:
        text = f"{format_count(tiny, 'region of an object has', 'regions of objects have')} "
        text += f"fewer than {TINY_OBJECT} pixels"
        issues.append(Issue("note", "tiny-objects", text))
    return issues


def _without_ignored(stats: PairStatistics, classes: Classes) -> np.ndarray:
    if stats.is_drawn or classes.ignore is None:
        return stats.regions
    return stats.regions[stats.regions[:, 0] != classes.ignore]


def count_class_pixels(statistics: Sequence[PairStatistics], classes: Classes) -> np.ndarray:
    """Counts the pixels of each class in each mask.

    Args:
        statistics: Statistics of n pairs that can be used.
        classes: Classes of the masks, K of them.

    Returns:
        Numbers of pixels, (n, K + 1) int64; the last column counts ignored pixels.
    """
    counts = np.zeros((len(statistics), len(classes) + 1), np.int64)
    nearest = _nearest_of(statistics, classes)
    for row, stats in zip(counts, statistics, strict=True):
        for value, pixels in stats.values.items():
            row[_class_of(stats, value, classes, nearest)] += pixels
        if classes.kind == "instances":
            row[1:] += (-stats.crowd, stats.crowd)
        row[-1] += stats.missing
    return counts


def measure_object_areas(stats: PairStatistics, classes: Classes) -> np.ndarray:
    """Returns the number of pixels of each object in an instance mask or a polygon file."""
    if stats.is_drawn:
        return stats.regions[:, 1]
    none = (0, classes.ignore)
    return np.array([n for value, n in stats.values.items() if value not in none], np.int64)


def _nearest_of(statistics: Sequence[PairStatistics], classes: Classes) -> dict[int, int]:
    """The class colour of each colour that lies between two of them."""
    if not classes.blended:
        return {}
    pairs = {(s, v) for s in statistics if not s.is_drawn for v in s.values if isinstance(v, int)}
    colours = np.unique([value_to_colour(stats, value) for stats, value in pairs])
    is_lossy = any(stats.is_lossy for stats in statistics)
    nearest = nearest_colours(colours, classes, LOSSY_TOLERANCE if is_lossy else TOLERANCE)
    return dict(zip(colours.tolist(), nearest.tolist(), strict=True))


def _class_of(
    stats: PairStatistics, value: int | str, classes: Classes, nearest: Mapping[int, int]
) -> int:
    """Returns the index of the class of a mask value; -1 for an ignored value."""
    background = classes.background or 0
    if stats.is_drawn and classes.kind == "instances":
        if value in classes.ignored_labels:
            return -1
        name = classes.names[background]
        return int(value not in (0, BACKGROUND, name) and classes.aliases.get(str(value)) != name)
    if isinstance(value, str):
        return classes.indices_of_labels().get(value, -1)
    if stats.is_drawn:
        return background
    shown = value_to_colour(stats, value) if classes.kind == "colours" else value
    shown = nearest.get(shown, shown)
    if shown == classes.ignore:
        return -1
    if classes.kind == "instances":
        return int(value != 0)
    if classes.threshold is not None:
        return int(value > classes.threshold)
    return classes.values.index(shown) if shown in classes.values else -1
