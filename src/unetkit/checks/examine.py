"""Look at a data set before training: what it holds, what is wrong with it, what to do.

    look      every pair once, in parallel (`looks`)
    decide    what masks mean and pictures are (`kinds`, `pixels`), how pairs are split (`splits`)
    find      what spoils a training, what may, and what is good to know (`issues`)

`train` runs the same examination and stops where it finds something that spoils training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from unetkit._shared.display import Display
from unetkit.checks.class_inference import choose_classes, odd_masks
from unetkit.checks.issues import (
    LEVELS,
    Issue,
    about_duplicates,
    about_files,
    about_folders,
    about_images,
    about_split,
    issue_of,
    number_of,
)
from unetkit.checks.mask_issues import about_masks
from unetkit.checks.statistics import PairStatistics, look_at
from unetkit.data.classes import Classes, find_class_file, read_class_file
from unetkit.data.dataset import Dataset, Sources
from unetkit.data.pairing import list_some
from unetkit.data.splits import Split, SplitRule, split_pairs
from unetkit.errors import ConfigError, DataError
from unetkit.io.pixel_format import PixelFormat, choose_format, odd_images


@dataclass
class DatasetReport:
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
    looks: list[PairStatistics]
    classes: Classes | None = None
    format: PixelFormat | None = None
    split: Split | None = None
    issues: list[Issue] = field(default_factory=list)

    @property
    def splits(self) -> Split:
        """The pairs of each split; all are empty if the pairs cannot be split."""
        return self.split or Split()

    @property
    def good(self) -> list[PairStatistics]:
        """Looks at the pairs that can be used."""
        return [look for look in self.looks if not look.problem]

    @property
    def errors(self) -> list[Issue]:
        return [issue for issue in self.issues if issue.level == "error"]

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

    def digests(self) -> dict[str, dict[str, str | int]]:
        """SHA-256 of each pair's files, and its page in a stack, by name."""
        return {
            look.pair.name: {"image_sha256": look.image_sha256, "mask_sha256": look.mask_sha256}
            | ({} if look.pair.page is None else {"page": look.pair.page})
            for look in self.looks
        }


def examine(
    dataset: Dataset,
    sources: Sources,
    rule: SplitRule,
    classes: Mapping[str, Any],
    display: Display,
) -> DatasetReport:
    """Looks at every pair and finds what is wrong.

    Args:
        classes: Arguments of `Classes` that the user has decided.
    """
    on_done = display.task("looking at the pairs", len(dataset.pairs))
    looks = look_at(dataset.pairs, sources.channel_axis, on_done)
    display.finish()
    found = DatasetReport(dataset, looks)
    found.issues += about_files(dataset, looks)
    if found.good:
        is_told = _decide(found, sources, rule, classes)
        good = found.good
        found.issues += about_folders(dataset, rule)
        found.issues += about_split(dataset, found.split, found.skippable())
        found.issues += about_images(good, found.format)
        if found.classes is not None:
            found.issues += about_masks(good, found.classes, found.split, is_told)
        found.issues += about_duplicates(good, found.split)
    found.issues.sort(key=lambda issue: LEVELS.index(issue.level))
    return found


def _decide(
    found: DatasetReport, sources: Sources, rule: SplitRule, given: Mapping[str, Any]
) -> bool:
    """Classes, split and pixel format, or an error finding for each that cannot be had.

    Returns:
        Whether somebody has named the classes, or the layout says that masks are trimaps.
    """
    dataset = found.dataset
    path, said = None, dict(given)
    is_trimap = "trimap" in dataset.masks
    try:
        path = find_class_file(dataset.folder)
        said = (read_class_file(path) if path else {}) | said
        _set_odd_aside(found, said)
        found.classes = choose_classes(
            found.good,
            f"{dataset.source} ({dataset.masks})",
            said,
            kind=dataset.kind,
            is_trimap=is_trimap,
        )
    except DataError as error:
        found.issues.append(issue_of("mask-kind", error))
    except ConfigError as error:
        if path is None or given:
            raise
        # Nobody but the file has said it.
        found.issues.append(issue_of("mask-kind", DataError(f"class file {path}: {error}")))
    _cut_and_choose_format(found, sources, rule)
    return is_trimap or not said.keys().isdisjoint(("names", "values"))


def _set_odd_aside(found: DatasetReport, given: Mapping[str, Any]) -> None:
    """Makes bad pairs of the few whose image or mask is of another kind than the rest."""
    places = [place for place, look in enumerate(found.looks) if not look.problem]
    good = found.good
    pictures = {
        place: f"image {good[place].pair.image} has {what}; accepted are pictures that go "
        "together; convert it, or leave the pair out"
        for place, what in odd_images([(look.channels, look.dtype) for look in good]).items()
    }
    masks = odd_masks(good, given, found.dataset.kind)
    end = "of another kind than the rest"
    for code, odd, one, many in (
        ("image-kind", pictures, f"image is {end}", f"images are {end}"),
        ("mask-kind", masks, f"mask is {end}", f"masks are {end}"),
    ):
        if not odd:
            continue
        names = tuple(good[place].pair.name for place in odd)
        what, _, remedy = next(iter(odd.values())).rpartition("; ")
        text = f"{number_of(odd, one, many)} ({list_some(names)}): {what}"
        found.issues.append(Issue("error", code, text, names, remedy, removable=True))
        for place, problem in odd.items():
            look = found.looks[places[place]]
            found.looks[places[place]] = replace(look, problem=look.problem or problem)


def _cut_and_choose_format(found: DatasetReport, sources: Sources, rule: SplitRule) -> None:
    dataset, good = found.dataset, found.good
    try:
        found.split = split_pairs(dataset, rule, found.strata(), found.skippable())
    except DataError as error:
        found.issues.append(issue_of("split", error))
    try:
        seen = found.split.train if found.split else dataset.pairs
        train = {pair.name for pair in seen}
        found.format = choose_format(
            [(look.channels, look.dtype) for look in good],
            [look.sample for look in good if look.pair.name in train],
            sources.channel_axis,
            [look.pair.image for look in good],
        )
    except DataError as error:
        found.issues.append(issue_of("image-kind", error))
