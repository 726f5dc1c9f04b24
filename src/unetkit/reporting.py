"""`report`: an evaluation as one page for people: everything in one file, nothing from outside.

The page is made from what lies in the evaluation's folder and in the run folder around it, so it
can be made anew anywhere, without the data or the model.
"""

import base64
import csv
import io
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from unetkit import runfolder
from unetkit.bootstrap import flatten
from unetkit.breakdown import by_group, by_share, by_size, constant_answer
from unetkit.cautions import find_cautions
from unetkit.charts import (
    distance_chart,
    histogram_chart,
    loss_chart,
    reliability_chart,
    rows_chart,
    score_chart,
)
from unetkit.classes import Classes
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError, UnetkitError
from unetkit.metrics import figure_name
from unetkit.outputs import write_text
from unetkit.scale import IGNORE
from unetkit.summary import classes_from_json

RESULT_NAME = "evaluation.json"
REPORT_NAME = "report.html"
CASE_FILE = re.compile(r"cases/[\w-]+\.(jpg|png)")
# Of the error map: what is wrong, and its colour (Okabe and Ito; light, dark, in between).
MISSED, ADDED, MIXED = 1, 2, 3
ERROR_COLOURS = {MISSED: (240, 228, 66), ADDED: (0, 60, 110), MIXED: (213, 94, 0)}
ERROR_NAMES = {
    MISSED: "missed: background predicted where there is an object",
    ADDED: "added: an object predicted where there is background",
    MIXED: "mixed up: one class predicted for another",
}


def report(
    path: str | Path, *, out: str | Path | None = None, overwrite: bool = False
) -> list[Path]:
    """Makes the reports of a run's evaluations, each one self-contained HTML file.

    Args:
        path: A run folder, of which every evaluation gets its report, or the folder of one.
        out: The file, for one evaluation; by default report.html in its folder, which is replaced.
        overwrite: Whether `out` may be replaced.

    Returns:
        The files written.

    Raises:
        DataNotFoundError: There is no evaluation.
        DataError: It was written by another version, or is damaged.
        OutputExistsError: `out` exists, or would be the report of several.
    """
    folders = find_evaluations(path)
    if out is None:
        return [written for folder in folders for written in write_reports(folder)]
    out = Path(out)
    if len(folders) > 1:
        raise OutputExistsError(
            f"{path} holds {len(folders)} evaluations ({', '.join(f.name for f in folders)}) for "
            f"the one file {out}; accepted is one; name the folder of one of them"
        )
    if out.exists() and not overwrite:
        raise OutputExistsError(
            f"{out} exists already; accepted is a new name; name another with --out, or allow it "
            "with --overwrite"
        )
    return write_reports(folders[0], out)


def write_reports(folder: Path, out: Path | None = None) -> list[Path]:
    """Writes the report of one evaluation's folder."""
    page = render(folder)
    out = out or folder / REPORT_NAME
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    return [out]


def find_evaluations(path: str | Path) -> list[Path]:
    """The folders of a run's evaluations, or this folder if it is one.

    Raises:
        DataNotFoundError: There is none.
    """
    path = Path(path)
    if (path / RESULT_NAME).is_file():
        return [path]
    found = sorted(file.parent for file in path.glob(f"*/{RESULT_NAME}"))
    if not found:
        raise DataNotFoundError(
            f"{path} holds no evaluation; accepted is a run folder that was evaluated, or the "
            f"folder of an evaluation; run: unetkit evaluate {path} --data DATA"
        )
    return found


def read_evaluation(folder: Path) -> tuple[dict[str, Any], Classes]:
    """What evaluation.json holds, and its classes.

    Raises:
        DataError: It was written by another version, or is damaged.
    """
    file = folder / RESULT_NAME
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        classes = classes_from_json(result["classes"])
        for key in ("figures", "intervals", "boundary_iou", "calibration", "distance", "cases"):
            result[key]
        return result, classes
    except (OSError, ValueError, KeyError, TypeError, UnetkitError) as error:
        raise DataError(
            f"{file} cannot be used ({type(error).__name__}: {error}); accepted is what this "
            "version of unetkit evaluate wrote; evaluate again with --overwrite"
        ) from error


def render(folder: Path) -> str:
    """The page, as text.

    Raises:
        DataError: As `read_evaluation`, or a picture is missing.
    """
    result, classes = read_evaluation(folder)
    run = folder.parent if (folder.parent / runfolder.SUMMARY).is_file() else None
    training = _read_json(run / runfolder.SUMMARY) if run else None
    config = _read_config(run / runfolder.CONFIG) if run else None
    curves = _read_curves(run / runfolder.CURVES) if run else []
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unetkit"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["bounds"] = _bounds
    environment.filters["colour"] = lambda rgb: "#{:02x}{:02x}{:02x}".format(*rgb)
    return environment.get_template("report.html").render(
        result={**result, "data_name": Path(result["data"]).name},
        classes=classes,
        headline=_headline(result, classes),
        cautions=find_cautions(result, classes, training, curves),
        rows=_class_rows(result, classes),
        table=_figure_rows(result),
        training=training,
        config=config,
        charts=_charts(result, classes, training, curves),
        cases=[_case(folder, row, result, classes) for row in result["cases"]],
        errors=[(ERROR_COLOURS[kind], ERROR_NAMES[kind]) for kind in _kinds_of_error(classes)],
    )


def _headline(result: Mapping[str, Any], classes: Classes) -> list[dict[str, Any]]:
    """The figures to begin with: all pixels counted together, at the masks' resolution."""
    figures = result["figures"]["original"]["summed"]
    bounds = result["intervals"].get("original", {}).get("summed", {})
    constant = constant_answer(result["figures"]["original"]["confusion"], classes)
    everywhere = f"the answer “{constant['class']}” everywhere:"
    cards = [
        (key, figures[key], bounds.get(key), f"{everywhere} {constant[key]:.3f}")
        for key in ("mean_iou", "pixel_accuracy")
    ]
    for policy, value in list(figures.get("foreground_iou", {}).items())[:1]:
        pair = bounds.get("foreground_iou", {}).get(policy)
        note = "all but the background" if policy == "all" else policy.replace("_", " ")
        cards.append(("foreground_iou", value, pair, note))
    cards.append(("mean_dice", figures["mean_dice"], bounds.get("mean_dice"), ""))
    contours, calibration = result["boundary_iou"], result["calibration"]
    pair = result["intervals"].get("boundary_iou", {}).get("mean")
    cards.append(("mean_boundary_iou", contours["mean"], pair, "contours alone"))
    pair = result["intervals"].get("calibration", {}).get("error")
    cards.append(("calibration_error", calibration["error"], pair, "0 is best"))
    return [
        {"name": figure_name(key), "value": value, "bounds": pair, "note": note}
        for key, value, pair, note in cards
    ]


def _charts(
    result: Mapping[str, Any],
    classes: Classes,
    training: Mapping[str, Any] | None,
    curves: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
    images = result["images"]
    scores = [image["mean_iou"] for image in images if image["mean_iou"] is not None]
    kept = training["best"]["step"] if training else 0
    sizes, groups = by_size(images), by_group(images)
    return {
        "loss": loss_chart(curves, kept) if curves else None,
        "score": score_chart(curves, kept) if curves else None,
        "reliability": reliability_chart(result["calibration"]["bins"]) if scores else None,
        "distance": distance_chart(result["distance"], result["intervals"].get("distance", {}))
        if any(value is not None for value in result["distance"].values())
        else None,
        "histogram": histogram_chart(scores) if len(scores) > 1 else None,
        "size": rows_chart(sizes, "mean IoU by size of the image", "mean IoU") if sizes else None,
        "group": rows_chart(groups, "mean IoU by group", "mean IoU") if groups else None,
        "share": {
            name: rows_chart(rows, f"IoU of {name} by its share of the image", f"IoU of {name}")
            for name, rows in by_share(images, classes).items()
        },
    }


def _figure_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each figure, a column for each resolution and way of taking the mean."""
    columns = [(r, way) for r in result["figures"] for way in ("summed", "mean_over_images")]
    values = [flatten(result["figures"][r][way]) for r, way in columns]
    pairs = [flatten(result["intervals"].get(r, {}).get(way, {})) for r, way in columns]
    return [
        {
            "name": ": ".join(figure_name(part) for part in path),
            "cells": [(v[path], p.get(path)) for v, p in zip(values, pairs, strict=True)],
        }
        for path in values[0]
    ]


def _class_rows(result: Mapping[str, Any], classes: Classes) -> list[dict[str, Any]]:
    """A row of the table for each class."""
    counts = np.array(result["figures"]["original"]["confusion"], np.float64)
    figures = result["figures"]["original"]["summed"]
    bounds = result["intervals"].get("original", {}).get("summed", {})
    boundary = result["intervals"].get("boundary_iou", {}).get("classes", {})
    hits, truth, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    return [
        {
            "name": name,
            "colour": classes.colours[k],
            "share": truth[k] / max(1, counts.sum()),
            "precision": hits[k] / predicted[k] if predicted[k] else None,
            "recall": hits[k] / truth[k] if truth[k] else None,
            "iou": figures["iou"][name],
            "iou_bounds": bounds.get("iou", {}).get(name),
            "dice": figures["dice"][name],
            "dice_bounds": bounds.get("dice", {}).get(name),
            "boundary": result["boundary_iou"]["classes"][name],
            "boundary_bounds": boundary.get(name),
            "confusion": [
                {"pixels": int(counts[k, j]), "share": counts[k, j] / truth[k] if truth[k] else 0.0}
                for j in range(len(classes))
            ],
        }
        for k, name in enumerate(classes.names)
    ]


def _kinds_of_error(classes: Classes) -> tuple[int, ...]:
    if classes.background is None:
        return (MIXED,)
    return (MISSED, ADDED, MIXED) if len(classes) > 2 else (MISSED, ADDED)


def error_map(truth: np.ndarray, prediction: np.ndarray, classes: Classes) -> np.ndarray:
    """What is wrong at each pixel: 0 nothing, MISSED, ADDED or MIXED; 0 also where it is ignored.

    Args:
        truth: (H, W) uint8 class indices or IGNORE.
        prediction: (H, W) uint8 class indices.

    Returns:
        (H, W) uint8.
    """
    wrong = (truth != prediction) & (truth != IGNORE)
    kinds = np.where(wrong, np.uint8(MIXED), np.uint8(0))
    if classes.background is not None:
        kinds[wrong & (prediction == classes.background)] = MISSED
        kinds[wrong & (truth == classes.background)] = ADDED
    return kinds


def _case(
    folder: Path, row: Mapping[str, Any], result: Mapping[str, Any], classes: Classes
) -> dict[str, Any]:
    """A case's pictures as data within the page."""
    files = {kind: _case_file(folder, row[kind]) for kind in ("image", "truth", "prediction")}
    truth, prediction = (_read_mask(files[kind]) for kind in ("truth", "prediction"))
    height, width = truth.shape
    errors = Image.fromarray(error_map(truth, prediction, classes))
    colours = [(0, 0, 0)] + [ERROR_COLOURS[kind] for kind in (MISSED, ADDED, MIXED)]
    errors.putpalette([value for colour in colours for value in colour])
    png = io.BytesIO()
    errors.save(png, "PNG", transparency=0)
    record = next(image for image in result["images"] if image["name"] == row["name"])
    return {
        "name": row["name"],
        "label": row["label"],
        "number": row["number"],
        "mean_iou": record["mean_iou"],
        "full_size": record["size"],
        "height": height,
        "width": width,
        "image": _data("jpeg", files["image"].read_bytes()),
        "truth": _data("png", files["truth"].read_bytes()),
        "prediction": _data("png", files["prediction"].read_bytes()),
        "errors": _data("png", png.getvalue()),
    }


def _case_file(folder: Path, name: Any) -> Path:
    if not isinstance(name, str) or not CASE_FILE.fullmatch(name) or not (folder / name).is_file():
        raise DataError(
            f"{folder / RESULT_NAME} names the picture {name!r:.80}, which is not there; accepted "
            "are the pictures that unetkit evaluate kept in cases/; evaluate again with --overwrite"
        )
    return folder / name


def _read_mask(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture)


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_config(file: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_curves(file: Path) -> list[dict[str, float]]:
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]
    except (OSError, ValueError, TypeError):
        return []


def _figure(value: float | None, places: int = 3) -> str:
    return "none" if value is None else f"{value:.{places}f}"


def _bounds(pair: Sequence[float | None] | None, places: int = 3) -> str:
    if not pair or pair[0] is None or pair[1] is None:
        return ""
    return f"{pair[0]:.{places}f} to {pair[1]:.{places}f}"
