"""What can be found about a data set: how grave it is, in words, and what to do.

Each kind of finding has a short code, for programs, and one remedy. Those about masks are made in
`maskfindings`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

from unetkit.checks.duplicates import find_duplicates
from unetkit.checks.statistics import PairStatistics
from unetkit.data.dataset import Dataset
from unetkit.data.pairing import SHOWN, Problem, list_some
from unetkit.data.splits import Split, SplitRule, groups_of
from unetkit.errors import DataError
from unetkit.io.pixel_format import PixelFormat

LEVELS = ("error", "warning", "note")
# What to do, by code; "" where the text of an error says it.
REMEDIES = {
    "mask-kind": "",
    "image-kind": "",
    "split": "",
    "mismatched": "",
    "unreadable": "",
    "unpaired-image": "nothing, if they are for prediction; else give each mask its image's name",
    "unpaired-mask": "give each mask its image's name",
    "several-files": "keep one image and one mask a name, or list the pairs in a .csv",
    "pages": "give a stack of images a mask of as many pages",
    "missing": "correct the paths in the table",
    "folder": "change their permissions",
    "polygons": "correct or remove them",
    "stray": "nothing, if they hold no polygons; else correct them",
    "unlisted": "add them to a list if they are to be used",
    "few-pairs": "add pairs: with so few, no figure means much",
    "folders": "",
    "odd-suffix": "nothing here, where the content counts; rename them for other programs",
    "rotated": "look with --pictures whether their masks were drawn on the upright picture",
    "transparency": "nothing, if the colours below transparent pixels are of the picture",
    "flat": "replace or remove them",
    "mixed-depth": "save all with the same bits, unless white is the largest number in each",
    "mixed-colour": "nothing, if the others have colours that matter",
    "dark": "nothing here, where levels come from all training images",
    "empty-mask": "nothing, if nothing is to be found there; else draw the objects or remove the "
    "pairs",
    "absent-class": "add pairs that show it, or leave the class out",
    "rare-class": "expect little of it without more pairs that show it",
    "thresholded": "save masks as PNG from their source, if there is one",
    "trimap": "name the classes with --classes, if they mean something else",
    "ignore-absent": "correct --ignore, or leave it out",
    "suspect-kind": "",
    "few-objects": "look with --pictures whether all objects are drawn; complete or remove the "
    "pairs",
    "tiny-objects": "look with --pictures whether they are slips of the pen",
    "duplicate": "keep one of each, unless they are meant",
    "near-duplicate": "keep one of each, unless they are meant",
}
FEW_PAIRS = 12  # with fewer, no figure means much
DARK = 0.25  # share of the 16-bit range; a viewer shows a picture below it as black
FOLDER_PATTERNS = ("^([^/]+)/", "^(.+)/")  # the outermost folder, or all
# What makes no pair: level, and what it is called, for one and for many.
PROBLEMS = {
    "unpaired image": ("warning", "image has no mask", "images have no mask"),
    "unpaired mask": ("warning", "mask has no image", "masks have no image"),
    "several files": ("error", "name stands for several files", "names stand for several files"),
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
}


@dataclass(frozen=True)
class Issue:
    """Something about a data set that its owner should know.

    Args:
        level: "error" spoils training, "warning" may, "note" is good to know.
        code: A short fixed name, for programs: a key of `REMEDIES`.
        text: What was found.
        names: The pairs or files that it is about.
        remedy: What to do; by default as `REMEDIES` has it.
        removable: Whether training can go on without the pairs in `names`.
    """

    level: str
    code: str
    text: str
    names: tuple[str, ...] = ()
    remedy: str = ""
    removable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "remedy", self.remedy or REMEDIES[self.code])


def issue_of(code: str, error: DataError) -> Issue:
    """An error whose last part says what to do, as a finding."""
    what, _, remedy = str(error).rpartition("; ")
    return Issue("error", code, what, remedy=remedy)


def number_of(items: Sized | int, one: str, many: str) -> str:
    """How many, with the word for one or for many.

    >>> number_of(["a"], "mask is", "masks are"), number_of(2, "mask is", "masks are")
    ('1 mask is', '2 masks are')
    """
    count = items if isinstance(items, int) else len(items)
    return f"{count} {one if count == 1 else many}"


def about_files(dataset: Dataset, looks: Sequence[PairStatistics]) -> list[Issue]:
    """Files that make no pair, and pairs that cannot be used."""
    issues = []
    by_kind: dict[str, list[Problem]] = {}
    for problem in dict.fromkeys(dataset.problems):  # two images of a name bring two
        by_kind.setdefault(problem.kind, []).append(problem)
    for kind, problems in by_kind.items():
        level, one, many = PROBLEMS[kind]
        text = f"{number_of(problems, one, many)}: {problems[0].text}"
        files = _names(file for problem in problems for file in problem.files)
        issues.append(Issue(level, kind.replace(" ", "-"), text, files, removable=True))
    for mismatched, code, one, many in (
        (
            True,
            "mismatched",
            "mask is not of its image's size",
            "masks are not of their image's size",
        ),
        (False, "unreadable", "pair cannot be read", "pairs cannot be read"),
    ):
        bad = [look for look in looks if look.problem and look.is_mismatched == mismatched]
        if bad:
            what, _, remedy = bad[0].problem.rpartition("; ")
            text = f"{number_of(bad, one, many)}: {what}"
            names = _names(look.pair.name for look in bad)
            issues.append(Issue("error", code, text, names, remedy, removable=True))
    if dataset.unlisted:
        text = number_of(dataset.unlisted, "pair stands", "pairs stand")
        text += f" in no list or part: {list_some(dataset.unlisted)}"
        issues.append(Issue("note", "unlisted", text, dataset.unlisted))
    usable = sum(not look.problem for look in looks)
    if usable < FEW_PAIRS:
        level = "warning" if usable else "error"
        text = f"{number_of(usable, 'pair', 'pairs')} can be used"
        issues.append(Issue(level, "few-pairs", text))
    return issues


def about_split(dataset: Dataset, split: Split | None, skipped: Collection[str]) -> list[Issue]:
    """Pairs that a split file leaves out.

    Args:
        skipped: Names of pairs that cannot be used.
    """
    parts = split.splits.values() if split else ()
    known = {pair.name for pairs in parts for pair in pairs} | set(skipped)
    left = tuple(pair.name for pair in dataset.pairs if pair.name not in known)
    if split is None or not left:
        return []
    text = f"{number_of(left, 'pair stands', 'pairs stand')} in no part of the split file: "
    return [Issue("note", "unlisted", text + list_some(left), left)]


def about_folders(dataset: Dataset, rule: SplitRule) -> list[Issue]:
    """Folders that the split tears apart, where nothing says that it may."""
    folders = Counter(pair.name.rpartition("/")[0] for pair in dataset.pairs)
    is_decided = dataset.splits or dataset.groups or rule.group_by or rule.file
    if is_decided or not 1 < len(folders) < len(dataset.pairs):
        return []
    parted = [replace(rule, group_by=pattern) for pattern in FOLDER_PATTERNS]
    telling = [other.group_by for other in parted if _num_groups(dataset, other) > 1]
    if not telling:
        return []
    text = f"pairs lie in {len(folders)} folders ({list_some(sorted(folders))}), whose pictures "
    text += "are split among the parts"
    remedy = "if pictures of one folder resemble each other, keep them together with "
    return [Issue("note", "folders", text, remedy=f"{remedy}--group-by '{telling[0]}'")]


def _num_groups(dataset: Dataset, rule: SplitRule) -> int:
    try:
        return len(set(groups_of(dataset, rule).values()))
    except DataError:  # an image that lies in no folder
        return 0


def about_images(good: Sequence[PairStatistics], format: PixelFormat | None) -> list[Issue]:
    """What is odd about the images.

    Args:
        good: Looks at pairs that can be read.
        format: What the images are, if they fit together.
    """
    issues: list[Issue] = []

    def note(
        code: str, looks: Sequence[PairStatistics], one: str, many: str, level: str = "note"
    ) -> None:
        if looks:
            names = _names(look.pair.name for look in looks)
            text = f"{number_of(looks, one, many)}: {list_some(names)}"
            issues.append(Issue(level, code, text, names))

    note(
        "odd-suffix",
        [look for look in good if look.has_odd_suffix],
        "image is of another format than its name ends with",
        "images are of another format than their names end with",
    )
    note(
        "rotated",
        [look for look in good if look.orientation != 1],
        "image is turned upright as its EXIF tag says",
        "images are turned upright as their EXIF tag says",
    )
    note(
        "transparency",
        [look for look in good if look.has_alpha],
        "image has transparency, which is left out",
        "images have transparency, which is left out",
    )
    note(
        "flat",
        [look for look in good if look.is_flat],
        "image is of one colour throughout",
        "images are of one colour throughout",
        "warning",
    )
    dtypes = Counter(look.dtype for look in good)
    if len(dtypes) > 1 and format is not None:
        few = min(dtypes, key=lambda dtype: dtypes[dtype])
        note(
            "mixed-depth",
            [look for look in good if look.dtype == few],
            f"image of {len(good)} has {few} pixels, unlike the others",
            f"images of {len(good)} have {few} pixels, unlike the others",
            "warning",
        )
    if {look.channels for look in good} == {1, 3}:
        note(
            "mixed-colour",
            [look for look in good if look.channels == 1],
            f"image of {len(good)} is grey, and is taken as colour",
            f"images of {len(good)} are grey, and are taken as colour",
        )
    deep = [look for look in good if look.dtype == "uint16"]
    largest = max((look.largest for look in deep), default=0)
    if largest < DARK * 65535:
        note(
            "dark",
            deep,
            f"16-bit image uses numbers up to {largest:g} alone, and looks black in viewers",
            f"16-bit images use numbers up to {largest:g} alone, and look black in viewers",
        )
    return issues


def about_duplicates(good: Sequence[PairStatistics], split: Split | None) -> list[Issue]:
    """Pictures that occur twice, above all in two parts of the split."""
    twice = find_duplicates(good)
    exact = {tuple(sorted(group)) for group in twice.exact}
    near = [group for group in twice.near if tuple(sorted(group)) not in exact]
    return [
        *_about_copies("duplicate", "the same to the byte", twice.exact, good, split),
        *_about_copies("near-duplicate", "nearly the same", near, good, split),
    ]


def _about_copies(
    code: str,
    likeness: str,
    groups: Sequence[Sequence[int]],
    good: Sequence[PairStatistics],
    split: Split | None,
) -> list[Issue]:
    parts = split.splits.items() if split else ()
    part_of = {pair.name: part for part, pairs in parts for pair in pairs}
    across: list[tuple[str, ...]] = []
    within: list[tuple[str, ...]] = []
    for group in groups:
        names = _names(good[place].pair.name for place in group)
        is_torn = len({part_of[name] for name in names if name in part_of}) > 1
        (across if is_torn else within).append(names)
    issues = []
    for level, some, where, remedy in (
        (
            "warning",
            across,
            " in different parts, so that figures flatter",
            "keep one of each, or keep them together with --group-by",
        ),
        ("note", within, "", ""),
    ):
        if some:
            shown = "; ".join(" = ".join(group[:SHOWN]) for group in some[:SHOWN])
            text = f"{number_of(some, 'group of images is', 'groups of images are')} {likeness}"
            text += f"{where}: {shown}{' ...' if len(some) > SHOWN else ''}"
            names = tuple(name for group in some for name in group)
            issues.append(Issue(level, code, text, names, remedy))
    return issues


def _names(items: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(item) for item in items)
