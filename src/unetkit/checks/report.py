"""`check`: a data set as figures, findings and contact sheets, for people and for programs."""

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
from unetkit.checks.mask_issues import class_counts, object_areas
from unetkit.checks.statistics import PairStatistics
from unetkit.data.dataset import Pair, Sources, find_dataset
from unetkit.data.reading import read_objects, read_pair
from unetkit.data.splits import SplitRule, split_to_json
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError
from unetkit.visualization.figures import Sample, draw_samples

PER_SHEET = 24  # pairs on a contact sheet
SHEETS = 3  # of pairs taken evenly from all
ISSUE_SHEETS = 2  # of pairs that findings are about
PER_ISSUE = 12  # of these a finding
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
    """Looks at a data set before training.

    Args:
        data: Folder or table of pairs.
        sources: Which files are images and which masks, where names leave it open.
        rule: How pairs are split.
        classes: What masks mean, of what is decided: arguments of `Classes`.
        pictures: Folder for contact sheets with masks laid over, new or empty.
        write_split: File for the split.
        display: Shows progress.

    Returns:
        What the data set holds, and `issues`: each with a level ("error" spoils training,
        "warning" may, "note" is good to know), a code, a text, what to do, and names.

    Raises:
        DataNotFoundError, DataError: There are no pairs, or it is not clear which.
        OutputExistsError: `pictures` has something in it, or `write_split` exists.
    """
    display = display or Display()
    sources, rule = sources or Sources(), rule or SplitRule()
    for path in (pictures, write_split):
        _require_free(path)
    dataset = find_dataset(data, sources)
    found = examine(dataset, sources, rule, classes or {}, display)
    report = {"unetkit": __version__, "data": str(data)} | summarise(found)
    if pictures is not None:
        report["pictures"] = [str(path) for path in _draw_sheets(found, Path(pictures), display)]
    if write_split is not None:
        report["write_split"] = _write_split(found, Path(write_split), display)
    return report


def _write_split(found: DatasetReport, path: Path, display: Display) -> str | None:
    if found.split is None:
        display.say(f"no {path}: the pairs cannot be split before what was found is mended")
        return None
    text = split_to_json(found.split, found.dataset, found.digests(), found.left_out())
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
            f"{path} exists already; accepted is a new name, or for pictures an empty folder; "
            "name another"
        )


def summarise(found: DatasetReport) -> dict[str, Any]:
    """What a data set holds, as plain values."""
    good, dataset = found.good, found.dataset
    return {
        "pairs": len(dataset.pairs),
        "usable": len(good),
        "masks": dataset.masks,
        "images": _about_images(good, found),
        "kind": found.classes.kind if found.classes else None,
        "classes": _about_classes(good, found),
        "objects": _about_objects(good, found),
        "split": {part: len(pairs) for part, pairs in found.split.splits.items()}
        if found.split
        else None,
        "findings": [asdict(issue) for issue in found.issues],
    }


def _about_images(good: Sequence[PairStatistics], found: DatasetReport) -> dict[str, Any]:
    sizes = Counter(look.size for look in good)
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    return {
        "sizes": [{"size": list(size), "images": n} for size, n in sizes.most_common(10)],
        "num_sizes": len(sizes),
        "smallest": list(by_area[0]) if by_area else None,
        "largest": list(by_area[-1]) if by_area else None,
        "channels": dict(sorted(Counter(look.channels for look in good).items())),
        "dtypes": dict(sorted(Counter(look.dtype for look in good).items())),
        "formats": dict(sorted(Counter(look.format for look in good).items())),
        "rotated": sum(look.orientation != 1 for look in good),
        "levels": found.format.describe() if found.format else None,
    }


def _about_classes(good: Sequence[PairStatistics], found: DatasetReport) -> list[dict[str, Any]]:
    classes = found.classes
    if classes is None or not good:
        return []
    counts = class_counts(good, classes)
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


def class_fractions(found: DatasetReport) -> dict[str, dict[str, Any]]:
    """Number of images and share of each class's pixels, by part of the split.

    Returns:
        By part "images" and "classes", shares of the pixels that count by name; of a part without
        pixels no shares.
    """
    split, classes = found.split, found.classes
    if split is None or classes is None:
        return {}
    looks = {look.pair.name: look for look in found.good}
    shares = {}
    for part, pairs in split.splits.items():
        members = [looks[pair.name] for pair in pairs if pair.name in looks]
        counts = class_counts(members, classes).sum(0)[:-1] if members else np.zeros(len(classes))
        total = int(counts.sum())
        named = zip(classes.names, counts.tolist(), strict=True)
        shares[part] = {
            "images": len(pairs),
            "classes": {name: count / total for name, count in named} if total else {},
        }
    return shares


def _about_objects(good: Sequence[PairStatistics], found: DatasetReport) -> list[dict[str, Any]]:
    """Number and areas of objects: of instances, or of connected regions of a class."""
    classes = found.classes
    if classes is None or not good:
        return []
    if classes.kind == "instances" or any(look.is_drawn for look in good):
        return [_sizes("objects", [object_areas(look, classes) for look in good])]
    if classes.kind == "colours" or classes.threshold is not None:
        return []
    return [
        _sizes(f"regions of {name}", [_areas_of(look, value) for look in good])
        for index, (name, value) in enumerate(zip(classes.names, classes.values, strict=True))
        if index not in (classes.background, classes.border)
    ]


def _areas_of(look: PairStatistics, value: int) -> np.ndarray:
    return look.regions[look.regions[:, 0] == value, 1]


def _sizes(what: str, areas: Sequence[np.ndarray]) -> dict[str, Any]:
    every = np.concatenate(areas) if areas else np.zeros(0)
    numbers = [len(one) for one in areas]
    low, middle, high = np.percentile(every, PERCENTILES) if len(every) else (0.0, 0.0, 0.0)
    return {
        "what": what,
        "count": len(every),
        "per_image": [min(numbers), float(np.median(numbers)), max(numbers)],
        "area": [float(low), float(middle), float(high)],
    }


def _draw_sheets(found: DatasetReport, folder: Path, display: Display) -> list[Path]:
    """Contact sheets of pairs taken evenly from all, and of those that findings are about."""
    if found.classes is None or found.format is None:
        display.say("no contact sheets: what masks or images mean is not certain yet")
        return []
    pairs = [look.pair for look in found.good]
    places = np.linspace(0, len(pairs) - 1, min(len(pairs), SHEETS * PER_SHEET)).round()
    sample = [(pairs[i], pairs[i].name) for i in sorted({int(place) for place in places})]
    by_name = {pair.name: pair for pair in pairs}
    codes: dict[str, list[str]] = {}  # in the order of findings, where duplicates are side by side
    for issue in found.issues:
        for name in [name for name in issue.names if name in by_name][:PER_ISSUE]:
            codes.setdefault(name, []).append(issue.code)
    odd = [(by_name[name], f"{name}\n{', '.join(some)}") for name, some in codes.items()]
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (folder / f"{name}_{number + 1}.png", chosen[start : start + PER_SHEET])
        for name, chosen, most in (("pairs", sample, SHEETS), ("findings", odd, ISSUE_SHEETS))
        for number, start in enumerate(range(0, min(len(chosen), most * PER_SHEET), PER_SHEET))
    ]
    on_done = display.task("drawing contact sheets", len(jobs))
    for path, chosen in jobs:
        _draw_sheet(path, chosen, found, on_done)
    display.finish()
    return [path for path, _ in jobs]


def _draw_sheet(
    path: Path,
    chosen: Sequence[tuple[Pair, str]],
    found: DatasetReport,
    on_done: Callable[[], object],
) -> None:
    classes, format = found.classes, found.format
    samples = []
    for pair, caption in chosen:
        if classes is None or format is None:
            continue
        try:
            image, mask = read_pair(pair, classes, format)
            objects = read_objects(pair, mask.shape) if classes.kind == "instances" else None
        except (DataError, DataNotFoundError):
            continue  # it has changed since it was looked at
        samples.append(Sample(format.photo(image), mask, caption, objects))
    if samples and classes is not None:
        draw_samples(path, samples, classes)
    on_done()
