"""All metrics of an evaluation as one table: for the terminal, the report, and metrics.csv.

A column is a resolution and a way of summing up: over all pixels, or as a mean over images.
Columns that show the same are one, as those of a network that is given the image's own pixels.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unetkit.metrics.bootstrap import flatten
from unetkit.metrics.confusion import metric_name

WAY_NAMES = {"summed": "over all pixels", "mean_over_images": "mean over images"}
TABLE_HEAD = ("metric", "of", "resolution", "reduction", "value", "interval_low", "interval_high")

Interval = tuple[float | None, float | None] | None
Cell = tuple[float | None, Interval]


@dataclass(frozen=True)
class MetricTable:
    """Metrics, one a row.

    Args:
        columns: Heading of each column, such as ("original resolution", "over all pixels").
        rows: Name of each metric, and for each column its value and its interval, or None.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def metric_table(result: Mapping[str, Any], show: Callable[[Cell], str]) -> MetricTable:
    """Returns the metrics of an evaluation that follow from confusion matrices.

    Args:
        result: Content of an evaluation.json or folds.json.
        show: Text of a cell; columns of the same texts are put together.
    """
    columns: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    cells: dict[tuple[str, ...], list[Cell]] = {}
    paths: list[tuple[str, ...]] = []
    for resolution in result["figures"]:
        for way in WAY_NAMES:
            values = flatten(result["figures"][resolution][way])
            pairs = flatten(result["intervals"].get(resolution, {}).get(way, {}))
            paths = list(values)
            column = [(values[path], pairs.get(path)) for path in paths]
            key = tuple(map(show, column))
            columns.setdefault(key, []).append((resolution, way))
            cells.setdefault(key, column)
    return MetricTable(
        tuple(_heading(merged) for merged in columns.values()),
        tuple(
            (metric_name(path), tuple(column[row] for column in cells.values()))
            for row, path in enumerate(paths)
        ),
    )


def _heading(merged: list[tuple[str, str]]) -> tuple[str, str]:
    """Heading of columns that show the same.

    >>> _heading([("original", "summed"), ("training", "summed")])
    ('original and training resolution', 'over all pixels')
    """
    resolutions = list(dict.fromkeys(resolution for resolution, _ in merged))
    ways = list(dict.fromkeys(WAY_NAMES[way] for _, way in merged))
    return f"{' and '.join(resolutions)} resolution", " and ".join(ways)


def metrics_csv(result: Mapping[str, Any]) -> str:
    """Returns all metrics as CSV, a row each: those to quote first, then the others.

    Args:
        result: Content of an evaluation.json.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_HEAD)
    for row in _rows(result):
        writer.writerow("" if value is None or value != value else value for value in row)
    return text.getvalue()


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    nothing = (None, None)
    for resolution, by_way in result["figures"].items():
        for way in WAY_NAMES:
            bounds = flatten(result["intervals"].get(resolution, {}).get(way, {}))
            for path, value in flatten(by_way[way]).items():
                low, high = bounds.get(path) or (None, None)
                yield path[0], ": ".join(path[1:]), resolution, way, value, low, high
    bounds = result["intervals"].get("boundary_iou", {})
    for (name, *of), value in flatten({"boundary_iou": result["boundary_iou"]}).items():
        pair = bounds.get("mean") if of == ["mean"] else bounds.get("classes", {}).get(of[-1])
        yield name, of[-1], "original", "summed", value, *(pair or (None, None))
    for (name, *of), value in flatten(result["ranking"] or {}).items():
        if of != ["error"]:
            yield name, of[-1], "original", "summed", value, None, None
    if instances := result.get("instances"):
        bounds = result["intervals"].get("instances", {})
        for name, value in instances["metrics"].items():
            yield f"object_{name}", "", "original", "summed", value, *(bounds.get(name) or nothing)
        for name, value in instances["counts"].items():
            yield f"objects_{name}", "", "original", "summed", value, *nothing
    pair = result["intervals"].get("calibration", {}).get("error")
    error = result["calibration"]["error"]
    yield "calibration_error", "", "original", "summed", error, *(pair or (None, None))
    if (loss := result["calibration"].get("log_loss")) is not None:
        yield "log_loss", "", "original", "summed", loss, *nothing
    for name, value in (result["calibration"].get("before") or {}).items():
        metric = "calibration_error" if name == "error" else name
        yield f"uncalibrated_{metric}", "", "original", "summed", value, *nothing
