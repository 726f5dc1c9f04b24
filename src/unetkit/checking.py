"""Look at a data set before training: what it holds, what is wrong with it, what to do.

    look      every pair once, in parallel (`looks`)
    decide    what masks mean and pictures are (`kinds`, `pixels`), how pairs are split (`splits`)
    find      what spoils a training, what may, and what is good to know

`train` runs the same examination and stops where it finds something that spoils training.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from unetkit.classes import Classes, find_class_file, read_class_file
from unetkit.display import Display
from unetkit.duplicates import find_duplicates
from unetkit.errors import ConfigError, DataError
from unetkit.finding import SHOWN, Dataset, Problem, Sources
from unetkit.kinds import as_colour, choose_classes, looks_like_objects
from unetkit.looks import Look, look_at
from unetkit.pixels import PixelFormat, choose_format
from unetkit.splits import Split, SplitRule, groups_of, split_pairs

LEVELS = ("error", "warning", "note")
FEW_PAIRS = 12  # with fewer, no figure means much
TINY_OBJECT = 9  # pixels: an area that is rather a slip of the pen
RARE = 0.001  # share of pixels below which a class is hard to learn
DARK = 0.25  # share of the 16-bit range; a viewer shows a picture below it as black
FOLDER_PATTERNS = ("^([^/]+)/", "^(.+)/")  # the outermost folder, or all
MANY_EMPTY = 0.5  # share of the masks
FEW_OBJECTS = 1 / 3  # of the median number; an image with fewer may be annotated in part
BLURRED = 0.05  # share of a thresholded JPEG mask that is neither nearly black nor nearly white


@dataclass(frozen=True)
class Finding:
    """Something about a data set that its owner should know.

    Args:
        level: "error" spoils training, "warning" may, "note" is good to know.
        code: A short fixed name, for programs.
        text: What was found.
        remedy: What to do.
        names: The pairs or files that it is about.
        removable: Whether training can go on without the pairs in `names`.
    """

    level: str
    code: str
    text: str
    remedy: str
    names: tuple[str, ...] = ()
    removable: bool = False


@dataclass
class Examination:
    """What was found out about a data set.

    Args:
        dataset: All pairs.
        looks: At all pairs.
        classes: What masks mean, or None where it is not certain.
        format: What pictures are, or None where they do not fit together.
        split: The parts of the pairs that can be used, or None where they cannot be cut.
        findings: Errors first.
    """

    dataset: Dataset
    looks: list[Look]
    classes: Classes | None = None
    format: PixelFormat | None = None
    split: Split | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> list[Look]:
        """Looks at the pairs that can be used."""
        return [look for look in self.looks if not look.problem]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "error"]

    def skippable(self) -> dict[str, str]:
        """Why each pair is bad, by name, of those that cannot be read."""
        return {look.pair.name: look.problem for look in self.looks if look.problem}

    def strata(self) -> dict[str, str]:
        """Which classes occur in each mask, by name; for instances nothing is known of them."""
        if self.classes is None or self.classes.kind == "instances":
            return {}
        if self.classes.threshold is not None:
            return {}
        return {look.pair.name: ",".join(sorted(map(str, look.values))) for look in self.good}

    def left_out(self) -> dict[str, str]:
        """Why, by name, of the bad pairs and of the files that make no pair."""
        others = {
            str(problem.files[0]): problem.text
            for problem in self.dataset.problems
            if problem.files and not problem.kind.startswith("unpaired")
        }
        return self.skippable() | others

    def digests(self) -> dict[str, dict[str, str]]:
        """SHA-256 of each pair's files, by name."""
        return {
            look.pair.name: {"image_sha256": look.image_sha256, "mask_sha256": look.mask_sha256}
            for look in self.looks
        }


def examine(
    dataset: Dataset,
    sources: Sources,
    rule: SplitRule,
    classes: Mapping[str, Any],
    display: Display,
) -> Examination:
    """Looks at every pair and finds what is wrong.

    Args:
        classes: Arguments of `Classes` that the user has decided.
    """
    on_done = display.task("looking at the pairs", len(dataset.pairs))
    looks = look_at(dataset.pairs, sources.channel_axis, on_done)
    display.finish()
    found = Examination(dataset, looks)
    found.findings += _about_files(found)
    good = found.good
    if good:
        _decide(found, good, sources, rule, classes)
        found.findings += _about_folders(dataset, rule)
        found.findings += _about_pictures(found, good)
        found.findings += _about_masks(found, good)
        found.findings += _about_duplicates(found, good)
    found.findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return found


def _decide(
    found: Examination,
    good: Sequence[Look],
    sources: Sources,
    rule: SplitRule,
    given: Mapping[str, Any],
) -> None:
    """Classes, split and pixel format, or an error finding for each that cannot be had."""
    dataset, path = found.dataset, None
    try:
        path = find_class_file(dataset.folder)
        found.classes = choose_classes(
            good,
            f"{dataset.source} ({dataset.masks})",
            (read_class_file(path) if path else {}) | dict(given),
            kind=dataset.kind,
            is_trimap="trimap" in dataset.masks,
        )
    except DataError as error:
        found.findings.append(_as_finding("mask-kind", error))
    except ConfigError as error:
        if path is None or given:
            raise
        # Nobody but the file has said it.
        found.findings.append(_as_finding("mask-kind", DataError(f"class file {path}: {error}")))
    try:
        found.split = split_pairs(dataset, rule, found.strata(), found.skippable())
    except DataError as error:
        found.findings.append(_as_finding("split", error))
    try:
        seen = found.split.train if found.split else dataset.pairs
        train = {pair.name for pair in seen}
        sampled = [look for look in good if len(look.sample)]
        samples = [look.sample for look in sampled if look.pair.name in train]
        found.format = choose_format(
            [(look.channels, look.dtype) for look in good],
            samples or [look.sample for look in sampled],
            sources.channel_axis,
        )
    except DataError as error:
        found.findings.append(_as_finding("image-kind", error))


def _as_finding(code: str, error: DataError) -> Finding:
    what, _, remedy = str(error).rpartition("; ")
    return Finding("error", code, what, remedy)


# What makes no pair: level, what it is called, what to do, whether training can go on without.
_PROBLEMS: dict[str, tuple[str, str, str]] = {
    "unpaired image": (
        "warning",
        "images have no mask",
        "nothing, if they are for prediction; else give each mask its image's name",
    ),
    "unpaired mask": ("warning", "masks have no image", "give each mask its image's name"),
    "several files": (
        "error",
        "names stand for several files",
        "keep one image and one mask a name, or list the pairs in a .csv",
    ),
    "pages": (
        "error",
        "files have more pages than their masks, or fewer",
        "give a stack of images a mask of as many pages",
    ),
    "missing": ("error", "files of the table do not exist", "correct the paths in the table"),
    "folder": ("warning", "folders cannot be read", "change their permissions"),
    "polygons": ("error", "polygon files cannot be read", "correct or remove them"),
}


def _about_files(found: Examination) -> list[Finding]:
    """Files that make no pair, and pairs that cannot be used."""
    findings = []
    by_kind: dict[str, list[Problem]] = {}
    for problem in dict.fromkeys(found.dataset.problems):  # two images of a name bring two
        by_kind.setdefault(problem.kind, []).append(problem)
    for kind, problems in by_kind.items():
        level, what, remedy = _PROBLEMS[kind]
        files = _names(file for problem in problems for file in problem.files)
        findings.append(
            Finding(
                level,
                kind.replace(" ", "-"),
                f"{len(problems)} {what}: {problems[0].text}",
                remedy,
                files,
                removable=True,
            )
        )
    for mismatched, code, what in (
        (True, "mismatched", "masks are not of their image's size"),
        (False, "unreadable", "pairs cannot be read"),
    ):
        bad = [look for look in found.looks if look.problem and look.is_mismatched == mismatched]
        if bad:
            text, _, remedy = bad[0].problem.rpartition("; ")
            names = _names(look.pair.name for look in bad)
            findings.append(
                Finding("error", code, f"{len(bad)} {what}: {text}", remedy, names, removable=True)
            )
    if found.dataset.unlisted:
        names = found.dataset.unlisted
        findings.append(
            Finding(
                "note",
                "unlisted",
                f"{len(names)} pairs stand in no list or part: {_listed(names)}",
                "add them to a list if they are to be used",
                names,
            )
        )
    if len(found.good) < FEW_PAIRS:
        findings.append(
            Finding(
                "warning" if found.good else "error",
                "few-pairs",
                f"{len(found.good)} pairs can be used",
                "add pairs: with so few, no figure means much",
            )
        )
    return findings


def _about_folders(dataset: Dataset, rule: SplitRule) -> list[Finding]:
    """Folders that the split tears apart, where nothing says that it may."""
    folders = Counter(pair.name.rpartition("/")[0] for pair in dataset.pairs)
    is_decided = dataset.parts or dataset.groups or rule.group_by or rule.file
    if is_decided or not 1 < len(folders) < len(dataset.pairs):
        return []
    parted = [replace(rule, group_by=pattern) for pattern in FOLDER_PATTERNS]
    telling = [other.group_by for other in parted if _num_groups(dataset, other) > 1]
    if not telling:
        return []
    return [
        Finding(
            "note",
            "folders",
            f"pairs lie in {len(folders)} folders ({_listed(sorted(folders))}), whose pictures are "
            "split among the parts",
            "if pictures of one folder resemble each other, keep them together with "
            f"--group-by '{telling[0]}'",
        )
    ]


def _num_groups(dataset: Dataset, rule: SplitRule) -> int:
    try:
        return len(set(groups_of(dataset, rule).values()))
    except DataError:  # an image that lies in no folder
        return 0


def _about_pictures(found: Examination, good: Sequence[Look]) -> list[Finding]:
    """What is odd about the images."""

    def note(code: str, looks: Sequence[Look], text: str, remedy: str, level: str = "note") -> None:
        if looks:
            names = _names(look.pair.name for look in looks)
            findings.append(
                Finding(level, code, f"{len(looks)} {text}: {_listed(names)}", remedy, names)
            )

    findings: list[Finding] = []
    note(
        "odd-suffix",
        [look for look in good if look.has_odd_suffix],
        "images are of another format than their names end with",
        "nothing here, where the content counts; rename them for other programs",
    )
    note(
        "rotated",
        [look for look in good if look.orientation != 1],
        "images are turned upright as their EXIF tag says",
        "look with --pictures whether their masks were drawn on the upright picture",
    )
    note(
        "transparency",
        [look for look in good if look.has_alpha],
        "images have transparency, which is left out",
        "nothing, if the colours below transparent pixels are of the picture",
    )
    note(
        "flat",
        [look for look in good if look.is_flat],
        "images are of one colour throughout",
        "replace or remove them",
        "warning",
    )
    dtypes = Counter(look.dtype for look in good)
    if len(dtypes) > 1 and found.format is not None:
        few = min(dtypes, key=lambda dtype: dtypes[dtype])
        note(
            "mixed-depth",
            [look for look in good if look.dtype == few],
            f"images of {len(good)} have {few} pixels, unlike the others",
            "save all with the same bits, unless white is the largest number in each",
            "warning",
        )
    channels = Counter(look.channels for look in good)
    if channels.keys() == {1, 3}:
        note(
            "mixed-colour",
            [look for look in good if look.channels == 1],
            f"images of {len(good)} are grey, and are taken as colour",
            "nothing, if the others have colours that matter",
        )
    deep = [look for look in good if look.dtype == "uint16"]
    largest = max((look.largest for look in deep), default=0)
    if deep and largest < DARK * 65535:
        note(
            "dark",
            deep,
            f"16-bit images use numbers up to {largest:g} alone, and look black in viewers",
            "nothing here, where levels come from all training images",
        )
    return findings


def _about_masks(found: Examination, good: Sequence[Look]) -> list[Finding]:
    """What is odd about the masks."""
    classes = found.classes
    if classes is None:
        return []
    findings = []
    counts = class_counts(good, classes)
    if classes.background is not None:
        others = np.delete(counts, classes.background, axis=1)[:, :-1].sum(axis=1)
        empty = _names(look.pair.name for look, n in zip(good, others, strict=True) if not n)
        if empty:
            many = len(empty) > MANY_EMPTY * len(good)
            findings.append(
                Finding(
                    "warning" if many else "note",
                    "empty-mask",
                    f"{len(empty)} masks hold background alone: {_listed(empty)}",
                    "nothing, if nothing is to be found there; else draw the objects or remove "
                    "the pairs",
                    empty,
                )
            )
    findings += _about_classes(found, good, counts)
    lossy = [look for look in good if look.is_lossy]
    if lossy:
        names = _names(look.pair.name for look in lossy)
        between = sum(look.between for look in lossy) / len(lossy)
        findings.append(
            Finding(
                "warning" if between > BLURRED else "note",
                "jpeg-mask",
                f"{len(lossy)} masks are JPEGs, thresholded at {classes.threshold}; "
                f"{between:.1%} of their pixels were neither nearly black nor nearly white",
                "save masks as PNG from their source, if there is one",
                names,
            )
        )
    return findings + _about_objects(classes, good)


def _about_classes(found: Examination, good: Sequence[Look], counts: np.ndarray) -> list[Finding]:
    classes, findings = found.classes, []
    train = {pair.name for pair in found.split.train} if found.split else set()
    in_train = np.array([look.pair.name in train for look in good])
    total = max(1, int(counts[:, :-1].sum()))
    for index, name in enumerate(classes.names if classes else ()):
        pixels = int(counts[:, index].sum())
        seen = int(counts[in_train, index].sum())
        if pixels == 0 or (found.split and seen == 0):
            where = "no mask" if pixels == 0 else "no training mask"
            findings.append(
                Finding(
                    "warning",
                    "absent-class",
                    f"class {name!r} occurs in {where}",
                    "add pairs that show it, or leave the class out",
                )
            )
        elif pixels < RARE * total:
            findings.append(
                Finding(
                    "warning",
                    "rare-class",
                    f"class {name!r} covers {pixels / total:.3%} of the pixels",
                    "expect little of it without more pairs that show it",
                )
            )
    return findings


def _about_objects(classes: Classes, good: Sequence[Look]) -> list[Finding]:
    findings = []
    has_integers = not any(look.is_drawn or look.is_colour for look in good)
    if classes.kind == "instances" and has_integers:
        regions = [_without_ignored(look, classes) for look in good]
        pieces = sum(map(len, regions))
        labels = sum(len(np.unique(one[:, 0])) for one in regions)
        if labels and pieces > 1.5 * labels:
            findings.append(
                Finding(
                    "warning",
                    "suspect-kind",
                    f"{labels} numbers of objects stand for {pieces} separate pieces",
                    "say --kind classes, if each number is a class",
                )
            )
    many = classes.kind == "classes" and len(classes) > 2 and classes.border is None
    if many and has_integers and looks_like_objects(good, classes.ignore):
        findings.append(
            Finding(
                "warning",
                "suspect-kind",
                "nearly every value of the masks is in one piece, as if it were an object",
                "say --kind instances, if each value is an object",
            )
        )
    if classes.kind == "instances":
        findings += _about_few_objects(classes, good)
        areas = [_without_ignored(look, classes)[:, 1] for look in good]
        tiny = sum(int((one < TINY_OBJECT).sum()) for one in areas)
        if tiny:
            findings.append(
                Finding(
                    "note",
                    "tiny-objects",
                    f"{tiny} pieces of objects have fewer than {TINY_OBJECT} pixels",
                    "look with --pictures whether they are slips of the pen",
                )
            )
    return findings


def _without_ignored(look: Look, classes: Classes) -> np.ndarray:
    if look.is_drawn or classes.ignore is None:
        return look.regions
    return look.regions[look.regions[:, 0] != classes.ignore]


def _about_few_objects(classes: Classes, good: Sequence[Look]) -> list[Finding]:
    """Images with far fewer objects than the others; those with none are empty masks."""
    numbers = {look.pair.name: len(object_areas(look, classes)) for look in good}
    median = float(np.median([number for number in numbers.values() if number] or [0]))
    few = _names(name for name, number in numbers.items() if 0 < number < FEW_OBJECTS * median)
    if not few:
        return []
    text = f"{len(few)} masks have less than a third of the usual {median:g} objects"
    remedy = "look with --pictures whether all objects are drawn; complete or remove the pairs"
    return [Finding("note", "few-objects", f"{text}: {_listed(few)}", remedy, few)]


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
        return int(value != 0)
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


def _about_duplicates(found: Examination, good: Sequence[Look]) -> list[Finding]:
    """Pictures that occur twice, above all in two parts of the split."""
    findings = []
    twice = find_duplicates(good)
    part_of = {
        pair.name: part
        for part, pairs in (found.split.parts.items() if found.split else ())
        for pair in pairs
    }
    shown = {tuple(sorted(group)) for group in twice.exact}
    for kind, groups in (
        ("the same to the byte", twice.exact),
        ("nearly the same", [g for g in twice.near if tuple(sorted(g)) not in shown]),
    ):
        names = [_names(good[place].pair.name for place in group) for group in groups]
        across = [g for g in names if len({part_of[name] for name in g if name in part_of}) > 1]
        within = [group for group in names if group not in across]
        code = "duplicate" if "byte" in kind else "near-duplicate"
        for level, some, where, remedy in (
            (
                "warning",
                across,
                " in different parts, so that figures flatter",
                "keep one of each, or keep them together with --group-by",
            ),
            ("note", within, "", "keep one of each, unless they are meant"),
        ):
            if some:
                findings.append(
                    Finding(
                        level,
                        code,
                        f"{len(some)} groups of images are {kind}{where}: "
                        f"{'; '.join(' = '.join(group[:SHOWN]) for group in some[:SHOWN])}"
                        f"{' ...' if len(some) > SHOWN else ''}",
                        remedy,
                        tuple(name for group in some for name in group),
                    )
                )
    return findings


def _names(items: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(item) for item in items)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
