"""Charts of a report, as SVG that takes its colours from the page around it.

The page decides, in its style sheet, what ink, grid and the two series look like: so one chart is
at home on light and dark ground and on paper. Series differ in dash and marker as well as colour.
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

from unetkit.metrics.boundaries import distance_names
from unetkit.metrics.breakdown import (
    MOST_CLASSES_SHOWN,
    MOST_GROUPS,
    ClassBreakdown,
    SubsetMetric,
)

# Stand-ins that matplotlib draws with, and the variables of the style sheet that replace them.
INK, MUTED, GRID, FIRST, SECOND = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", FIRST: "first", SECOND: "second"}
WIDTH = 4.3  # inches, which a phone shows at nearly their size
LABEL = 26  # letters of a row's name
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names of classes may hold a $
    "svg.fonttype": "none",  # text stays text: it can be found and copied
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
    """A diagram, what it says, and its numbers for those who want or need them.

    Args:
        svg: An element of a page.
        caption: A sentence or two.
        head: Names of the columns of its numbers.
        rows: The numbers, as text.
    """

    svg: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def _draw(height: float, name: str, draw: Callable[[Axes], None]) -> str:
    """An SVG element; `draw` gets the axes to draw on."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    return _adopt(text.getvalue(), name)


def _adopt(svg: str, name: str) -> str:
    """Makes a file's SVG a part of a page: variables for colours, no name that occurs twice."""
    svg = svg[svg.index("<svg") :]
    for element in ("metadata", "style"):
        svg = re.sub(rf"<{element}\b.*?</{element}>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'style="[^"]*"', lambda match: _with_variables(match[0]), svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(name)}" ', 1)


def _with_variables(style: str) -> str:
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, f"var(--{variable})")
    return re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", style)


def loss_chart(rows: Sequence[Mapping[str, float]], kept: int) -> Chart:
    """Training and validation loss against the step."""
    names = {"loss": "training", "validation_loss": "validation"}

    def draw(axes: Axes) -> None:
        _lines(axes, rows, names, kept)
        axes.set_ylabel("loss")

    return Chart(
        _draw(2.7, "loss against step", draw),
        "Loss. The two part where the network learns its images by heart; with augmentation the "
        "training loss is the higher one.",
        *_curve_numbers(rows, names),
    )


def score_chart(rows: Sequence[Mapping[str, float]], kept: int) -> Chart:
    """Accuracy and mean IoU of the validation part against the step."""
    names = {"validation_accuracy": "pixel accuracy", "validation_mean_iou": "mean IoU"}

    def draw(axes: Axes) -> None:
        _lines(axes, rows, names, kept)
        axes.set_ylabel("validation score")
        axes.set_ylim(0, 1)

    return Chart(
        _draw(2.7, "validation scores against step", draw),
        "Scores on the validation part, by which the kept step was chosen.",
        *_curve_numbers(rows, names),
    )


def _lines(
    axes: Axes, rows: Sequence[Mapping[str, float]], names: Mapping[str, str], kept: int
) -> None:
    steps = [row["step"] for row in rows]
    looks = ((FIRST, "-", "o"), (SECOND, "--", "s"))
    for (key, label), (colour, dash, marker) in zip(names.items(), looks, strict=True):
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
    axes.set_xlabel("step")
    axes.set_xlim(left=0)
    axes.legend(fontsize=8)


def _curve_numbers(
    rows: Sequence[Mapping[str, float]], names: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    body = [(f"{row['step']:.0f}", *(f"{row[key]:.4f}" for key in names)) for row in rows]
    return ("step", *names.values()), tuple(body)


def reliability_chart(calibration: Mapping[str, Any]) -> Chart:
    """Share of right pixels against confidence; dots as large as the share of all pixels."""
    counts = np.array(calibration["bins"])
    counts = counts[counts[:, 0] > 0]
    share = counts[:, 0] / counts[:, 0].sum()
    confidence, right = counts[:, 1] / counts[:, 0], counts[:, 2] / counts[:, 0]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="as it should")
        axes.vlines(confidence, confidence, right, color=SECOND, linewidth=1.5, label="gap")
        axes.plot(confidence, right, color=FIRST, linewidth=1, label="network")
        axes.scatter(confidence, right, s=12 + 160 * share, color=FIRST, zorder=3)
        axes.set(xlabel="confidence", ylabel="share of pixels that are right")
        start = min(0.5, confidence.min(), right.min())
        axes.set(xlim=(start - 0.03, 1.03), ylim=(start - 0.03, 1.03))
        axes.legend(loc="upper left", fontsize=8)

    return Chart(
        _draw(3.4, "reliability: accuracy against confidence", draw),
        "Reliability. Of pixels with this confidence, so many are right; on the dotted line the "
        "network means what it says. Dots grow with the number of pixels. Expected calibration "
        f"error {calibration['error']:.3f}.",
        ("confidence", "right", "share of the pixels"),
        tuple(
            (f"{c:.3f}", f"{r:.3f}", f"{s:.1%}")
            for c, r, s in zip(confidence, right, share, strict=True)
        ),
    )


def distance_chart(
    accuracy: Mapping[str, float | None], bounds: Mapping[str, Sequence[float | None]]
) -> Chart:
    """Accuracy by distance from the nearest true boundary, with intervals."""
    names = [name for name in distance_names() if accuracy[name] is not None]
    values = np.array([accuracy[name] for name in names], float)
    pairs = np.array([bounds.get(name, (None, None)) for name in names], float)
    places = np.arange(len(names))

    def draw(axes: Axes) -> None:
        axes.fill_between(places, *pairs.T, color=FIRST, alpha=0.2, linewidth=0)
        axes.plot(places, values, color=FIRST, marker="o", markersize=4)
        axes.set_xticks(places, names)
        axes.set(xlabel="pixels from the nearest true boundary", ylabel="pixel accuracy")
        axes.set_ylim(top=1.01)

    return Chart(
        _draw(2.7, "accuracy against distance from the boundary", draw),
        "Accuracy against distance from the nearest true boundary. Most errors of a good network "
        "lie at contours, where people disagree as well. Shaded: interval.",
        ("pixels from it", "accuracy", "interval"),
        tuple(
            (name, f"{value:.3f}", _interval(low, high))
            for name, value, (low, high) in zip(names, values, pairs, strict=True)
        ),
    )


def histogram_chart(scores: Sequence[float]) -> Chart:
    """How many pictures have which mean IoU."""
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
        f"How good single images are: half of them lie between {low:.3f} and {high:.3f}.",
        ("mean IoU", "images"),
        tuple(
            (f"{edge:.2f} to {edge + 0.05:.2f}", str(number))
            for edge, number in zip(edges, numbers, strict=False)
            if number
        ),
    )


def size_chart(rows: Sequence[SubsetMetric]) -> Chart:
    """Mean IoU by size of the picture."""
    caption = (
        "By size of the image: the side of a square of as many pixels. In brackets the number "
    )
    return _rows_chart(rows, "mean IoU by size of the image", "mean IoU", caption + "of images.")


def group_chart(rows: Sequence[SubsetMetric]) -> Chart:
    """Mean IoU by group."""
    only = f" The {MOST_GROUPS} worst are shown." if len(rows) == MOST_GROUPS else ""
    caption = (
        f"By group, the worst first; in brackets the number of images, lines are intervals.{only}"
    )
    return _rows_chart(rows, "mean IoU by group", "mean IoU", caption)


def fraction_chart(share: ClassBreakdown, num_classes: int) -> Chart:
    """IoU of a class by its share of the picture."""
    caption = f"IoU of {share.name} by the share of the image that it fills."
    if share.without:
        caption += (
            f" Of {share.without} images without it, {share.false_alarms} have it predicted "
            "somewhere."
        )
    if num_classes > MOST_CLASSES_SHOWN + 1:
        caption += f" Shown are the {MOST_CLASSES_SHOWN} worst classes of {num_classes}."
    name = f"IoU of {share.name} by its share of the image"
    return _rows_chart(share.rows, name, f"IoU of {_shorten(share.name)}", caption)


def _rows_chart(rows: Sequence[SubsetMetric], name: str, axis: str, caption: str) -> Chart:
    """A dot and its interval for each row, the first on top."""
    shown = [row for row in rows if not np.isnan(row.value)]

    def draw(axes: Axes) -> None:
        places = np.arange(len(shown))[::-1]
        for place, row in zip(places, shown, strict=True):
            axes.plot([row.low, row.high], [place, place], color=FIRST, linewidth=2, alpha=0.6)
        axes.plot([row.value for row in shown], places, "o", color=FIRST, markersize=5)
        axes.set_yticks(places, [f"{_shorten(row.label)} ({row.images})" for row in shown])
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
    half = (LABEL - 1) // 2
    return text if len(text) <= LABEL else f"{text[:half]}…{text[-half:]}"
