"""Charts of a report, as SVG elements that take their colours from the style sheet of the page.

Colours are CSS variables for text, grid and the two series, so the same chart is readable on a
light page, a dark page and paper. Series differ in dash and marker as well as in colour. What the
charts show is computed in the room `metrics`; where they appear is decided by the page.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unetkit._shared.wording import format_count
from unetkit.metrics.boundaries import distance_names
from unetkit.metrics.breakdown import (
    MOST_CLASSES_SHOWN,
    MOST_GROUPS,
    ClassBreakdown,
    SubsetMetric,
)

# Colours that matplotlib draws with, and the CSS variables that replace them.
INK, MUTED, GRID, FIRST, SECOND = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
CSS_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", FIRST: "first", SECOND: "second"}
WIDTH = 4.3  # inches; nearly the width of a phone
MAX_LABEL = 26  # characters of a row's name
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names of classes may contain a $
    "svg.fonttype": "none",  # text stays text that can be searched and copied
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Chart:
    """A chart with its caption and a table of its values.

    Args:
        svg: SVG element.
        caption: Caption, one or more sentences.
        head: Headings of the table.
        rows: Rows of the table, as text.
    """

    svg: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def _draw(height: float, name: str, draw: Callable[[Axes], None]) -> str:
    """Returns an SVG element with the axes on which `draw` has drawn."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Names may have characters that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        text = io.StringIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=no_metadata)
    return _to_element(text.getvalue(), name)


def _to_element(svg: str, name: str) -> str:
    """Makes an SVG file an element of a page: CSS variables for colours, no unused ids."""
    svg = svg[svg.index("<svg") :]
    for element in ("metadata", "style"):
        svg = re.sub(rf"<{element}\b.*?</{element}>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'style="[^"]*"', lambda match: _with_variables(match[0]), svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(name)}" ', 1)


def _with_variables(style: str) -> str:
    for colour, variable in CSS_VARIABLES.items():
        style = style.replace(colour, f"var(--{variable})")
    return re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", style)


def draw_loss_chart(rows: Sequence[Mapping[str, float]], kept: int) -> Chart:
    """Draws training and validation loss against the step.

    Args:
        rows: Metrics of each validation pass, with "step", "loss" and "validation_loss".
        kept: Step whose weights are kept.
    """
    return _draw_curves_chart(
        rows,
        kept,
        {"loss": "training", "validation_loss": "validation"},
        ("loss against step", "loss"),
        "Loss. If only the validation loss rises, the network overfits the training images; with "
        "augmentation the training loss is the higher one.",
    )


def draw_score_chart(rows: Sequence[Mapping[str, float]], kept: int) -> Chart:
    """Draws accuracy and mean IoU of the validation split against the step.

    Args:
        rows: Metrics of each validation pass, with "step", "validation_accuracy" and
            "validation_mean_iou".
        kept: Step whose weights are kept.
    """
    return _draw_curves_chart(
        rows,
        kept,
        {"validation_accuracy": "pixel accuracy", "validation_mean_iou": "mean IoU"},
        ("validation scores against step", "validation score"),
        "Metrics on the validation split. The kept step was chosen by mean IoU.",
        limits=(0, 1),
    )


def _draw_curves_chart(
    rows: Sequence[Mapping[str, float]],
    kept: int,
    names: Mapping[str, str],
    titles: tuple[str, str],
    caption: str,
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Draws two curves and the kept step; `titles` are those of the chart and of its axis."""
    styles = ((FIRST, "-", "o"), (SECOND, "--", "s"))

    def draw(axes: Axes) -> None:
        steps = [row["step"] for row in rows]
        for (key, label), (colour, dash, marker) in zip(names.items(), styles, strict=True):
            axes.plot(
                steps,
                [row[key] for row in rows],
                color=colour,
                linestyle=dash,
                marker=marker,
                markersize=3.5,
                markevery=max(1, len(rows) // 8),
                label=label,
            )
        axes.axvline(kept, color=MUTED, linewidth=1, linestyle=":", label=f"kept: step {kept}")
        axes.set(xlabel="step", ylabel=titles[1], ylim=limits)
        axes.set_xlim(left=0)
        axes.legend(fontsize=8)

    return Chart(
        _draw(2.7, titles[0], draw),
        caption,
        ("step", *names.values()),
        tuple((f"{row['step']:.0f}", *(f"{row[key]:.4f}" for key in names)) for row in rows),
    )


def draw_reliability_chart(calibration: Mapping[str, Any]) -> Chart:
    """Draws accuracy against confidence, with dots whose area is the fraction of pixels.

    Args:
        calibration: "bins", the number of pixels, the sum of confidences and the number of correct
            pixels of each bin, and "error", the expected calibration error.
    """
    counts = np.array(calibration["bins"])
    counts = counts[counts[:, 0] > 0]
    fraction = counts[:, 0] / counts[:, 0].sum()
    confidence, accuracy = counts[:, 1] / counts[:, 0], counts[:, 2] / counts[:, 0]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="ideal")
        axes.vlines(confidence, confidence, accuracy, color=SECOND, linewidth=1.5, label="gap")
        axes.plot(confidence, accuracy, color=FIRST, linewidth=1, label="network")
        axes.scatter(confidence, accuracy, s=12 + 160 * fraction, color=FIRST, zorder=3)
        axes.set(xlabel="confidence", ylabel="accuracy")
        start = min(0.5, confidence.min(), accuracy.min())
        axes.set(xlim=(start - 0.03, 1.03), ylim=(start - 0.03, 1.03))
        axes.legend(loc="upper left", fontsize=8)

    return Chart(
        _draw(3.4, "reliability: accuracy against confidence", draw),
        "Reliability: accuracy of the pixels that have this confidence; on the dotted line both "
        "are equal. Larger dots stand for more pixels. Expected calibration error "
        f"{calibration['error']:.3f}.",
        ("confidence", "accuracy", "fraction of pixels"),
        tuple(
            (f"{c:.3f}", f"{a:.3f}", f"{f:.1%}")
            for c, a, f in zip(confidence, accuracy, fraction, strict=True)
        ),
    )


def draw_distance_chart(
    accuracy: Mapping[str, float | None], bounds: Mapping[str, Sequence[float | None]]
) -> Chart:
    """Draws accuracy by distance from the nearest true boundary, with intervals.

    Args:
        accuracy: Accuracy by name of the distance; None if no pixel has this distance.
        bounds: Interval of each accuracy.
    """
    names = [name for name in distance_names() if accuracy[name] is not None]
    values = np.array([accuracy[name] for name in names], float)
    pairs = np.array([bounds.get(name, (None, None)) for name in names], float)
    positions = np.arange(len(names))

    def draw(axes: Axes) -> None:
        axes.fill_between(positions, *pairs.T, color=FIRST, alpha=0.2, linewidth=0)
        axes.plot(positions, values, color=FIRST, marker="o", markersize=4)
        axes.set_xticks(positions, names)
        axes.set(xlabel="pixels from the nearest true boundary", ylabel="pixel accuracy")
        axes.set_ylim(top=1.01)

    return Chart(
        _draw(2.7, "accuracy against distance from the boundary", draw),
        "Accuracy against distance from the nearest true boundary. Most errors of a good network "
        "are near contours, where human annotators disagree as well. Shaded: interval.",
        ("distance in pixels", "accuracy", "interval"),
        tuple(
            (name, f"{value:.3f}", _interval(low, high))
            for name, value, (low, high) in zip(names, values, pairs, strict=True)
        ),
    )


def draw_histogram_chart(scores: Sequence[float]) -> Chart:
    """Draws a histogram of the mean IoU of images."""
    edges = [i / 20 for i in range(21)]
    low, middle, high = np.percentile(scores, (25, 50, 75))

    def draw(axes: Axes) -> None:
        axes.hist(scores, bins=edges, color=FIRST, rwidth=0.85)
        axes.axvline(middle, color=SECOND, linestyle="--", label=f"median {middle:.3f}")
        axes.set(xlabel="mean IoU of an image", ylabel="images", xlim=(0, 1))
        axes.legend(fontsize=8)

    numbers, _ = np.histogram(scores, edges)
    return Chart(
        _draw(2.7, "histogram of the images' mean IoU", draw),
        f"Mean IoU of single images: half of them are between {low:.3f} and {high:.3f}.",
        ("mean IoU", "images"),
        tuple(
            (f"{edge:.2f} to {edge + 0.05:.2f}", str(number))
            for edge, number in zip(edges, numbers, strict=False)
            if number
        ),
    )


def draw_size_chart(rows: Sequence[SubsetMetric]) -> Chart:
    """Draws mean IoU by image size."""
    caption = (
        "Mean IoU by image size, as the side of a square with the same number of pixels. In "
        "brackets the number of images."
    )
    return _draw_rows_chart(rows, "mean IoU by image size", "mean IoU", caption)


def draw_group_chart(rows: Sequence[SubsetMetric]) -> Chart:
    """Draws mean IoU by group."""
    limit = f" Only the {MOST_GROUPS} worst are shown." if len(rows) == MOST_GROUPS else ""
    caption = (
        "Mean IoU by group, the worst first. In brackets the number of images; lines are "
        f"intervals.{limit}"
    )
    return _draw_rows_chart(rows, "mean IoU by group", "mean IoU", caption)


def draw_fraction_chart(breakdown: ClassBreakdown, num_classes: int) -> Chart:
    """Draws the IoU of a class by its fraction of the image.

    Args:
        breakdown: IoU of the class in images with small and large fractions of it.
        num_classes: Number of all classes.
    """
    caption = f"IoU of {breakdown.name} by its fraction of the image."
    if breakdown.without:
        without = format_count(breakdown.without, "image")
        caption += f" It is predicted in {breakdown.false_alarms} of {without} without it."
    if num_classes > MOST_CLASSES_SHOWN + 1:
        caption += f" Only the {MOST_CLASSES_SHOWN} worst of {num_classes} classes are shown."
    name = f"IoU of {breakdown.name} by its fraction of the image"
    return _draw_rows_chart(breakdown.rows, name, f"IoU of {_shorten(breakdown.name)}", caption)


def _draw_rows_chart(rows: Sequence[SubsetMetric], name: str, axis: str, caption: str) -> Chart:
    """Draws a dot and its interval for each row, the first row at the top."""
    shown = [row for row in rows if not np.isnan(row.value)]

    def draw(axes: Axes) -> None:
        positions = np.arange(len(shown))[::-1]
        for position, row in zip(positions, shown, strict=True):
            axes.plot(
                [row.low, row.high], [position, position], color=FIRST, linewidth=2, alpha=0.6
            )
        axes.plot([row.value for row in shown], positions, "o", color=FIRST, markersize=5)
        axes.set_yticks(positions, [f"{_shorten(row.label)} ({row.images})" for row in shown])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlabel(axis)
        axes.set_xlim(right=min(1.0, axes.get_xlim()[1]) + 0.01)
        axes.grid(axis="y", visible=False)

    return Chart(
        _draw(0.75 + 0.24 * max(2, len(shown)), name, draw),
        caption,
        ("", "images", axis, "interval"),
        tuple(
            (row.label, str(row.images), f"{row.value:.3f}", _interval(row.low, row.high))
            for row in shown
        ),
    )


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.3f} to {high:.3f}"


def _shorten(text: str) -> str:
    half = (MAX_LABEL - 1) // 2
    return text if len(text) <= MAX_LABEL else f"{text[:half]}…{text[-half:]}"
