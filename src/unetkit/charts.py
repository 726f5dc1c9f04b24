"""Charts of a report, as SVG that takes its colours from the page around it.

The page decides, in its style sheet, what ink, grid and the two series look like: so one chart is
at home on light and dark ground and on paper. Series differ in dash and marker as well as colour.
"""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unetkit.boundaries import distance_names
from unetkit.breakdown import Row

# Stand-ins that matplotlib draws with, and the variables of the style sheet that replace them.
INK, MUTED, GRID, FIRST, SECOND = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", FIRST: "first", SECOND: "second"}
WIDTH = 4.3  # inches, which a phone shows at nearly their size
LABEL = 26  # letters of a row's name
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names of classes may hold a $
    "svg.fonttype": "none",  # text stays text: it can be found, copied and read aloud
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


def _chart(height: float, name: str, draw: Callable[[Axes], None]) -> str:
    """An SVG element; `draw` gets the axes to draw on."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
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
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", svg)
    for element in ("metadata", "style"):
        svg = re.sub(rf"<{element}\b.*?</{element}>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(name)}" ', 1)


def loss_chart(rows: Sequence[Mapping[str, float]], kept: int) -> str:
    """Training and validation loss against the step."""

    def draw(axes: Axes) -> None:
        _lines(axes, rows, {"loss": "training", "validation_loss": "validation"}, kept)
        axes.set_ylabel("loss")

    return _chart(2.7, "loss against step", draw)


def score_chart(rows: Sequence[Mapping[str, float]], kept: int) -> str:
    """Accuracy and mean IoU of the validation part against the step."""
    names = {"validation_accuracy": "pixel accuracy", "validation_mean_iou": "mean IoU"}

    def draw(axes: Axes) -> None:
        _lines(axes, rows, names, kept)
        axes.set_ylabel("validation score")
        axes.set_ylim(0, 1)

    return _chart(2.7, "validation scores against step", draw)


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


def reliability_chart(bins: Sequence[Sequence[float]]) -> str:
    """Share of right pixels against confidence; dots as large as the share of all pixels."""
    counts = np.array(bins)
    pixels = counts[:, 0]
    filled = pixels > 0
    confidence, right = (counts[filled, k] / pixels[filled] for k in (1, 2))
    share = pixels[filled] / pixels.sum()

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="as it should")
        axes.vlines(confidence, confidence, right, color=SECOND, linewidth=1.5, label="gap")
        axes.plot(confidence, right, color=FIRST, linewidth=1, label="network")
        axes.scatter(confidence, right, s=12 + 160 * share, color=FIRST, zorder=3)
        axes.set(xlabel="confidence", ylabel="share of pixels that are right")
        start = min(0.5, confidence.min(), right.min())
        axes.set(xlim=(start - 0.03, 1.03), ylim=(start - 0.03, 1.03))
        axes.legend(loc="upper left", fontsize=8)

    return _chart(3.4, "reliability: accuracy against confidence", draw)


def distance_chart(
    accuracy: Mapping[str, float | None], bounds: Mapping[str, Sequence[float | None]]
) -> str:
    """Accuracy by distance from the nearest true boundary, with intervals."""
    names = [name for name in distance_names() if accuracy[name] is not None]
    values = np.array([accuracy[name] for name in names], float)
    places = np.arange(len(names))

    def draw(axes: Axes) -> None:
        if bounds:
            low, high = np.array([bounds[name] for name in names], float).T
            axes.fill_between(places, low, high, color=FIRST, alpha=0.2, linewidth=0)
        axes.plot(places, values, color=FIRST, marker="o", markersize=4)
        axes.set_xticks(places, names)
        axes.set(xlabel="pixels from the nearest true boundary", ylabel="pixel accuracy")
        axes.set_ylim(top=1.01)

    return _chart(2.7, "accuracy against distance from the boundary", draw)


def histogram_chart(scores: Sequence[float]) -> str:
    """How many pictures have which mean IoU."""

    def draw(axes: Axes) -> None:
        axes.hist(scores, bins=[i / 20 for i in range(21)], color=FIRST, rwidth=0.85)
        middle = float(np.median(scores))
        axes.axvline(middle, color=SECOND, linestyle="--", label=f"median {middle:.3f}")
        axes.set(xlabel="mean IoU of an image", ylabel="images", xlim=(0, 1))
        axes.legend(fontsize=8)

    return _chart(2.7, "histogram of the images' mean IoU", draw)


def rows_chart(rows: Sequence[Row], name: str, axis: str) -> str:
    """A dot and its interval for each row, the first on top."""
    shown = [row for row in rows if not np.isnan(row.value)]

    def draw(axes: Axes) -> None:
        places = np.arange(len(shown))[::-1]
        for place, row in zip(places, shown, strict=True):
            if not np.isnan(row.low):
                axes.plot([row.low, row.high], [place, place], color=FIRST, linewidth=2, alpha=0.6)
        axes.plot([row.value for row in shown], places, "o", color=FIRST, markersize=5)
        axes.set_yticks(places, [f"{_shorten(row.label)} ({row.images})" for row in shown])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlabel(axis)
        axes.set_xlim(right=min(1.0, axes.get_xlim()[1]) + 0.01)
        axes.grid(axis="y", visible=False)

    return _chart(0.75 + 0.24 * max(2, len(shown)), name, draw)


def _shorten(text: str) -> str:
    half = (LABEL - 1) // 2
    return text if len(text) <= LABEL else f"{text[:half]}…{text[-half:]}"
