"""Pictures and curves of a run, drawn with matplotlib, without a screen.

Classes have the colours of their palette over the picture in grey, so that truth and prediction
compare at a glance; curves differ in dash as well as in colour.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from unetkit._shared.files import write_atomically
from unetkit.data.classes import Classes
from unetkit.data.scale import IGNORE

DPI = 110
PAGE_INCHES = 12.0
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito
LARGEST_SHOWN = 512  # pixels a side; more than a page shows
SHEET_ACROSS = 4  # pairs a row of a contact sheet
SHEET_DPI = 150
CAPTION = 46  # letters of a line over such a pair
TALLEST = 2.0  # height of a row, in widths


@dataclass(frozen=True)
class Example:
    """One picture with its truth and its prediction, to be drawn side by side.

    Args:
        image: (H, W, C) uint8, grey or RGB.
        truth: (H, W) uint8 class indices or IGNORE.
        prediction: (H, W) uint8 class indices.
        caption: What is said of it.
    """

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    caption: str


@dataclass(frozen=True)
class Sample:
    """One picture with its mask, for a contact sheet.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8 class indices or IGNORE.
        caption: What is said of it, in a line or two.
        objects: (H, W) integers, one for each object of an instance mask; else None.
    """

    image: np.ndarray
    mask: np.ndarray
    caption: str
    objects: np.ndarray | None = None


def draw_samples(path: Path, samples: Sequence[Sample], classes: Classes) -> None:
    """Draws a contact sheet: each picture, and the same with its mask laid over."""
    lines = [
        samples[start : start + SHEET_ACROSS] for start in range(0, len(samples), SHEET_ACROSS)
    ]
    heights = [max(one.mask.shape[0] / one.mask.shape[1] for one in line) for line in lines]
    heights = [min(height, TALLEST) for height in heights]
    panel = PAGE_INCHES / (2 * SHEET_ACROSS)
    text = 0.15 * sum(1 + max(one.caption.count("\n") for one in line) for line in lines)
    inches = panel * sum(heights) + text + 0.1 * len(lines) + 0.4
    figure = Figure(figsize=(PAGE_INCHES, inches), layout="constrained")
    grid = figure.subplots(len(lines), 2 * SHEET_ACROSS, squeeze=False, height_ratios=heights)
    for cell in grid.flat:
        cell.axis("off")
    for line, cells in zip(lines, grid, strict=True):
        for place, sample in enumerate(line):
            image, mask = _thin(sample.image), _thin(sample.mask)
            painted = paint(image, mask, classes)
            if sample.objects is not None:
                painted = _outline(painted, _thin(sample.objects))
            for cell, picture in zip(
                cells[2 * place : 2 * place + 2], (image, painted), strict=True
            ):
                cell.set_anchor("N")
                cell.imshow(picture)  # averages where it shrinks
            caption = "\n".join(_shorten(one) for one in sample.caption.split("\n"))
            cells[2 * place].set_title(caption, fontsize=7, loc="left", parse_math=False)
    _legend(figure, classes)
    _save(figure, path, SHEET_DPI)


def _outline(painted: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Black lines of two pixels where an object meets another."""
    lines = np.zeros(objects.shape, bool)
    for one, other in (
        ((slice(1, None), slice(None)), (slice(-1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
    ):
        meet = objects[one] != objects[other]
        lines[one] |= meet
        lines[other] |= meet
    return np.where(lines[..., None], np.uint8(0), painted)


def _shorten(text: str) -> str:
    """Start and end of a text: the names of a set often differ at the end."""
    half = (CAPTION - 3) // 2
    return text if len(text) <= CAPTION else f"{text[:half]}...{text[-half:]}"


def _legend(figure: Figure, classes: Classes) -> None:
    figure.legend(
        handles=[
            Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colour), edgecolor="grey", label=name)
            for name, colour in zip(classes.names, classes.colours, strict=True)
        ],
        loc="outside lower center",
        ncols=min(6, len(classes)),
        frameon=False,
        fontsize=9,
    )


def draw_examples(
    path: Path, cases: Sequence[Example], classes: Classes, *, across: int = 1, title: str = ""
) -> None:
    """Draws image, truth and prediction of each case, `across` cases a row, under a title."""
    lines = [cases[start : start + across] for start in range(0, len(cases), across)]
    heights = [max(case.truth.shape[0] / case.truth.shape[1] for case in line) for line in lines]
    panel = PAGE_INCHES / (3 * across)
    inches = panel * sum(heights) + 0.3 * len(lines) + 0.6 + 0.3 * bool(title)
    figure = Figure(figsize=(PAGE_INCHES, inches), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, x=0.005, ha="left")
    grid = figure.subplots(len(lines), 3 * across, squeeze=False, height_ratios=heights)
    for cell in grid.flat:
        cell.axis("off")
    for line, cells in zip(lines, grid, strict=True):
        for place, case in enumerate(line):
            _draw_case(cells[3 * place : 3 * place + 3], case, classes)
    for place, cell in enumerate(grid[0]):
        cell.set_title(("image", "truth", "prediction")[place % 3], fontsize=10)
    _legend(figure, classes)
    _save(figure, path)


def _draw_case(cells: Sequence[Axes], case: Example, classes: Classes) -> None:
    image, truth, prediction = (_thin(a) for a in (case.image, case.truth, case.prediction))
    photo = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    pictures = photo, paint(photo, truth, classes), paint(photo, prediction, classes)
    for cell, picture in zip(cells, pictures, strict=True):
        cell.axis("on")
        cell.set_anchor("N")
        cell.imshow(picture, interpolation="nearest")
        cell.set_xticks([])
        cell.set_yticks([])
    cells[1].set_xlabel(case.caption, fontsize=8)


def paint(photo: np.ndarray, mask: np.ndarray, classes: Classes) -> np.ndarray:
    """Class colours over a photo in grey; ignored pixels stay grey.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) uint8 class indices or IGNORE.

    Returns:
        (H, W, 3) uint8.
    """
    grey = photo.mean(axis=2, keepdims=True)
    palette = np.zeros((256, 3), np.float32)
    palette[: len(classes)] = classes.colours
    strength = np.where(mask == IGNORE, 0.0, 0.6)[..., None]
    return np.rint(grey * (1 - strength) + palette[mask] * strength).astype(np.uint8)


def draw_curves(path: Path, rows: Sequence[Mapping[str, float]], best_step: int) -> None:
    """Draws loss, and accuracy and mean IoU of the validation part, against the step."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_lines(left, rows, {"loss": "training", "validation_loss": "validation"})
    left.set_ylabel("loss")
    names = {"validation_accuracy": "pixel accuracy", "validation_mean_iou": "mean IoU"}
    _draw_lines(right, rows, names)
    right.set_ylabel("validation score")
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.axvline(best_step, color="grey", linewidth=1, linestyle=":", label="kept weights")
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def _draw_lines(axes: Axes, rows: Sequence[Mapping[str, float]], names: Mapping[str, str]) -> None:
    steps = [row["step"] for row in rows]
    looks = ((BLUE, "-"), (ORANGE, "--"))
    for (key, label), (colour, dash) in zip(names.items(), looks, strict=True):
        marker = "o" if len(rows) == 1 else None
        values = [row[key] for row in rows]
        axes.plot(steps, values, color=colour, linestyle=dash, marker=marker, label=label)


def _thin(array: np.ndarray, largest: int = LARGEST_SHOWN) -> np.ndarray:
    """Every n-th pixel, so that a large picture is no larger than a page shows."""
    step = -(-max(array.shape[:2]) // largest)
    return array[::step, ::step]


def _save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks
        write_atomically(path, lambda part: figure.savefig(part, dpi=dpi, format="png"))
