"""`check`: a data set's statistics and issues as plain values, and contact sheets of its pairs.

What is decided and which issues there are is left to `examine`; printing to the command line.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.display import Display
from unetkit._shared.files import write_text
from unetkit._version import __version__
from unetkit.checks.examine import DatasetReport, examine
from unetkit.checks.mask_issues import count_class_pixels, measure_object_areas
from unetkit.checks.statistics import PairStatistics
from unetkit.data.dataset import find_dataset
from unetkit.data.pairs import Pair
from unetkit.data.reading import read_objects, read_pair
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule, split_to_json
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError
from unetkit.visualization.figures import Sample, draw_samples

PER_SHEET = 24  # pairs on a contact sheet
SHEETS = 3  # contact sheets of pairs taken evenly from all
ISSUE_SHEETS = 2  # contact sheets of pairs with issues
PER_ISSUE = 12  # pairs per issue on these sheets
PERCENTILES = (5, 50, 95)


def check(
    data: str | Path,
    *,
    sources: Sources | None = None,
    rule: SplitRule | None = None,
    classes: Mapping[str, Any] | None = None,
    pictures: str | Path | None = None,
    write_split: str | Path | None = None,
    display: Display | None = None,
) -> dict[str, Any]:
    """Checks a data set before training.

    Args:
        data: Folder with images and masks, or table of pairs.
        sources: Which files are images and which are masks, where their names do not tell.
        rule: How to split the pairs into training, validation and test.
        classes: Known arguments of `Classes`; the others are inferred from the masks.
        pictures: New or empty folder for contact sheets of images with masks drawn over them.
        write_split: New file to which the split is written.
        display: Display for progress.

    Returns:
        Statistics of the data set, and its issues under "findings": each with a level ("error" if
        it prevents training, "warning" if it may harm it, "note" otherwise), a code, a text, a
        remedy, and names of pairs or files.

    Raises:
        DataNotFoundError: `data` does not exist.
        DataError: There are no pairs, or images and masks cannot be paired without a doubt.
        ConfigError: `classes` or `rule` is invalid.
        OutputExistsError: `pictures` is not empty, or `write_split` exists.
    """
    display = display or Display()
    sources, rule = sources or Sources(), rule or SplitRule()
    for path in (pictures, write_split):
        _require_free(path)
    dataset = find_dataset(data, sources, for_training=True)
    report = examine(dataset, sources, rule, classes or {}, display)
    result = {"unetkit": __version__, "data": str(data)} | summarise_dataset(report)
    if pictures is not None:
        result["pictures"] = [str(path) for path in _draw_sheets(report, Path(pictures), display)]
    if write_split is not None:
        result["write_split"] = _write_split(report, Path(write_split), display)
    return result


def _write_split(report: DatasetReport, path: Path, display: Display) -> str | None:
    if report.split is None:
        display.say(
            f"{path} is not written: the pairs cannot be split until the errors are corrected"
        )
        return None
    text = split_to_json(report.split, report.dataset, report.digests(), report.left_out())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return str(path)


def _require_free(path: str | Path | None) -> None:
    if path is None:
        return
    path = Path(path)
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise OutputExistsError(
            f"{path} exists already; accepted is a new name, or an empty folder; use another name"
        )


def summarise_dataset(report: DatasetReport) -> dict[str, Any]:
    """Returns statistics and issues of a data set as plain values."""
    good, dataset = report.good, report.dataset
    return {
        "pairs": len(dataset.pairs),
        "usable": len(good),
        "masks": dataset.masks,
        "images": _describe_images(good, report),
        "kind": report.classes.kind if report.classes else None,
        "classes": _describe_classes(good, report),
        "objects": _describe_objects(good, report),
        "split": {name: len(pairs) for name, pairs in report.split.splits.items()}
        if report.split
        else None,
        "findings": [asdict(issue) for issue in report.issues],
    }


def _describe_images(good: Sequence[PairStatistics], report: DatasetReport) -> dict[str, Any]:
    sizes = Counter(stats.size for stats in good)
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    return {
        "sizes": [{"size": list(size), "images": n} for size, n in sizes.most_common(10)],
        "num_sizes": len(sizes),
        "smallest": list(by_area[0]) if by_area else None,
        "largest": list(by_area[-1]) if by_area else None,
        "channels": dict(sorted(Counter(stats.channels for stats in good).items())),
        "dtypes": dict(sorted(Counter(stats.dtype for stats in good).items())),
        "formats": dict(sorted(Counter(stats.format for stats in good).items())),
        "rotated": sum(stats.orientation != 1 for stats in good),
        "levels": report.format.describe() if report.format else None,
    }


def _describe_classes(
    good: Sequence[PairStatistics], report: DatasetReport
) -> list[dict[str, Any]]:
    classes = report.classes
    if classes is None or not good:
        return []
    counts = count_class_pixels(good, classes)
    total = max(1, int(counts.sum()))
    rows = [
        {
            "name": name,
            "value": classes.show(value),
            "pixels": float(counts[:, index].sum() / total),
            "images": float((counts[:, index] > 0).mean()),
        }
        for index, (name, value) in enumerate(zip(classes.names, classes.values, strict=True))
    ]
    ignored = counts[:, -1]
    if classes.ignore is not None or ignored.any():
        rows.append(
            {
                "name": "(ignored)",
                "value": "" if classes.ignore is None else classes.show(classes.ignore),
                "pixels": float(ignored.sum() / total),
                "images": float((ignored > 0).mean()),
            }
        )
    return rows


def class_fractions(report: DatasetReport) -> dict[str, dict[str, Any]]:
    """Computes the number of images and the fractions of the classes' pixels in each split.

    Args:
        report: Report of the data set; without classes or split, there are no fractions.

    Returns:
        For each split, "images" and "classes": the fraction of all pixels that are not ignored, by
        the name of the class; empty for a split without pixels.
    """
    split, classes = report.split, report.classes
    if split is None or classes is None:
        return {}
    by_name = {stats.pair.name: stats for stats in report.good}
    fractions = {}
    for split_name, pairs in split.splits.items():
        members = [by_name[pair.name] for pair in pairs if pair.name in by_name]
        counts = (
            count_class_pixels(members, classes).sum(0)[:-1] if members else np.zeros(len(classes))
        )
        total = int(counts.sum())
        named = zip(classes.names, counts.tolist(), strict=True)
        fractions[split_name] = {
            "images": len(pairs),
            "classes": {name: count / total for name, count in named} if total else {},
        }
    return fractions


def _describe_objects(
    good: Sequence[PairStatistics], report: DatasetReport
) -> list[dict[str, Any]]:
    """Returns number and areas of objects, or of the connected regions of each class."""
    classes = report.classes
    if classes is None or not good:
        return []
    if classes.kind == "instances" or any(stats.is_drawn for stats in good):
        return [_sizes("objects", [measure_object_areas(stats, classes) for stats in good])]
    if classes.kind == "colours" or classes.threshold is not None:
        return []
    return [
        _sizes(f"regions of {name}", [_areas_of(stats, value) for stats in good])
        for index, (name, value) in enumerate(zip(classes.names, classes.values, strict=True))
        if index not in (classes.background, classes.border)
    ]


def _areas_of(stats: PairStatistics, value: int) -> np.ndarray:
    return stats.regions[stats.regions[:, 0] == value, 1]


def _sizes(what: str, areas: Sequence[np.ndarray]) -> dict[str, Any]:
    all_areas = np.concatenate(areas) if areas else np.zeros(0)
    numbers = [len(areas_of_image) for areas_of_image in areas]
    percentiles = np.percentile(all_areas, PERCENTILES) if len(all_areas) else np.zeros(3)
    return {
        "what": what,
        "count": len(all_areas),
        "per_image": [min(numbers), float(np.median(numbers)), max(numbers)],
        "area": percentiles.tolist(),
    }


def _draw_sheets(report: DatasetReport, folder: Path, display: Display) -> list[Path]:
    """Draws contact sheets of pairs taken evenly from all, and of pairs with issues."""
    if report.classes is None or report.format is None:
        display.say(
            "contact sheets are not drawn: the classes or the pixel format are not known yet"
        )
        return []
    pairs = [stats.pair for stats in report.good]
    indices = np.linspace(0, len(pairs) - 1, min(len(pairs), SHEETS * PER_SHEET)).round()
    sample = [(pairs[i], pairs[i].name) for i in sorted({int(index) for index in indices})]
    by_name = {pair.name: pair for pair in pairs}
    codes: dict[str, list[str]] = {}  # in the order of issues: duplicates side by side
    for issue in report.issues:
        for name in [name for name in issue.names if name in by_name][:PER_ISSUE]:
            codes.setdefault(name, []).append(issue.code)
    flagged = [(by_name[n], f"{n}\n{', '.join(of_pair)}") for n, of_pair in codes.items()]
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (folder / f"{name}_{number + 1}.png", chosen[start : start + PER_SHEET])
        for name, chosen, most in (("pairs", sample, SHEETS), ("findings", flagged, ISSUE_SHEETS))
        for number, start in enumerate(range(0, min(len(chosen), most * PER_SHEET), PER_SHEET))
    ]
    on_done = display.task("drawing contact sheets", len(jobs))
    for path, chosen in jobs:
        _draw_sheet(path, chosen, report, on_done)
    display.finish()
    return [path for path, _ in jobs]


def _draw_sheet(
    path: Path,
    chosen: Sequence[tuple[Pair, str]],
    report: DatasetReport,
    on_done: Callable[[], object],
) -> None:
    classes, format = report.classes, report.format
    samples = []
    for pair, caption in chosen:
        if classes is None or format is None:
            continue
        try:
            image, mask = read_pair(pair, classes, format)
            objects = (
                read_objects(pair, mask.shape, classes) if classes.kind == "instances" else None
            )
        except (DataError, DataNotFoundError):
            continue  # the file has changed since it was read
        samples.append(Sample(format.photo(image), mask, caption, objects))
    if samples and classes is not None:
        draw_samples(path, samples, classes)
    on_done()
