"""`report`: an evaluation as one page for people: everything in one file, nothing from outside.

The page is made from what lies in the evaluation's folder alone, so it can be made anew anywhere,
without the data, the model or the run.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from unetkit._shared.files import write_text
from unetkit.data.classes import Classes
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError, OutputExistsError
from unetkit.evaluation.cautions import find_cautions
from unetkit.evaluation.examples import EXAMPLE_FILE, FOLDER, JPEG_QUALITY, LARGEST_KEPT
from unetkit.evaluation.results import RESULT_NAME, find_evaluations, read_evaluation
from unetkit.metrics.bootstrap import flatten
from unetkit.metrics.breakdown import (
    break_down_by_class_fraction,
    break_down_by_group,
    break_down_by_size,
    constant_prediction,
)
from unetkit.metrics.confusion import metric_name
from unetkit.visualization.charts import (
    Chart,
    distance_chart,
    fraction_chart,
    group_chart,
    histogram_chart,
    loss_chart,
    reliability_chart,
    score_chart,
    size_chart,
)
from unetkit.visualization.overlays import palette_image

REPORT_NAME = "report.html"
BACKGROUND_OPACITY = 90  # of 255: what is background stays to be seen
# Of the error map: what is wrong, and its colour: no class has it by default, and all are apart in
# lightness too, over a photo made faint.
MISSED, ADDED, MIXED = 1, 2, 3
ERROR_COLOURS = {MISSED: (243, 118, 104), ADDED: (0, 48, 96), MIXED: (84, 116, 60)}
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
        OutputExistsError: `out` exists, is a folder, or would be the report of several.
    """
    folders = find_evaluations(path)
    if out is None:
        return [write_report(folder, folder / REPORT_NAME) for folder in folders]
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
    if out.is_dir():
        raise OutputExistsError(
            f"{out} is a folder; accepted is the name of a file; add one, such as "
            f"{out / REPORT_NAME}"
        )
    return [write_report(folders[0], out)]


def write_report(folder: Path, out: Path) -> Path:
    """Writes the report of one evaluation's folder to a file."""
    page = render(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    return out


def render(folder: Path) -> str:
    """The page, as text.

    Raises:
        DataError: As `read_evaluation`, or a picture is missing.
    """
    result, classes = read_evaluation(folder)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unetkit.evaluation"),
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
        run=result["run"],
        classes=classes,
        headline=_headline(result, classes),
        cautions=find_cautions(result, classes),
        rows=_class_rows(result, classes),
        table=_figure_rows(result),
        charts=_charts(result, classes),
        cases=[_case(folder, row, result, classes) for row in result["cases"]],
        errors=[(ERROR_COLOURS[kind], ERROR_NAMES[kind]) for kind in _kinds_of_error(classes)],
    )


def _headline(result: Mapping[str, Any], classes: Classes) -> list[dict[str, Any]]:
    """The figures to begin with: all pixels counted together, at the masks' resolution."""
    figures = result["figures"]["original"]["summed"]
    bounds = result["intervals"].get("original", {}).get("summed", {})
    constant = constant_prediction(result["figures"]["original"]["confusion"], classes)
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
        {"name": metric_name((key,)), "value": value, "bounds": pair, "note": note}
        for key, value, pair, note in cards
    ]


def _charts(result: Mapping[str, Any], classes: Classes) -> dict[str, list[Chart]]:
    """The diagrams of each section that has any."""
    found: dict[str, list[Chart]] = {"trust": [], "where": [], "training": []}
    images, bounds = result["images"], result["intervals"]
    scores = [image["mean_iou"] for image in images if image["mean_iou"] is not None]
    if scores:
        found["trust"].append(reliability_chart(result["calibration"]))
    if any(value is not None for value in result["distance"].values()):
        found["trust"].append(distance_chart(result["distance"], bounds.get("distance", {})))
    if len(scores) > 1:
        found["trust"].append(histogram_chart(scores))
    if rows := break_down_by_size(images):
        found["where"].append(size_chart(rows))
    for share in break_down_by_class_fraction(images, classes):
        found["where"].append(fraction_chart(share, len(classes)))
    if groups := break_down_by_group(images):
        found["where"].append(group_chart(groups))
    if result["run"] and result["run"]["curves"]:
        curves, kept = result["run"]["curves"], result["run"]["best_step"]
        found["training"] += [loss_chart(curves, kept), score_chart(curves, kept)]
    return found


def _figure_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each figure, a column for each resolution and way of taking the mean."""
    columns = [(r, way) for r in result["figures"] for way in ("summed", "mean_over_images")]
    values = [flatten(result["figures"][r][way]) for r, way in columns]
    pairs = [flatten(result["intervals"].get(r, {}).get(way, {})) for r, way in columns]
    return [
        {
            "name": metric_name(path),
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
    size = (int(row["size"][0]), int(row["size"][1]))
    with _open_case(folder, row["image"], size) as photo:
        image = _data("jpeg", photo, quality=JPEG_QUALITY)
    masks = {}
    for kind in ("truth", "prediction"):
        with _open_case(folder, row[kind], size) as picture:
            masks[kind] = np.asarray(picture)
    errors = Image.fromarray(error_map(masks["truth"], masks["prediction"], classes))
    errors.putpalette(
        [value for colour in ((0, 0, 0), *ERROR_COLOURS.values()) for value in colour]
    )
    record = next(image for image in result["images"] if image["name"] == row["name"])
    return {
        "name": row["name"],
        "label": row["label"],
        "number": row["number"],
        "mean_iou": record["mean_iou"],
        "full_size": record["size"],
        "height": size[0],
        "width": size[1],
        "image": image,
        **{kind: _class_layer(mask, classes) for kind, mask in masks.items()},
        "errors": _data("png", errors, transparency=0),
    }


def _class_layer(mask: np.ndarray, classes: Classes) -> str:
    """A mask to be laid over its photo: the background barely, ignored pixels not at all."""
    picture = palette_image(np.where(mask == IGNORE, len(classes), mask), classes)
    opacity = [255] * len(classes) + [0]
    if classes.background is not None:
        opacity[classes.background] = BACKGROUND_OPACITY
    picture.putpalette([*(picture.getpalette() or [])[: 3 * len(classes)], 0, 0, 0])
    return _data("png", picture, transparency=bytes(opacity))


def _open_case(folder: Path, name: Any, size: tuple[int, int]) -> Image.Image:
    """A picture that an evaluation kept, and nothing else.

    Raises:
        DataError: It is absent, from elsewhere, or no such picture.
    """
    file = folder / FOLDER / str(name).removeprefix(f"{FOLDER}/")
    try:
        inside = (folder / FOLDER).resolve()
        if EXAMPLE_FILE.fullmatch(file.name) and file.resolve().parent == inside:
            picture = Image.open(file, formats=("JPEG", "PNG"))
            modes = ("RGB",) if picture.format == "JPEG" else ("P",)
            if picture.size == size[::-1] and picture.mode in modes and max(size) <= LARGEST_KEPT:
                picture.load()
                return picture
        raise ValueError("no picture of this size that an evaluation kept")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{folder / RESULT_NAME} names the picture {name!r:.80}, which cannot be shown "
            f"({error}); accepted are the pictures that unetkit evaluate kept in {FOLDER}/; "
            "evaluate again with --overwrite"
        ) from error


def _data(format: str, picture: Image.Image, **options: Any) -> str:
    written = io.BytesIO()
    picture.save(written, format, **options)
    return f"data:image/{format};base64,{base64.b64encode(written.getvalue()).decode()}"


def _figure(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3f}"


def _bounds(pair: Sequence[float | None] | None) -> str:
    if not pair or pair[0] is None or pair[1] is None:
        return ""
    return f"{pair[0]:.3f} to {pair[1]:.3f}"
