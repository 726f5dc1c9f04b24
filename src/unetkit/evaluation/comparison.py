"""`compare`: are two runs different, or were these images kind to one of them?

Both are taken on the same images, drawn anew with replacement, the same draw for both (a paired
bootstrap): what images do to both alike, an easy or a hard set, cancels in the difference. So
differences show that are far smaller than either run's own interval.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.errors import ConfigError, DataError
from unetkit.evaluation.results import find_evaluations, read_evaluation
from unetkit.metrics.bootstrap import COVERAGE, RESAMPLES, draws_of_metrics, flatten, interval
from unetkit.metrics.confusion import compute_metrics
from unetkit.metrics.summary import Record, boundary_metrics, stacked

FEWEST = 2  # images; of one nothing can be drawn
FEW_IMAGES, FEW_GROUPS = 30, 5  # below, intervals are too narrow to conclude from: see docs/log.md
DECIDES = "mean_iou"  # the figure that conclusions speak of


def compare(runs: Sequence[str | Path]) -> dict[str, Any]:
    """Compares runs on the images that all of them were scored on, each with the first.

    Args:
        runs: Two or more run folders that were evaluated, or folders of evaluations.

    Returns:
        `images`, their number; `left_out`, how many were not scored by all; `runs`, each with
        `figures`: value and 95 % interval by name; `differences`, likewise, of each later run from
        the first; `conclusions`, a sentence for each difference.

    Raises:
        ConfigError: Fewer than two runs.
        DataNotFoundError: A run was not evaluated.
        DataError: The runs have no evaluation in common, fewer than two images, or other classes
            or masks.
    """
    if len(runs) < 2:
        raise ConfigError(
            f"{len(runs)} run is named; accepted are two or more; name another run to compare with"
        )
    paths = [Path(run) for run in runs]
    folders = _same_evaluation(paths)
    results = [read_evaluation(folder) for folder in folders]
    names = _distinct_names(paths)
    classes = results[0][1]
    for name, (_, other) in zip(names, results, strict=True):
        if other.names != classes.names:
            raise DataError(
                f"{names[0]} has the classes {list(classes.names)} and {name} "
                f"{list(other.names)}; accepted are runs with the same classes; compare others"
            )
    parts = [result["part"] for result, _ in results]
    if len(set(parts)) > 1:
        raise DataError(
            f"{', '.join(names)} were scored on different parts ({', '.join(parts)}); accepted is "
            "the same part of the same data; name the folders of such evaluations"
        )
    images = [result["images"] for result, _ in results]
    common = _common_images(images, names)
    scored = [_figures_and_draws(records, classes) for records in common]
    first, *others = scored
    differences = [
        {"run": name, "against": names[0], "figures": _differences(one, first)}
        for name, one in zip(names[1:], others, strict=True)
    ]
    return {
        "images": len(common[0]),
        "left_out": len({image["name"] for some in images for image in some}) - len(common[0]),
        "part": parts[0],
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
        "conclusions": [_conclude(row, common[0], parts[0]) for row in differences],
    }


def _same_evaluation(paths: Sequence[Path]) -> list[Path]:
    """The evaluation of each run that is called alike in all; of several the one of a test part."""
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
            f"the runs have {len(shared)} evaluations in common ({listing}); accepted is one that "
            "all have; name the folders of the evaluations"
        )
    return [one[shared[0]] for one in found]


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(some[-length:]) for some in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({number})" for number, path in enumerate(paths, start=1)]


def _common_images(images: Sequence[Sequence[Record]], names: Sequence[str]) -> list[list[Record]]:
    """The records of the images that every run was scored on, in one order."""
    by_name = [{record["name"]: record for record in records} for records in images]
    common = [name for name in by_name[0] if all(name in one for one in by_name)]
    if len(common) < FEWEST:
        raise DataError(
            f"{', '.join(names)} were scored on {len(common)} common images; accepted are at least "
            f"{FEWEST}; evaluate all of them on the same part of the same data"
        )
    for name in common:
        truths = [np.sum(one[name]["confusion"]["original"], axis=1).tolist() for one in by_name]
        if any(truth != truths[0] for truth in truths):
            raise DataError(
                f"the mask of {name} is not the same for {', '.join(names)}; accepted are runs "
                "scored on the same masks; evaluate them on the same data"
            )
    return [[one[name] for name in common] for one in by_name]


def _figures_and_draws(
    records: Sequence[Record], classes: Classes
) -> dict[str, tuple[float, np.ndarray]]:
    """Each figure over all pixels at the masks' resolution, and what it is in each draw."""
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
    return found


def _mean_boundary(counts: np.ndarray, classes: Classes) -> Mapping[str, Any]:
    return {"mean_boundary_iou": boundary_metrics(counts, classes)["mean"]}


def _differences(
    one: Mapping[str, tuple[float, np.ndarray]], other: Mapping[str, tuple[float, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    return {
        key: {"value": value - other[key][0], "interval": list(interval(draws - other[key][1]))}
        for key, (value, draws) in one.items()
    }


def _conclude(row: Mapping[str, Any], records: Sequence[Record], part: str) -> str:
    """What can be said of a difference, and what not."""
    found = row["figures"][DECIDES]
    value, (low, high) = found["value"], found["interval"]
    run, against, count = row["run"], row["against"], len(records)
    if np.isnan(value) or np.isnan(low):
        return f"Of {run} and {against} nothing can be said: these images give no mean IoU."
    if value == low == high == 0:
        return f"On these {count} images {run} and {against} have the very same scores."
    measured = (
        f"On these {count} images {run} has a mean IoU {abs(value):.4f} "
        f"{'above' if value >= 0 else 'below'} that of {against} "
        f"({COVERAGE:.0%} interval of the difference {low:+.4f} to {high:+.4f})"
    )
    groups = {record["group"] for record in records} - {None}
    if count < FEW_IMAGES or 0 < len(groups) < FEW_GROUPS:
        few = f"{count} images" if count < FEW_IMAGES else f"images of {len(groups)} groups"
        return f"{measured}: {few} are too few to tell two runs apart, whatever the interval says."
    if low <= 0 <= high:
        return (
            f"{measured}: that may be chance, these images cannot tell the two apart. More images "
            "might."
        )
    better, worse = (run, against) if value > 0 else (against, run)
    sentence = (
        f"{measured}: {better} is better than {worse} on images of this kind. Whether its recipe "
        "is better than the other takes more than one training of each."
    )
    if part in ("train", "validation", "all"):
        sentence += f" This is the {part} part, though, which training has looked at."
    return sentence
