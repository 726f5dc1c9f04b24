"""Check a data set before training, in three steps:

1. Compute the statistics of each pair, in parallel (`statistics`).
2. Decide the classes (`class_inference`), the pixel format (`io.pixel_format`) and the split
   (`data.splits`).
3. List the issues: errors that prevent training, warnings, and notes (`issues`, `mask_issues`).

`check` and `train` run the same steps; `train` stops if there are errors. How a report is printed
and drawn is left to `report`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unetkit._shared.display import Display
from unetkit._shared.wording import format_count
from unetkit.checks.block_issues import find_block_issues
from unetkit.checks.class_inference import choose_classes
from unetkit.checks.issues import (
    LEVELS,
    Issue,
    find_duplicate_issues,
    find_file_issues,
    find_folder_issues,
    find_image_issues,
    find_name_issues,
    find_split_issues,
    require_codes,
    to_issue,
)
from unetkit.checks.mask_issues import find_mask_issues
from unetkit.checks.mask_values import find_odd_masks
from unetkit.checks.statistics import PairStatistics, collect_statistics
from unetkit.data.class_lists import find_class_list
from unetkit.data.classes import Classes, find_class_file, read_class_file
from unetkit.data.pairs import Dataset
from unetkit.data.sources import SHOWN, Sources, list_some
from unetkit.data.splits import Split, SplitRule, split_pairs
from unetkit.errors import ConfigError, DataError
from unetkit.io.pixel_format import PixelFormat, choose_format, odd_images


@dataclass
class DatasetReport:
    """Statistics of a data set, what was decided from them, and its issues.

    Args:
        dataset: All pairs of the data set.
        statistics: Statistics of all pairs, in the order of the data set.
        classes: Classes of the masks; None if they are ambiguous.
        format: Pixel format of the images; None if they have no common one.
        split: Splits of the pairs that can be used; None if they cannot be split.
        issues: Issues, errors first.
    """

    dataset: Dataset
    statistics: list[PairStatistics]
    classes: Classes | None = None
    format: PixelFormat | None = None
    split: Split | None = None
    issues: list[Issue] = field(default_factory=list)

    @property
    def good(self) -> list[PairStatistics]:
        """Statistics of the pairs that can be used."""
        return [stats for stats in self.statistics if not stats.problem]

    @property
    def errors(self) -> list[Issue]:
        """Issues that prevent training."""
        return [issue for issue in self.issues if issue.level == "error"]

    def skippable(self) -> dict[str, str]:
        """Returns the problem of each pair that cannot be used, by the pair's name."""
        return {stats.pair.name: stats.problem for stats in self.statistics if stats.problem}

    def strata(self) -> dict[str, str]:
        """Returns a text of the values in each mask, by the pair's name, to stratify the split.

        It is empty for instances and for thresholded masks, whose values are not classes.
        """
        if self.classes is None or self.classes.kind == "instances":
            return {}
        if self.classes.threshold is not None:
            return {}
        return {stats.pair.name: ",".join(sorted(map(str, stats.values))) for stats in self.good}

    def left_out(self) -> dict[str, str]:
        """Returns the problem of each unusable pair and of each file that belongs to no pair."""
        others = {
            str(problem.files[0]): problem.text
            for problem in self.dataset.problems
            if problem.files
            and problem.kind not in ("unpaired image", "unpaired mask", "passed over")
        }
        return self.skippable() | others

    def digests(self) -> dict[str, dict[str, Any]]:
        """Returns the SHA-256 of each pair's files, and its page or block, by the pair's name."""
        return {
            stats.pair.name: {"image_sha256": stats.image_sha256, "mask_sha256": stats.mask_sha256}
            | ({} if stats.pair.page is None else {"page": stats.pair.page})
            | ({} if stats.pair.block is None else {"block": stats.pair.block.record()})
            for stats in self.statistics
        }


def examine(
    dataset: Dataset,
    sources: Sources,
    rule: SplitRule,
    classes: Mapping[str, Any],
    display: Display,
) -> DatasetReport:
    """Computes the statistics of a data set, decides classes, format and split, lists issues.

    Args:
        dataset: Pairs to check.
        sources: Which files are images and which are masks.
        rule: How to split the pairs.
        classes: Arguments of `Classes` that the user has given.
        display: Display for progress.

    Raises:
        ConfigError: `classes`, `rule` or a code to accept is invalid.
    """
    require_codes(sources.accept)
    report = examine_files(dataset, sources, display)
    if report.good:
        is_given = _decide(report, sources, rule, classes)
        good = report.good
        report.issues += find_block_issues(dataset, good)
        report.issues += find_folder_issues(dataset, rule)
        report.issues += find_name_issues(dataset, rule)
        report.issues += find_split_issues(dataset, report.split, report.skippable())
        report.issues += find_image_issues(good, report.format)
        if report.classes is not None:
            report.issues += find_mask_issues(good, report.classes, report.split, is_given)
        report.issues += find_duplicate_issues(good, report.split)
    report.issues = [_as_asked(issue, sources) for issue in report.issues]
    report.issues.sort(key=lambda issue: LEVELS.index(issue.level))
    return report


def examine_files(dataset: Dataset, sources: Sources, display: Display) -> DatasetReport:
    """Computes the statistics of a data set, and lists only the issues of its files.

    Args:
        dataset: Pairs to read.
        sources: Which files are images and which are masks, and whether bad ones are left out.
        display: Display for progress.
    """
    on_done = display.task("reading the pairs", len(dataset.pairs))
    statistics = collect_statistics(dataset.pairs, sources.channel_axis, on_done)
    display.finish()
    issues = find_file_issues(dataset, statistics)
    return DatasetReport(
        dataset, statistics, issues=[_as_asked(issue, sources) for issue in issues]
    )


def _as_asked(issue: Issue, sources: Sources) -> Issue:
    """An issue as a warning, if the user accepts it or leaves its files out."""
    if issue.level != "error":
        return issue
    if issue.acceptable and issue.code in sources.accept:
        return replace(issue, level="warning", remedy="accepted as it is")
    if issue.removable and sources.skip_bad:
        return replace(issue, level="warning", text=f"left out: {issue.text}")
    return issue


def _decide(
    report: DatasetReport, sources: Sources, rule: SplitRule, given: Mapping[str, Any]
) -> bool:
    """Sets classes, split and pixel format; adds an error for each that cannot be decided.

    Returns:
        Whether the classes were given, or the folder layout names the masks as trimaps.
    """
    dataset = report.dataset
    path, arguments = None, dict(given)
    where = f"{dataset.source} ({dataset.masks})"
    is_trimap = "trimap" in dataset.masks
    try:
        path = find_class_file(dataset.folder, dataset.mask_folder)
        arguments = (read_class_file(path) if path else {}) | arguments
        listed = _find_list_of_classes(report, arguments)
        if listed is not None:
            path = listed[0]
            arguments = listed[1] | arguments
            where += f", with the classes of {path.name},"
        _mark_odd_pairs(report, arguments)
        report.classes = choose_classes(
            report.good,
            where,
            arguments,
            kind=dataset.kind,
            is_trimap=is_trimap,
        )
    except DataError as error:
        report.issues.append(to_issue("mask-kind", error))
    except ConfigError as error:
        if path is None or given:
            raise
        # The invalid argument comes from the class file, so it is an issue of the data set.
        report.issues.append(to_issue("mask-kind", DataError(f"class file {path}: {error}")))
    _split_and_choose_format(report, sources, rule)
    return is_trimap or not arguments.keys().isdisjoint(("names", "values"))


def _find_list_of_classes(
    report: DatasetReport, given: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]] | None:
    """A list of classes that another program wrote, if it says what is not given."""
    if not given.keys().isdisjoint(("names", "values", "threshold")):
        return None
    if any(stats.is_drawn for stats in report.good):
        return None  # shapes have their names
    found = find_class_list(report.dataset.folder)
    kind = given.get("kind") or report.dataset.kind
    return None if found is None or kind not in (None, found[1]["kind"]) else found


def _mark_odd_pairs(report: DatasetReport, given: Mapping[str, Any]) -> None:
    """Marks the few pairs as unusable whose image or mask is of another kind than most."""
    indices = [index for index, stats in enumerate(report.statistics) if not stats.problem]
    good = report.good
    images = {
        index: f"image {good[index].pair.image} has {what}; accepted are images of one "
        "kind; convert it, or remove the pair"
        for index, what in odd_images([(stats.channels, stats.dtype) for stats in good]).items()
    }
    masks = find_odd_masks(good, given, report.dataset.kind)
    end = "of another kind than most"
    for code, odd, one, many in (
        ("image-kind", images, f"image is {end}", f"images are {end}"),
        ("mask-kind", masks, f"mask is {end}", f"masks are {end}"),
    ):
        if not odd:
            continue
        names = tuple(good[index].pair.name for index in odd)
        what, _, remedy = next(iter(odd.values())).rpartition("; ")
        text = f"{format_count(odd, one, many)} ({list_some(names)}): {what}"
        report.issues.append(Issue("error", code, text, names, remedy, removable=True))
        for index, problem in odd.items():
            stats = report.statistics[indices[index]]
            report.statistics[indices[index]] = replace(stats, problem=stats.problem or problem)


def _split_and_choose_format(report: DatasetReport, sources: Sources, rule: SplitRule) -> None:
    dataset, good = report.dataset, report.good
    try:
        report.split = split_pairs(dataset, rule, report.strata(), report.skippable())
    except DataError as error:
        report.issues.append(to_issue("split", error))
    try:
        in_train = report.split.train if report.split else dataset.pairs
        train = {pair.name for pair in in_train}
        report.format = choose_format(
            [(stats.channels, stats.dtype) for stats in good],
            [stats.sample for stats in good if stats.pair.name in train],
            sources.channel_axis,
            [stats.pair.image for stats in good],
        )
    except DataError as error:
        report.issues.append(to_issue("image-kind", error))


def check_sound(found: DatasetReport) -> None:
    """Stops before anything is written, if an issue would spoil a training or an evaluation.

    Raises:
        DataError: There is such an issue.
    """
    errors = found.errors
    if not errors:
        return
    lines = [f"{error.text}; {error.remedy}" for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines.append(f"... and {len(errors) - SHOWN} more")
    advice = f"all issues: unetkit check {found.dataset.source}"
    if all(error.removable for error in errors):
        advice += "; to go on without these files: --skip-bad"
    raise DataError(*lines, advice)
