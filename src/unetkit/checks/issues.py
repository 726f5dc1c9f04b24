"""Issues of a data set: level, code, text and remedy of each.

Each kind of issue has a short fixed code, for programs, and a remedy. Issues about files, splits,
images and duplicates are found here; those about masks in `mask_issues`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unetkit._shared.wording import format_count
from unetkit.checks.duplicates import find_duplicates
from unetkit.checks.statistics import PairStatistics
from unetkit.data.pairs import Dataset
from unetkit.data.sources import SHOWN, Problem, list_some
from unetkit.data.splits import Split, SplitRule, groups_of
from unetkit.errors import ConfigError, DataError, did_you_mean
from unetkit.io.pixel_format import PixelFormat

LEVELS = ("error", "warning", "note")
CHECK_COMMAND = "unetkit check DATA --pictures FOLDER"
# Errors that a user may accept: of the classes that they concern, nothing can be learnt.
ACCEPTABLE = ("absent-class", "all-ignored")
# What to do, by code; "" where the message of an error ends with it.
REMEDIES = {
    "mask-kind": "",
    "image-kind": "",
    "split": "",
    "mismatched": "",
    "unreadable": "",
    "unpaired-image": "nothing, if they are for prediction; otherwise name masks like their images",
    "unpaired-mask": "name masks like their images",
    "several-files": "keep one image and one mask per name, or list the pairs in a .csv file",
    "pages": "use a mask with as many pages as its stack of images",
    "missing": "correct the paths in the table",
    "folder": "change the permissions of these folders",
    "polygons": "correct or remove them",
    "stray": "nothing, if they contain no polygons; otherwise correct them",
    "unplaced": "nothing, if these images are not meant to be used; otherwise correct the entries",
    "passed-over": "nothing, if they are not meant to be used; otherwise do as said",
    "incomplete": "draw the shapes again, or keep the images without --strict-annotations",
    "shapes": "nothing, if they were drawn by mistake; otherwise draw them again, or leave their "
    "images out with --strict-annotations",
    "overlap": "nothing, if objects may hide each other: these pixels belong to the last file",
    "unlisted": "add them to a list if they are meant to be used",
    "few-pairs": "add pairs: metrics of so few mean little",
    "folders": "",
    "odd-suffix": "nothing for unetkit, which detects the format; rename them for other programs",
    "rotated": f"{CHECK_COMMAND} shows whether masks were drawn on the upright image",
    "transparency": "nothing, if the colours of transparent pixels belong to the image",
    "flat": "replace or remove them",
    "mixed-depth": "save all with the same bit depth, unless white is the largest value in each",
    "mixed-colour": "nothing, if the colours of the others matter",
    "dark": "nothing for unetkit, which takes the levels from all training images",
    "empty-mask": "nothing, if these images contain no object; otherwise draw the objects or "
    "remove the pairs",
    "absent-class": "",
    "all-ignored": "",
    "labels": "if they mean something else, list them with --classes or --ignore, or name their "
    "classes in classes.toml beside the data",
    "no-data": "nothing, if these pixels lie outside of what was imaged",
    "blended": "nothing, if the edges of the masks are blurred; otherwise list all colours",
    "rare-class": "add pairs with this class, or expect a low score of it",
    "thresholded": "export the masks as PNG from their source, if there is one",
    "trimap": "name the classes with --classes, if the values mean something else",
    "ignore-absent": "correct --ignore, or omit it",
    "suspect-kind": "",
    "few-objects": f"look at them with {CHECK_COMMAND}; complete or remove the pairs",
    "tiny-objects": f"look at them with {CHECK_COMMAND}: they may be drawn by mistake",
    "names": "",
    "blocks": "",
    "duplicate": "keep one of each group, unless they are intended",
    "near-duplicate": "keep one of each group, unless they are intended",
}
FEW_PAIRS = 12  # metrics of fewer mean little
DARK_FRACTION = 0.25  # of the 16-bit range; images below it look black in viewers
FOLDER_PATTERNS = ("^([^/]+)/", "^(.+)/")  # the outermost folder, or the whole folder path
# What images of one person or object may have in common: all but a side, at the end or further to
# the front, such as L and R; all but a last number, of a few.
SIDE_PATTERN = r"(?i)^(.+?)(?:(?<=\d)[lrab]|[-_ ](?:left|right|o[ds]|[lr]e|[lrab]))?\.[^./]+$"
FRONT_SIDE_PATTERN = r"(?i)^(.*?)(?<![a-z])(?:left|right|o[ds]|[lr]e?)(?![a-z])(.*)"
NUMBER_PATTERN = r"^(.+?)[-_ ][A-Za-z]*\d+\.[^./]+$"
MOST = 0.8  # of the images are in such groups
MOST_IN_GROUP = 4  # more are a series, or a class
# Problems of files that belong to no pair: level, and text for one file and for several.
PROBLEMS = {
    "unpaired image": ("warning", "image has no mask", "images have no mask"),
    "unpaired mask": ("warning", "mask has no image", "masks have no image"),
    "several files": ("error", "name has several files", "names have several files"),
    "pages": (
        "error",
        "file has another number of pages than its mask",
        "files have another number of pages than their masks",
    ),
    "missing": ("error", "file of the table does not exist", "files of the table do not exist"),
    "folder": ("warning", "folder cannot be read", "folders cannot be read"),
    "polygons": ("error", "polygon file cannot be read", "polygon files cannot be read"),
    "stray": (
        "warning",
        "file that looks like polygons cannot be read",
        "files that look like polygons cannot be read",
    ),
    "unplaced": (
        "warning",
        "entry of a polygon file belongs to no image",
        "entries of polygon files belong to no image",
    ),
    "passed over": (
        "warning",
        "file with an image is passed over",
        "files with images are passed over",
    ),
    "incomplete": (
        "warning",
        "image is left out, as a shape of it cannot be filled",
        "images are left out, as shapes of them cannot be filled",
    ),
}


@dataclass(frozen=True)
class Issue:
    """An issue of a data set.

    Args:
        level: "error" if it prevents training, "warning" if it may harm it, "note" otherwise.
        code: Short fixed name, for programs: a key of `REMEDIES`.
        text: What is wrong.
        names: Names of the pairs or files that have the issue.
        remedy: What to do; if empty, the entry of `REMEDIES`.
        removable: Whether training can continue without the pairs in `names`.
        acceptable: Whether the user may accept an error as it is, by its code.
    """

    level: str
    code: str
    text: str
    names: tuple[str, ...] = ()
    remedy: str = ""
    removable: bool = False
    acceptable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "remedy", self.remedy or REMEDIES[self.code])


def to_issue(code: str, error: DataError) -> Issue:
    """Returns an error as an issue; the last part of its message is the remedy."""
    what, _, remedy = str(error).rpartition("; ")
    return Issue("error", code, what, remedy=remedy)


def require_codes(codes: Sequence[str]) -> None:
    """Checks codes of issues that are accepted.

    Raises:
        ConfigError: A code is not one of an issue that may be accepted.
    """
    for code in codes:
        if code not in ACCEPTABLE:
            files = "; leave files out with --skip-bad" if code in REMEDIES else ""
            raise ConfigError(
                f"the code to accept is {code!r}; accepted are {', '.join(ACCEPTABLE)}"
                f"{did_you_mean(code, ACCEPTABLE)}{files}"
            )


def find_file_issues(dataset: Dataset, statistics: Sequence[PairStatistics]) -> list[Issue]:
    """Returns issues about files that belong to no pair and pairs that cannot be used."""
    issues = []
    by_kind: dict[str, list[Problem]] = {}
    for problem in dict.fromkeys(dataset.problems):  # two images of one name are reported twice
        by_kind.setdefault(problem.kind, []).append(problem)
    for kind, problems in by_kind.items():
        level, one, many = PROBLEMS[kind]
        files = _names(file for problem in problems for file in problem.files)
        text = f"{format_count(files if kind == 'passed over' else problems, one, many)}: "
        text += problems[0].text
        issues.append(Issue(level, kind.replace(" ", "-"), text, files, removable=True))
    for mismatched, code, one, many in (
        (
            True,
            "mismatched",
            "mask has another size than its image",
            "masks have another size than their images",
        ),
        (False, "unreadable", "pair cannot be read", "pairs cannot be read"),
    ):
        bad = [stats for stats in statistics if stats.problem and stats.is_mismatched == mismatched]
        if bad:
            what, _, remedy = bad[0].problem.rpartition("; ")
            text = f"{format_count(bad, one, many)}: {what}"
            names = _names(stats.pair.name for stats in bad)
            issues.append(Issue("error", code, text, names, remedy, removable=True))
    if dataset.unlisted:
        text = format_count(dataset.unlisted, "pair is", "pairs are")
        text += f" in no list or split: {list_some(dataset.unlisted)}"
        issues.append(Issue("note", "unlisted", text, dataset.unlisted))
    usable = sum(not stats.problem for stats in statistics)
    if usable < FEW_PAIRS:
        level = "warning" if usable else "error"
        text = f"{format_count(usable, 'pair', 'pairs')} can be used"
        issues.append(Issue(level, "few-pairs", text))
    return issues


def find_split_issues(
    dataset: Dataset, split: Split | None, skipped: Collection[str]
) -> list[Issue]:
    """Returns an issue if a split file omits pairs.

    Args:
        dataset: All pairs.
        split: Splits of the pairs; None if they cannot be split.
        skipped: Names of the pairs that cannot be used.
    """
    splits = split.splits.values() if split else ()
    known = {pair.name for pairs in splits for pair in pairs} | set(skipped)
    omitted = tuple(pair.name for pair in dataset.pairs if pair.name not in known)
    if split is None or not omitted:
        return []
    text = f"{format_count(omitted, 'pair is', 'pairs are')} in no split of the split file: "
    return [Issue("note", "unlisted", text + list_some(omitted), omitted)]


def find_folder_issues(dataset: Dataset, rule: SplitRule) -> list[Issue]:
    """Returns a note if the split ignores folders and no option or list decides that."""
    folders = {pair.name.rpartition("/")[0] or "." for pair in dataset.pairs}
    is_decided = dataset.splits or dataset.groups or rule.group_by or rule.file
    if is_decided or not 1 < len(folders) < len(dataset.pairs):
        return []
    rules = [replace(rule, group_by=pattern) for pattern in FOLDER_PATTERNS]
    useful = [other.group_by for other in rules if _num_groups(dataset, other) > 1]
    if not useful:
        return []
    text = f"pairs are in {len(folders)} folders ({list_some(sorted(folders))}), and images of one "
    text += "folder are distributed over the splits"
    remedy = "if images of one folder resemble each other, keep them together with "
    return [Issue("note", "folders", text, remedy=f"{remedy}--group-by '{useful[0]}'")]


def find_name_issues(dataset: Dataset, rule: SplitRule) -> list[Issue]:
    """Returns a warning if names say that images belong together, and nothing keeps them together.

    Two names that differ only in a side (L and R, left and right, a and b) may be of one person,
    for example both eyes. So may names that differ only in a last number, if most of them form
    groups of one size, from two to four.
    """
    if dataset.splits or dataset.groups or dataset.blocks or rule.group_by or rule.file:
        return []
    for pattern, sizes, what in (
        (SIDE_PATTERN, (2,), "a side, such as left and right"),
        (FRONT_SIDE_PATTERN, (2,), "a side, such as left and right"),
        (NUMBER_PATTERN, range(2, MOST_IN_GROUP + 1), "their last number"),
    ):
        groups = _groups_by(dataset, replace(rule, group_by=pattern))
        counts = Counter(len(names) for names in groups)
        for size in sizes:
            if counts[size] > 1 and counts[size] * size >= MOST * len(dataset.pairs):
                together = [names for names in groups if len(names) == size]
                text = (
                    f"{format_count(together, 'group')} of {size} images have names that differ "
                    "only in "
                    f"{what} ({', '.join(together[0])}; {', '.join(together[1])} ...), and a "
                    "random split may separate them"
                )
                remedy = f"if they show one person or object, use --group-by '{pattern}'"
                names = tuple(name for group in together for name in group)
                return [Issue("warning", "names", text, names, remedy)]
    return []


def _groups_by(dataset: Dataset, rule: SplitRule) -> list[list[str]]:
    members: dict[str, list[str]] = defaultdict(list)
    try:
        for name, group in groups_of(dataset, rule).items():
            members[group].append(name)
    except DataError:  # the pattern does not fit every name
        return []
    return list(members.values())


def _num_groups(dataset: Dataset, rule: SplitRule) -> int:
    try:
        return len(set(groups_of(dataset, rule).values()))
    except DataError:  # an image is in no folder
        return 0


def find_image_issues(good: Sequence[PairStatistics], format: PixelFormat | None) -> list[Issue]:
    """Returns issues about the images: format, orientation, transparency, bit depth, levels.

    Args:
        good: Statistics of the pairs that can be used.
        format: Pixel format of the images; None if they have no common one.
    """
    issues: list[Issue] = []

    def note(
        code: str, statistics: Sequence[PairStatistics], one: str, many: str, level: str = "note"
    ) -> None:
        if statistics:
            names = _names(stats.pair.name for stats in statistics)
            text = f"{format_count(statistics, one, many)}: {list_some(names)}"
            issues.append(Issue(level, code, text, names))

    note(
        "odd-suffix",
        [stats for stats in good if stats.has_odd_suffix],
        "image has the suffix of another format",
        "images have the suffix of another format",
    )
    note(
        "rotated",
        [stats for stats in good if stats.orientation != 1],
        "image is rotated upright by its EXIF tag",
        "images are rotated upright by their EXIF tags",
    )
    note(
        "transparency",
        [stats for stats in good if stats.is_transparent],
        "image has transparency, which is ignored",
        "images have transparency, which is ignored",
    )
    note(
        "flat",
        [stats for stats in good if stats.is_flat],
        "image has only one colour",
        "images have only one colour",
        "warning",
    )
    dtypes = Counter(stats.dtype for stats in good)
    if len(dtypes) > 1 and format is not None:
        rarest = min(dtypes, key=lambda dtype: dtypes[dtype])
        note(
            "mixed-depth",
            [stats for stats in good if stats.dtype == rarest],
            f"image of {len(good)} has {rarest} pixels, unlike the others",
            f"images of {len(good)} have {rarest} pixels, unlike the others",
            "warning",
        )
    if {stats.channels for stats in good} == {1, 3}:
        note(
            "mixed-colour",
            [stats for stats in good if stats.channels == 1],
            f"image of {len(good)} is grey and is converted to RGB",
            f"images of {len(good)} are grey and are converted to RGB",
        )
    sixteen_bit = [stats for stats in good if stats.dtype == "uint16"]
    largest = max((stats.largest for stats in sixteen_bit), default=0)
    if largest < DARK_FRACTION * 65535:
        note(
            "dark",
            sixteen_bit,
            f"16-bit image has values up to only {largest:g} and looks black in viewers",
            f"16-bit images have values up to only {largest:g} and look black in viewers",
        )
    return issues


def find_duplicate_issues(good: Sequence[PairStatistics], split: Split | None) -> list[Issue]:
    """Returns issues about images that occur more than once, in different splits or within one."""
    duplicates = find_duplicates(good)
    exact = {tuple(sorted(group)) for group in duplicates.exact}
    near = [group for group in duplicates.near if tuple(sorted(group)) not in exact]
    return [
        *_find_copy_issues("duplicate", "identical", duplicates.exact, good, split),
        *_find_copy_issues("near-duplicate", "nearly identical", near, good, split),
    ]


def _find_copy_issues(
    code: str,
    similarity: str,
    groups: Sequence[Sequence[int]],
    good: Sequence[PairStatistics],
    split: Split | None,
) -> list[Issue]:
    splits = split.splits.items() if split else ()
    split_of = {pair.name: name for name, pairs in splits for pair in pairs}
    across: list[tuple[str, ...]] = []
    within: list[tuple[str, ...]] = []
    for group in groups:
        names = _names(good[index].pair.name for index in group)
        is_across = len({split_of[name] for name in names if name in split_of}) > 1
        (across if is_across else within).append(names)
    issues = []
    for level, some_groups, where, remedy in (
        (
            "warning",
            across,
            " and in different splits, which makes metrics too high",
            "keep one of each group, or keep them together with --group-by",
        ),
        ("note", within, "", ""),
    ):
        if some_groups:
            shown = "; ".join(" = ".join(group[:SHOWN]) for group in some_groups[:SHOWN])
            text = format_count(some_groups, "group of images is", "groups of images are")
            text += f" {similarity}{where}: {shown}{' ...' if len(some_groups) > SHOWN else ''}"
            names = tuple(name for group in some_groups for name in group)
            issues.append(Issue(level, code, text, names, remedy))
    return issues


def _names(items: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(item) for item in items)
