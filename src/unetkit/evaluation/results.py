"""Reading the results of an evaluation: metrics, counts of each image, record of the run.

A folder may come from another person or another version, so presence, type and shape of every entry
are checked here; callers need no checks of their own.
"""

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.files import LARGEST_TABLE, read_text
from unetkit._shared.records import (
    Count,
    Number,
    RecordError,
    convert,
    read_json,
    refusing,
    shorten,
)
from unetkit.data.classes import Classes
from unetkit.errors import DataError, DataNotFoundError
from unetkit.metrics.boundaries import DISTANCES
from unetkit.metrics.calibration import BINS
from unetkit.metrics.confusion import compute_metrics
from unetkit.metrics.instances import COUNTS, object_counts, object_metrics, rand_metrics
from unetkit.metrics.ranking import ranking_metrics
from unetkit.metrics.summary import (
    RESOLUTIONS,
    boundary_metrics,
    classes_from_json,
    distance_metrics,
)

RESULT_NAME = "evaluation.json"
TABLE_NAME = "metrics.csv"
TEXTS = ("unetkit", "date", "platform", "python", "model", "preset", "scale", "data", "part")
RECIPE = ("steps", "batch_size", "optimizer", "learning_rate", "schedule", "seed")
WAYS = ("summed", "mean_over_images")
CASE_LABELS = ("worst", "median", "best")


def find_evaluations(path: str | Path) -> list[Path]:
    """Finds the folders of evaluations.

    Args:
        path: Run folder, folder of a cross-validation, or folder of one evaluation.

    Returns:
        Folders with an evaluation.json, sorted; `path` itself if it is one.

    Raises:
        DataNotFoundError: `path` does not exist or has no evaluation.
    """
    path = Path(path)
    if (path / RESULT_NAME).is_file():
        return [path]
    for pattern in (f"*/{RESULT_NAME}", f"fold-*/*/{RESULT_NAME}"):
        if found := sorted(file.parent for file in path.glob(pattern)):
            return found
    if not path.is_dir():
        raise DataNotFoundError(
            f"run {path} {'is a file' if path.exists() else 'does not exist'}; accepted is a run "
            "folder, or the folder of an evaluation"
        )
    raise DataNotFoundError(
        f"{path} has no evaluation; accepted is a run folder that was evaluated, or the folder of "
        f"an evaluation; run: unetkit evaluate {path} --data DATA"
    )


def read_evaluation(folder: Path) -> tuple[dict[str, Any], Classes]:
    """Reads the content of evaluation.json, and its classes.

    Raises:
        DataError: The file is damaged, or written by another version.
    """
    file = folder / RESULT_NAME
    remedy = (
        "accepted is what this version of it wrote; run unetkit evaluate again with --overwrite"
    )
    try:
        with refusing(file, remedy):
            result: dict[str, Any] = convert(read_json(file), dict[str, Any])
            convert(result, _WithClasses)
            classes = classes_from_json(result["classes"])
            convert(result, _evaluation_type(classes, has_intervals=bool(result.get("intervals"))))
            _check_names(result)
            for name in ("ranking", "instances"):  # an evaluation of unetkit 0.1.0 has none
                result.setdefault(name, None)
            result.setdefault("object_errors", [])
    except FileNotFoundError as error:
        raise DataError(f"{file} does not exist; {remedy}") from error
    return result, classes


def run_record(model: Path) -> dict[str, Any] | None:
    """Reads the record of a training from its run folder.

    Args:
        model: Model file.

    Returns:
        Data, splits, issues, configuration and curves of the training; None if the model is not in
        a complete run folder.
    """
    run = model.parent
    if model.name != run_folder.MODEL:
        return None
    try:
        training = read_json(run / run_folder.MANIFEST)
        config = run_folder.load_config(run)
        lines = read_text(run / run_folder.CURVES, LARGEST_TABLE).splitlines()
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]
        recipe = config["training"]
        record = {
            "data": config["data"],
            "best_step": training["best"]["step"],
            "seconds": training["training_seconds"],
            "device": training["device"],
            "unetkit": training["unetkit"],
            "command": training.get("command"),
            "date": training.get("date"),
            "parts": training.get("parts", {}),
            "findings": training.get("findings", []),
            "recipe": {key: recipe[key] for key in RECIPE} | {"loss": loss_text(recipe["loss"])},
            "curves": rows,
        }
        convert(record, _Run)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record


def loss_text(weights: Mapping[str, float]) -> str:
    """Returns the loss of a training as text, a weighted sum.

    Args:
        weights: Weight of each loss by name.

    Raises:
        TypeError: `weights` is not a dictionary.
        ValueError: A weight is not a number.

    >>> loss_text({"cross_entropy": 1.0, "dice": 0.5})
    'cross_entropy + 0.5 dice'
    """
    convert(weights, dict[str, Number])
    return " + ".join(
        name if weight == 1 else f"{weight:g} {name}" for name, weight in weights.items()
    )


def _check_names(result: Mapping[str, Any]) -> None:
    """Refuses an evaluation whose examples are not among its images."""
    names = {image["name"] for image in result["images"]}
    if not names or len(result["images"]) != result["pairs"]:
        raise RecordError(f"images are {len(result['images'])} and pairs {result['pairs']}")
    for example in result["cases"]:
        if example["name"] not in names or example["label"] not in CASE_LABELS:
            raise RecordError(f"case {shorten(example['name'])} is none of the images")


_OBJECT_METRICS = {**object_metrics(np.zeros(len(COUNTS))), **rand_metrics(np.zeros(2))}


class _ClassesRecord(TypedDict):
    names: list[str]
    kind: NotRequired[str]  # an evaluation of unetkit 0.1.0 has none
    background: int | None
    border: int | None
    colours: list[tuple[int, int, int]]


class _WithClasses(TypedDict):
    classes: _ClassesRecord


class _Split(TypedDict):
    images: Count
    classes: dict[str, Number | None]


class _Issue(TypedDict):
    level: str
    code: str
    text: str
    remedy: str


class _Recipe(TypedDict):
    optimizer: str
    schedule: str
    loss: str
    steps: Count
    batch_size: Count
    seed: Count
    learning_rate: Number | None


class _CurvesRow(TypedDict):
    step: Number
    loss: Number
    validation_loss: Number
    validation_accuracy: Number
    validation_mean_iou: Number


class _Run(TypedDict):
    data: str
    device: str
    unetkit: str
    command: str | None
    date: str | None
    best_step: Count
    seconds: Number | None
    parts: dict[str, _Split]
    findings: list[_Issue]
    recipe: _Recipe
    curves: list[_CurvesRow]


class _Case(TypedDict):
    name: str
    label: str
    number: Count
    size: tuple[Number, Number]


class _ErrorStrip(TypedDict):
    kind: Literal["merged", "split", "missed", "invented"]
    size: tuple[Number, Number]
    names: list[str]
    file: str


class _Uncalibrated(TypedDict):
    """Calibration before probabilities were calibrated."""

    error: Number | None
    log_loss: Number | None


@lru_cache(maxsize=8)  # msgspec compiles each new type
def _evaluation_type(classes: Classes, *, has_intervals: bool) -> Any:
    """Type of evaluation.json for these classes, with all metrics by name and all shapes."""
    count = len(classes)
    metrics = compute_metrics(np.zeros((count, count)), classes)
    boundary = boundary_metrics(np.zeros((count, 2)), classes)
    distance = distance_metrics(np.zeros((len(DISTANCES), 2)))
    interval = tuple[Number | None, Number | None]
    matrix = _array(count, count)
    image = {
        "name": str,
        "size": _array(2),
        "group": str | None,
        "mean_iou": Number | None,
        "confusion": _table(dict.fromkeys(RESOLUTIONS, matrix)),
        "confidence": _array(BINS, 3),
        "confidence_before": NotRequired[_array(BINS, 3)],
        "log_loss": NotRequired[_array(3)],
        "boundary": _array(count, 2),
        "distance": _array(len(DISTANCES), 2),
        "objects": NotRequired[_array(2)],
        "instances": NotRequired[_array(len(COUNTS))],
        "rand": NotRequired[
            Annotated[list[Number | None], msgspec.Meta(min_length=2, max_length=2)]
        ],
    }
    figures = {**dict.fromkeys(WAYS, _like(metrics, Number | None)), "confusion": matrix}
    bounds: Any = dict[str, Any]
    if has_intervals:
        by_way = _table(dict.fromkeys(WAYS, _like(metrics, interval)))
        bounds = _table(
            {
                "coverage": Number | None,
                **dict.fromkeys(RESOLUTIONS, by_way),
                "boundary_iou": _like(boundary, interval),
                "distance": _like(distance, interval),
                "calibration": _table({"error": interval}),
                "instances": NotRequired[_like(_OBJECT_METRICS, interval)],
            }
        )
    return _table(
        {
            **dict.fromkeys(TEXTS, str),
            **dict.fromkeys(("pairs", "parameters"), Count),
            **dict.fromkeys(("listed", "seen"), Count | None),
            "command": str | None,
            **dict.fromkeys(("protocol", "versions", "skipped"), dict[str, str]),
            "boundary_iou": _like(boundary, Number | None),
            "distance": _like(distance, Number | None),
            "calibration": _table(
                {
                    "error": Number | None,
                    "bins": _array(BINS, 3),
                    "log_loss": NotRequired[Number | None],
                    "before": NotRequired[_Uncalibrated | None],
                }
            ),
            "temperature": NotRequired[Number],
            "ranking": NotRequired[_ranking_type(classes) | None],
            "instances": NotRequired[_instances_type() | None],
            "figures": _table(dict.fromkeys(RESOLUTIONS, _table(figures))),
            "intervals": bounds,
            "images": list[_table(image)],  # type: ignore[misc]
            "cases": list[_Case],
            "object_errors": NotRequired[list[_ErrorStrip]],
            "run": _Run | None,
        }
    )


def _ranking_type(classes: Classes) -> Any:
    """Type of ROC AUC and average precision, which an evaluation of unetkit 0.1.0 lacks."""
    metrics = ranking_metrics(np.zeros((len(classes), 1, 2)), classes.names)
    return _like(metrics, Number | None)


def _instances_type() -> Any:
    """Type of the metrics of objects, which evaluations of models of classes lack."""
    return _table(
        {
            "metrics": _like(_OBJECT_METRICS, Number | None),
            "counts": _like(object_counts(np.zeros(len(COUNTS))), Count),
        }
    )


def _table(types: Mapping[str, Any]) -> Any:
    """Type of an object with these keys and maybe others."""
    return TypedDict("Table", dict(types))  # type: ignore[operator]


def _like(template: Any, leaf: Any) -> Any:
    """Type of an object with the nested keys of a template, and leaves of one type."""
    if isinstance(template, Mapping):
        return _table({key: _like(inner, leaf) for key, inner in template.items()})
    return leaf


def _array(*shape: int) -> Any:
    """Type of a list of numbers, or nested lists, of this shape."""
    kind: Any = Number
    for length in reversed(shape):
        kind = Annotated[list[kind], msgspec.Meta(min_length=length, max_length=length)]
    return kind
