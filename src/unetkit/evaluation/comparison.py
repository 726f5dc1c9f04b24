"""`compare`: whether the difference of two runs is larger than chance.

Images are resampled with replacement, the same resample for both runs (a paired bootstrap).
Variation between images that affects both runs alike cancels in the difference, so differences much
smaller than the interval of either run can be detected. The counts of each image come from
`results`; nothing is predicted again.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.wording import format_count
from unetkit.data.classes import Classes
from unetkit.errors import ConfigError, DataError
from unetkit.evaluation.cautions import FEW_GROUPS, FEW_IMAGES
from unetkit.evaluation.results import find_evaluations, read_evaluation
from unetkit.metrics.bootstrap import COVERAGE, RESAMPLES, draws_of_metrics, flatten, interval
from unetkit.metrics.confusion import compute_metrics, lead_metric, metric_name
from unetkit.metrics.instances import object_metrics
from unetkit.metrics.summary import Record, boundary_metrics, stacked

MIN_IMAGES = 2  # one image cannot be resampled


def compare(runs: Sequence[str | Path]) -> dict[str, Any]:
    """Compares runs with the first one, on the images that all of them were evaluated on.

    Args:
        runs: Two or more run folders with evaluations, or folders of evaluations.

    Returns:
        A dictionary with the keys `images`, the number of common images; `left_out`, the number of
        other images; `runs`, each with `figures`, the value and 95 % interval of each metric;
        `differences`, the same for the difference of each later run from the first; and
        `conclusions`, a sentence for each difference.

    Raises:
        ConfigError: There are fewer than two runs.
        DataNotFoundError: A run does not exist or has no evaluation.
        DataError: The runs have no evaluation in common, fewer than two common images, or
            different classes, masks or splits.
    """
    if len(runs) < 2:
        raise ConfigError(
            f"number of runs is {len(runs)}; accepted are two or more; add a run to compare with"
        )
    paths = [Path(run) for run in runs]
    folders = _same_evaluation(paths)
    results = [read_evaluation(folder) for folder in folders]
    names = _distinct_names(paths)
    classes = results[0][1]
    for name, (_, other) in zip(names, results, strict=True):
        if other.names != classes.names:
            raise DataError(
                f"{names[0]} has the classes {list(classes.names)} and {name} {list(other.names)}; "
                "accepted are runs with the same classes; compare runs on the same data"
            )
    splits = [result["part"] for result, _ in results]
    if len(set(splits)) > 1:
        raise DataError(
            f"{', '.join(names)} were evaluated on different splits ({', '.join(splits)}); "
            "accepted is the same split of the same data; give the folders of such evaluations"
        )
    images = [result["images"] for result, _ in results]
    common = _common_images(images, names)
    scored = [_metrics_and_draws(records, classes) for records in common]
    first, *others = scored
    differences = [
        {"run": name, "against": names[0], "figures": _differences(one, first)}
        for name, one in zip(names[1:], others, strict=True)
    ]
    return {
        "images": len(common[0]),
        "left_out": len({image["name"] for some in images for image in some}) - len(common[0]),
        "part": splits[0],
        "coverage": COVERAGE,
        "resamples": RESAMPLES,
        "runs": [
            {
                "run": name,
                "evaluation": str(folder),
                "figures": {
                    key: {"value": value, "interval": list(interval(draws))}
                    for key, (value, draws) in one.items()
                },
            }
            for name, folder, one in zip(names, folders, scored, strict=True)
        ],
        "differences": differences,
        "conclusions": [
            _conclude(row, common[0], splits[0], lead_metric(classes)) for row in differences
        ],
    }


def _same_evaluation(paths: Sequence[Path]) -> list[Path]:
    """Returns the evaluation of each run with the same name in all; of several, a test split."""
    found = [
        {str(folder.relative_to(path)): folder for folder in find_evaluations(path)}
        for path in paths
    ]
    if all(len(one) == 1 for one in found):
        return [next(iter(one.values())) for one in found]
    shared = [name for name in found[0] if all(name in one for one in found)]
    if len(shared) > 1:
        shared = [
            name for name in shared if read_evaluation(found[0][name])[0]["part"] == "test"
        ] or shared
    if len(shared) != 1:
        listing = "; ".join(
            f"{path}: {', '.join(one)}" for path, one in zip(paths, found, strict=True)
        )
        raise DataError(
            f"the runs have {format_count(shared, 'evaluation')} in common ({listing}); accepted "
            "is one that "
            "all have; give the folders of the evaluations instead of the runs"
        )
    return [one[shared[0]] for one in found]


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Returns the shortest trailing parts of the paths that are distinct."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(of_path[-length:]) for of_path in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({number})" for number, path in enumerate(paths, start=1)]


def _common_images(images: Sequence[Sequence[Record]], names: Sequence[str]) -> list[list[Record]]:
    """Returns, for each run, the records of the images of all runs, in the same order."""
    by_name = [{record["name"]: record for record in records} for records in images]
    common = [name for name in by_name[0] if all(name in one for one in by_name)]
    if len(common) < MIN_IMAGES:
        raise DataError(
            f"{', '.join(names)} were evaluated on {format_count(common, 'common image')}; "
            "accepted are at "
            f"least {MIN_IMAGES}; evaluate all of them on the same split of the same data"
        )
    for name in common:
        truths = [np.sum(one[name]["confusion"]["original"], axis=1).tolist() for one in by_name]
        if any(truth != truths[0] for truth in truths):
            raise DataError(
                f"the mask of {name} is not the same for {', '.join(names)}; accepted are runs "
                "evaluated on the same masks; evaluate them again on the same data"
            )
    return [[one[name] for name in common] for one in by_name]


def _metrics_and_draws(
    records: Sequence[Record], classes: Classes
) -> dict[str, tuple[float, np.ndarray]]:
    """Returns each metric over all pixels at the masks' resolution, and its bootstrap draws."""
    found: dict[str, tuple[float, np.ndarray]] = {}
    for counts, measure in (
        (
            stacked(records, "confusion", "original").astype(np.int64),
            partial(compute_metrics, classes=classes),
        ),
        (stacked(records, "boundary"), partial(_mean_boundary, classes=classes)),
    ):
        values = flatten(measure(counts.sum(0)))
        draws = draws_of_metrics(counts, measure)
        found |= {": ".join(path): (values[path], draws[path]) for path in values}
    if all("instances" in record for record in records):
        counts = stacked(records, "instances")
        draws = draws_of_metrics(counts, object_metrics)
        for name, value in object_metrics(counts.sum(0)).items():
            found[f"object_{name}"] = float(value), draws[name,]
    return found


def _mean_boundary(counts: np.ndarray, classes: Classes) -> Mapping[str, Any]:
    return {"mean_boundary_iou": boundary_metrics(counts, classes)["mean"]}


def _differences(
    one: Mapping[str, tuple[float, np.ndarray]], other: Mapping[str, tuple[float, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    return {
        key: {"value": value - other[key][0], "interval": list(interval(draws - other[key][1]))}
        for key, (value, draws) in one.items()
        if key in other  # one of them may not tell objects apart
    }


def _conclude(
    row: Mapping[str, Any], records: Sequence[Record], split: str, metric: tuple[str, ...]
) -> str:
    """Returns a sentence on what can be concluded from a difference."""
    difference, name = row["figures"][": ".join(metric)], metric_name(metric)
    value, (low, high) = difference["value"], difference["interval"]
    run, against, count = row["run"], row["against"], len(records)
    if np.isnan(value) or np.isnan(low):
        return f"{run} and {against} cannot be compared: {name} is undefined on these images."
    if value == low == high == 0:
        return f"On these {count} images {run} and {against} have the same {name}."
    measured = (
        f"On these {count} images {run} has a {name} {abs(value):.4f} "
        f"{'above' if value >= 0 else 'below'} that of {against} ({COVERAGE:.0%} interval of the "
        f"difference {low:+.4f} to {high:+.4f})"
    )
    groups = {record["group"] for record in records} - {None}
    if count < FEW_IMAGES or 0 < len(groups) < FEW_GROUPS:
        few = (
            f"{count} images"
            if count < FEW_IMAGES
            else f"images of {format_count(groups, 'group')}"
        )
        return f"{measured}: {few} are too few for a conclusion, whatever the interval."
    if low <= 0 <= high:
        return f"{measured}: this may be chance. More images may show which run is better."
    better, worse = (run, against) if value > 0 else (against, run)
    sentence = (
        f"{measured}: {better} is better than {worse} on images of this kind. To compare their "
        "configurations, train each more than once."
    )
    if split in ("train", "validation", "all"):
        sentence += f" However, the {split} split has images that were used in training."
    return sentence
