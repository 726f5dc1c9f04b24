"""Reading the results of an evaluation: metrics, counts of each image, record of the run.

A folder may come from another person or another version, so presence, type and shape of every entry
are checked here; callers need no checks of their own.
"""

import csv
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared import run_folder
from unetkit.data.classes import Classes
from unetkit.errors import DataError, DataNotFoundError, UnetkitError
from unetkit.metrics.boundaries import DISTANCES
from unetkit.metrics.calibration import BINS
from unetkit.metrics.confusion import compute_metrics
from unetkit.metrics.summary import (
    RESOLUTIONS,
    boundary_metrics,
    classes_from_json,
    distance_metrics,
)

RESULT_NAME = "evaluation.json"
TEXTS = (
    "unetkit",
    "date",
    "platform",
    "python",
    "model",
    "preset",
    "scale",
    "data",
    "part",
)
WAYS = ("summed", "mean_over_images")
CASE_LABELS = ("worst", "median", "best")
LIMIT = 1e15  # of any number: no set has as many pixels


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
    """Reads and checks evaluation.json.

    Args:
        folder: Folder of an evaluation.

    Returns:
        Content of evaluation.json, and the classes of the model.

    Raises:
        DataError: The file cannot be read, is damaged, or was written by another version.
    """
    file = folder / RESULT_NAME
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        classes = classes_from_json(_table(result, "result")["classes"])
        _check(result, classes)
        return result, classes
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UnetkitError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise DataError(
            f"{file} cannot be used ({what}); accepted is a file that this version of unetkit "
            "evaluate wrote; evaluate again with --overwrite"
        ) from error


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
        training = json.loads((run / run_folder.MANIFEST).read_text(encoding="utf-8"))
        config = tomllib.loads((run / run_folder.CONFIG).read_text(encoding="utf-8"))
        with open(run / run_folder.CURVES, newline="", encoding="utf-8") as lines:
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
            "recipe": {
                key: recipe[key]
                for key in (
                    "steps",
                    "batch_size",
                    "optimizer",
                    "learning_rate",
                    "schedule",
                    "seed",
                )
            }
            | {"loss": loss_text(recipe["loss"])},
            "curves": rows,
        }
        _check_run(record)
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
    for name, weight in _table(weights, "loss").items():
        if weight is None:
            raise ValueError(f"the weight of {name} is missing")
        _like(weight, 0.0, f"weight of {name}")
    return " + ".join(
        name if weight == 1 else f"{weight:g} {name}" for name, weight in weights.items()
    )


def _check(result: Mapping[str, Any], classes: Classes) -> None:
    for key in TEXTS:
        _text(result[key], key)
    for key in ("pairs", "parameters"):
        _whole(result[key], key)
    for key in ("listed", "seen"):
        if result[key] is not None:
            _whole(result[key], key)
    _optional_text(result["command"], "command")
    for key in ("protocol", "versions", "skipped"):
        for name, text in _table(result[key], key).items():
            _text(text, f"{key} {name}")
    _check_figures(result, classes)
    names = [_check_image(image, len(classes)) for image in _list(result["images"], "images")]
    if not names or len(names) != result["pairs"]:
        raise ValueError(f"images are {len(names)} and pairs {result['pairs']}")
    for case in _list(result["cases"], "cases"):
        if _table(case, "case")["name"] not in names or case["label"] not in CASE_LABELS:
            raise ValueError(f"case {case['name']!r:.80} is none of the images")
        _whole(case["number"], "number")
        _counts(case["size"], (2,), "size")
    if result["run"] is not None:
        _check_run(result["run"])


def _check_figures(result: Mapping[str, Any], classes: Classes) -> None:
    """Figures and intervals, which have the names that no pixels at all would give."""
    count = len(classes)
    of_classes = compute_metrics(np.zeros((count, count)), classes)
    contours = boundary_metrics(np.zeros((count, 2)), classes)
    distances = distance_metrics(np.zeros((len(DISTANCES), 2)))
    _like(result["boundary_iou"], contours, "boundary_iou")
    _like(result["distance"], distances, "distance")
    _like(result["calibration"]["error"], 0.0, "calibration")
    _counts(result["calibration"]["bins"], (BINS, 3), "bins")
    for name in RESOLUTIONS:
        for way in WAYS:
            _like(result["figures"][name][way], of_classes, f"figures {name} {way}")
        _counts(result["figures"][name]["confusion"], (count, count), "confusion")
    bounds = _table(result["intervals"], "intervals")
    if not bounds:
        return
    _like(bounds["coverage"], 0.0, "coverage")
    for name in RESOLUTIONS:
        for way in WAYS:
            _like(bounds[name][way], of_classes, f"intervals {name} {way}", pairs=True)
    _like(bounds["boundary_iou"], contours, "intervals of boundary_iou", pairs=True)
    _like(bounds["distance"], distances, "intervals of distance", pairs=True)
    _like(bounds["calibration"], {"error": 0.0}, "intervals of calibration", pairs=True)


def _check_image(image: Any, count: int) -> str:
    name = _text(_table(image, "image")["name"], "name")
    _counts(image["size"], (2,), f"size of {name}")
    _optional_text(image["group"], f"group of {name}")
    _like(image["mean_iou"], 0.0, f"mean_iou of {name}")
    for resolution in RESOLUTIONS:
        _counts(image["confusion"][resolution], (count, count), f"confusion of {name}")
    _counts(image["confidence"], (BINS, 3), f"confidence of {name}")
    _counts(image["boundary"], (count, 2), f"boundary of {name}")
    _counts(image["distance"], (len(DISTANCES), 2), f"distance of {name}")
    return name


def _check_run(run: Any) -> None:
    for key in ("data", "device", "unetkit"):
        _text(_table(run, "run")[key], f"run {key}")
    for key in ("command", "date"):
        _optional_text(run[key], f"run {key}")
    _whole(run["best_step"], "best_step")
    _like(run["seconds"], 0.0, "seconds")
    for part in _table(run["parts"], "parts").values():
        _whole(part["images"], "images of a part")
        for share in _table(part["classes"], "classes of a part").values():
            _like(share, 0.0, "share of a class")
    for issue in _list(run["findings"], "findings"):
        for key in ("level", "code", "text", "remedy"):
            _text(issue[key], f"finding {key}")
    for key in ("optimizer", "schedule", "loss"):
        _text(run["recipe"][key], key)
    for key in ("steps", "batch_size", "seed"):
        _whole(run["recipe"][key], key)
    _like(run["recipe"]["learning_rate"], 0.0, "learning_rate")
    columns = ("step", "loss", "validation_loss", "validation_accuracy", "validation_mean_iou")
    for row in _list(run["curves"], "curves"):
        _counts([row[key] for key in columns], (len(columns),), "curves")


def _like(value: Any, template: Any, where: str, *, pairs: bool = False) -> None:
    """Refuses what lacks a figure of the template, or has one that is no number, pair or null."""
    if isinstance(template, Mapping):
        for key, inner in template.items():
            _like(_table(value, where)[key], inner, f"{where} {key}", pairs=pairs)
    elif pairs:
        if len(_list(value, where)) != 2:
            raise ValueError(f"{where} is no pair")
        for bound in value:
            _like(bound, 0.0, where)
    elif value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LIMIT
    ):
        raise ValueError(f"{where} is {value!r:.80}, no number")


def _counts(value: Any, shape: tuple[int, ...], where: str) -> None:
    array = np.array(value, np.float64)
    if array.shape != shape or not (np.abs(array) < LIMIT).all():
        raise ValueError(f"{where} is no table of {shape} numbers")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where} is {value!r:.80}, no text")
    return value


def _optional_text(value: Any, where: str) -> None:
    if value is not None:
        _text(value, where)


def _whole(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LIMIT:
        raise ValueError(f"{where} is {value!r:.80}, no number from 0 up")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{where} is {value!r:.80}, no table")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{where} is {value!r:.80}, no list")
    return value
