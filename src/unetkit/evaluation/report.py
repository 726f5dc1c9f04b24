"""`report`: an evaluation as one self-contained HTML file.

The page needs only the files in the evaluation's folder, so it can be written again without the
data, the model or the run, and it loads nothing from other hosts. The charts are drawn in
`visualization.charts`, the cautions charts in `cautions`, the page is laid out in `templates/`.
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
from unetkit._shared.wording import format_count
from unetkit.data.classes import Classes
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError, OutputExistsError
from unetkit.evaluation.cautions import find_cautions
from unetkit.evaluation.examples import (
    EXAMPLE_FILE,
    EXAMPLES_FOLDER,
    JPEG_QUALITY,
    MAX_EXAMPLE_SIDE,
)
from unetkit.evaluation.object_errors import FOUND_COLOUR, TRUE_COLOUR
from unetkit.evaluation.results import RESULT_NAME, find_evaluations, read_evaluation
from unetkit.evaluation.tables import metric_table
from unetkit.metrics.breakdown import (
    break_down_by_class_fraction,
    break_down_by_group,
    break_down_by_size,
    constant_prediction,
)
from unetkit.metrics.confusion import foreground_class, metric_name
from unetkit.metrics.summary import headline
from unetkit.visualization.charts import (
    Chart,
    draw_distance_chart,
    draw_fraction_chart,
    draw_group_chart,
    draw_histogram_chart,
    draw_loss_chart,
    draw_reliability_chart,
    draw_score_chart,
    draw_size_chart,
)
from unetkit.visualization.overlays import palette_image

REPORT_NAME = "report.html"
# Kinds of errors in the error map, and their colours on a light and on a dark page: none is a
# default class colour, and they differ in lightness too, from each other and from the photo.
MISSED, ADDED, CONFUSED = 1, 2, 3
ERROR_COLOURS = {
    "light": {MISSED: (243, 118, 104), ADDED: (0, 48, 96), CONFUSED: (84, 116, 60)},
    "dark": {MISSED: (243, 118, 104), ADDED: (190, 220, 255), CONFUSED: (110, 160, 70)},
}
OBJECT_METRICS = {
    "f1": ("F1", "of found and true objects at an IoU of 0.5"),
    "mean_f1": ("mean F1", "over IoU thresholds from 0.5 to 0.95"),
    "average_precision": (
        "average precision",
        "matched objects, divided by matched, missed and invented ones, at an IoU of 0.5",
    ),
    "mean_average_precision": ("mean average precision", "over IoU thresholds from 0.5 to 0.95"),
    "panoptic_quality": ("panoptic quality", "F1 times the mean IoU of matched objects"),
    "seg": ("SEG", "mean IoU of the true objects, of the Cell Tracking Challenge"),
    "v_rand": ("V_Rand", "of regions, as in the ISBI 2012 challenge; mean over images"),
    "v_info": ("V_Info", "of regions, as in the ISBI 2012 challenge; mean over images"),
}
OBJECT_ERRORS = {
    "merged": "found objects that have more than half of two true ones or more",
    "split": "true objects of which two found ones or more lie more than half inside",
    "missed": "true objects of which no found one has more than half",
    "invented": "found objects that lie less than half inside true ones",
}
ERROR_NAMES = {
    MISSED: "missed: background predicted instead of a class",
    ADDED: "added: a class predicted instead of background",
    CONFUSED: "confused: one class predicted instead of another",
}


def report(
    path: str | Path, *, out: str | Path | None = None, overwrite: bool = False
) -> list[Path]:
    """Writes the reports of a run's evaluations, each as one self-contained HTML file.

    Args:
        path: Run folder, for a report of each of its evaluations, or folder of one evaluation.
        out: File of the report, for a single evaluation; by default report.html in its folder,
            which is replaced.
        overwrite: Whether to replace an existing file `out`.

    Returns:
        Paths of the reports.

    Raises:
        DataNotFoundError: `path` does not exist or has no evaluation.
        DataError: An evaluation was written by another version, or is damaged.
        OutputExistsError: `out` exists and `overwrite` is false, `out` is a folder, or `path` has
            several evaluations.
    """
    folders = find_evaluations(path)
    if out is None:
        return [write_report(folder, folder / REPORT_NAME) for folder in folders]
    out = Path(out)
    if len(folders) > 1:
        raise OutputExistsError(
            f"{path} has {len(folders)} evaluations ({', '.join(f.name for f in folders)}) for one "
            f"file, {out}; accepted is one; give the folder of one evaluation"
        )
    if out.exists() and not overwrite:
        raise OutputExistsError(
            f"{out} exists already; accepted is a new name; name another with --out, or allow it "
            "with --overwrite"
        )
    if out.is_dir():
        raise OutputExistsError(
            f"{out} is a folder; accepted is the path of a file; use for example "
            f"{out / REPORT_NAME}"
        )
    return [write_report(folders[0], out)]


def write_report(folder: Path, out: Path) -> Path:
    """Writes the report of an evaluation to a file.

    Args:
        folder: Folder of the evaluation.
        out: File of the report; an existing one is replaced.

    Returns:
        Path of the report.

    Raises:
        DataError: The evaluation cannot be used, or an image is missing.
    """
    page = _render(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page.encode("utf-8", "backslashreplace").decode("utf-8"))  # odd file names
    return out


def _render(folder: Path) -> str:
    """Returns the page as HTML."""
    result, classes = read_evaluation(folder)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unetkit.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["metric"] = _format_metric
    environment.filters["bounds"] = _format_bounds
    environment.filters["count"] = format_count
    environment.filters["colour"] = lambda rgb: "#{:02x}{:02x}{:02x}".format(*rgb)
    return environment.get_template("report.html").render(
        result={**result, "data_name": Path(result["data"]).name},
        run=result["run"],
        classes=classes,
        headline=_headline(result, classes),
        foreground=foreground_class(classes),
        cautions=find_cautions(result, classes),
        rows=_class_rows(result, classes),
        table=metric_table(
            result, lambda cell: f"{_format_metric(cell[0])} {_format_bounds(cell[1])}"
        ),
        charts=_charts(result, classes),
        calibration=_describe_calibration(result),
        object_rows=tuple(OBJECT_METRICS.items()),
        object_errors=tuple(OBJECT_ERRORS.items()),
        error_strips=[_load_strip(folder, row) for row in result["object_errors"]],
        outlines=(TRUE_COLOUR, FOUND_COLOUR),
        examples=[_load_example(folder, row, result, classes) for row in result["cases"]],
        errors=[
            ({page: colours[kind] for page, colours in ERROR_COLOURS.items()}, ERROR_NAMES[kind])
            for kind in _kinds_of_error(classes)
        ],
    )


def _headline(result: Mapping[str, Any], classes: Classes) -> list[dict[str, Any]]:
    """Returns the cards of the metrics to quote, each with a note for the reader."""
    constant = constant_prediction(result["figures"]["original"]["confusion"], classes)
    everywhere = f"if “{constant['class']}” is predicted everywhere:"
    index = foreground_class(classes)
    notes = {
        "mean_iou": f"{everywhere} {constant['mean_iou']:.3f}",
        "pixel_accuracy": f"{everywhere} {constant['pixel_accuracy']:.3f}",
        "calibration_error": "0 is best",
        "object_f1": "objects with an IoU above 0.5",
        "object_panoptic_quality": "F1 times mean IoU",
        "object_seg": "mean IoU of true objects",
        "mean_boundary_iou": "near contours only",
        "foreground_boundary_iou": "near contours only",
        "foreground_iou": "all classes except background"
        if classes.border is None
        else "border as foreground",
    }
    if index is not None:
        truth = np.sum(result["figures"]["original"]["confusion"], axis=1)
        fraction = float(truth[index] / max(1, truth.sum()))
        everywhere = f"if “{classes.names[index]}” is predicted everywhere:"
        notes["foreground_iou"] = f"{everywhere} {fraction:.3f}"
        notes["foreground_dice"] = f"{everywhere} {2 * fraction / (1 + fraction):.3f}"
    for metric, values in (result.get("ranking") or {}).items():
        if values["error"] is not None:
            for prefix in ("mean", "foreground"):
                notes[f"{prefix}_{metric}"] = (
                    f"of the probabilities; exact to {values['error']:.1g}"
                )
    return [
        {
            "name": metric_name((row["metric"],)),
            "value": row["value"],
            "bounds": row["interval"],
            "note": notes.get(row["metric"], ""),
        }
        for row in headline(result, classes)
    ]


def _describe_calibration(result: Mapping[str, Any]) -> str:
    """Says what calibration has changed; empty for a model that is not calibrated."""
    calibration = result["calibration"]
    before = calibration.get("before")
    if not before or None in (before["error"], before["log_loss"], calibration["log_loss"]):
        return ""
    temperature = result.get("temperature", 1.0)
    return (
        "The probabilities are calibrated: their logarithms are divided by the temperature "
        f"{temperature:g}, which was fitted on validation pairs. On these images, "
        f"this changes the expected calibration error from {before['error']:.4f} to "
        f"{calibration['error']:.4f}, and the negative log-likelihood from "
        f"{before['log_loss']:.4f} to {calibration['log_loss']:.4f} nats a pixel; classes stay the "
        "same."
    )


def _charts(result: Mapping[str, Any], classes: Classes) -> dict[str, list[Chart]]:
    """Returns the charts of each section."""
    charts: dict[str, list[Chart]] = {"trust": [], "where": [], "training": []}
    images, bounds = result["images"], result["intervals"]
    scores = [image["mean_iou"] for image in images if image["mean_iou"] is not None]
    if scores:
        charts["trust"].append(draw_reliability_chart(result["calibration"]))
    if any(value is not None for value in result["distance"].values()):
        charts["trust"].append(draw_distance_chart(result["distance"], bounds.get("distance", {})))
    if len(scores) > 1:
        charts["trust"].append(draw_histogram_chart(scores))
    if rows := break_down_by_size(images):
        charts["where"].append(draw_size_chart(rows))
    for fraction in break_down_by_class_fraction(images, classes):
        charts["where"].append(draw_fraction_chart(fraction, len(classes)))
    if groups := break_down_by_group(images):
        charts["where"].append(draw_group_chart(groups))
    if result["run"] and result["run"]["curves"]:
        curves, kept = result["run"]["curves"], result["run"]["best_step"]
        charts["training"] += [draw_loss_chart(curves, kept), draw_score_chart(curves, kept)]
    return charts


def _class_rows(result: Mapping[str, Any], classes: Classes) -> list[dict[str, Any]]:
    """Returns a row of the table for each class."""
    counts = np.array(result["figures"]["original"]["confusion"], np.float64)
    metrics = result["figures"]["original"]["summed"]
    bounds = result["intervals"].get("original", {}).get("summed", {})
    boundary = result["intervals"].get("boundary_iou", {}).get("classes", {})
    ranking = result.get("ranking") or {}
    hits, truth, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    return [
        {
            "name": name,
            "colour": classes.colours[k],
            "fraction": truth[k] / max(1, counts.sum()),
            "precision": hits[k] / predicted[k] if predicted[k] else None,
            "recall": hits[k] / truth[k] if truth[k] else None,
            "iou": metrics["iou"][name],
            "iou_bounds": bounds.get("iou", {}).get(name),
            "dice": metrics["dice"][name],
            "dice_bounds": bounds.get("dice", {}).get(name),
            "boundary": result["boundary_iou"]["classes"][name],
            "boundary_bounds": boundary.get(name),
            **{metric: values["classes"][name] for metric, values in ranking.items()},
            "confusion": [
                {
                    "pixels": int(counts[k, j]),
                    "fraction": counts[k, j] / truth[k] if truth[k] else 0.0,
                }
                for j in range(len(classes))
            ],
        }
        for k, name in enumerate(classes.names)
    ]


def _kinds_of_error(classes: Classes) -> tuple[int, ...]:
    if classes.background is None:
        return (CONFUSED,)
    return (MISSED, ADDED, CONFUSED) if len(classes) > 2 else (MISSED, ADDED)


def compute_error_map(truth: np.ndarray, prediction: np.ndarray, classes: Classes) -> np.ndarray:
    """Computes the kind of error of each pixel: 0 for none, MISSED, ADDED or CONFUSED.

    Args:
        truth: Class indices or IGNORE, (H, W) uint8.
        prediction: Class indices, (H, W) uint8.
        classes: Classes of the masks; without a background all errors are CONFUSED.

    Returns:
        Kinds of errors, (H, W) uint8; 0 for ignored pixels.
    """
    wrong = (truth != prediction) & (truth != IGNORE)
    kinds = np.where(wrong, np.uint8(CONFUSED), np.uint8(0))
    if classes.background is not None:
        kinds[wrong & (prediction == classes.background)] = MISSED
        kinds[wrong & (truth == classes.background)] = ADDED
    return kinds


def _load_example(
    folder: Path, row: Mapping[str, Any], result: Mapping[str, Any], classes: Classes
) -> dict[str, Any]:
    """Returns an example with its images as data URIs."""
    size = (int(row["size"][0]), int(row["size"][1]))
    with _open_example_image(folder, row["image"], size) as opened:
        image = _to_data_uri("jpeg", opened, quality=JPEG_QUALITY)
    masks = {}
    for kind in ("truth", "prediction"):
        with _open_example_image(folder, row[kind], size) as opened:
            masks[kind] = np.asarray(opened)
    errors = compute_error_map(masks["truth"], masks["prediction"], classes)
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
        "errors": {page: _error_layer(errors, page) for page in ERROR_COLOURS},
    }


def _load_strip(folder: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a strip of wrong objects as a data URI."""
    size = (int(row["size"][0]), int(row["size"][1]))
    with _open_example_image(folder, row["file"], size) as opened:
        image = _to_data_uri("jpeg", opened, quality=JPEG_QUALITY)
    names = ", ".join(dict.fromkeys(row["names"]))
    return {
        "kind": row["kind"],
        "height": size[0],
        "width": size[1],
        "image": image,
        "names": names,
    }


def _error_layer(errors: np.ndarray, page: str) -> str:
    """Returns an error map as a layer over its image, in the colours for a light or dark page."""
    image = Image.fromarray(errors)
    colours = ((0, 0, 0), *ERROR_COLOURS[page].values())
    image.putpalette([value for colour in colours for value in colour])
    return _to_data_uri("png", image, transparency=0)


def _class_layer(mask: np.ndarray, classes: Classes) -> str:
    """Returns a mask as a layer over its image: background and ignored pixels are transparent.

    Classes are opaque, so that their colours are those of the legend whatever is below.
    """
    image = palette_image(np.where(mask == IGNORE, len(classes), mask), classes)
    opacity = [255] * len(classes) + [0]
    if classes.background is not None:
        opacity[classes.background] = 0
    image.putpalette([*(image.getpalette() or [])[: 3 * len(classes)], 0, 0, 0])
    return _to_data_uri("png", image, transparency=bytes(opacity))


def _open_example_image(folder: Path, name: Any, size: tuple[int, int]) -> Image.Image:
    """Opens an image of an example, and no other file.

    Args:
        folder: Folder of the evaluation.
        name: Path of the image in that folder, from evaluation.json.
        size: Expected (height, width).

    Raises:
        DataError: The image is missing, outside the folder of examples, or not of this size.
    """
    file = folder / EXAMPLES_FOLDER / str(name).removeprefix(f"{EXAMPLES_FOLDER}/")
    try:
        inside = (folder / EXAMPLES_FOLDER).resolve()
        if EXAMPLE_FILE.fullmatch(file.name) and file.resolve().parent == inside:
            image = Image.open(file, formats=("JPEG", "PNG"))
            modes = ("RGB",) if image.format == "JPEG" else ("P",)
            if image.size == size[::-1] and image.mode in modes and max(size) <= MAX_EXAMPLE_SIDE:
                image.load()
                return image
        raise ValueError("it is not an example image of this size")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{folder / RESULT_NAME} has the image {name!r:.80}, which cannot be read ({error}); "
            f"accepted are the images that an evaluation wrote to {EXAMPLES_FOLDER}/; run unetkit "
            "evaluate again with --overwrite"
        ) from error


def _to_data_uri(format: str, image: Image.Image, **options: Any) -> str:
    written = io.BytesIO()
    image.save(written, format, **options)
    return f"data:image/{format};base64,{base64.b64encode(written.getvalue()).decode()}"


def _format_metric(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3f}"


def _format_bounds(pair: Sequence[float | None] | None) -> str:
    if not pair or pair[0] is None or pair[1] is None:
        return ""
    return f"{pair[0]:.3f} to {pair[1]:.3f}"
