"""Figures drawn with matplotlib, without a display: examples, contact sheets, training curves.

Masks are drawn in the colours of their classes over the image in grey, so that truth and prediction
are easy to compare. Curves differ in dash as well as in colour.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from skimage.segmentation import find_boundaries

from unetkit._shared.files import write_atomically
from unetkit.data.classes import Classes
from unetkit.data.scale import IGNORE

T = TypeVar("T")
DPI = 110
PAGE_INCHES = 12.0
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito
MAX_SHOWN = 512  # pixels per side; more than a page shows
SHEET_COLUMNS = 4  # pairs per row of a contact sheet
SHEET_DPI = 150
MAX_CAPTION = 46  # characters per line above such a pair
MAX_ASPECT = 2.0  # height of a row over its width


@dataclass(frozen=True)
class Example:
    """An image with its truth and its prediction, which are drawn side by side.

    Args:
        image: Grey or RGB image, (H, W, C) uint8.
        truth: Class indices or IGNORE, (H, W) uint8.
        prediction: Class indices, (H, W) uint8.
        caption: Text below the truth.
    """

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    caption: str


@dataclass(frozen=True)
class Sample:
    """An image with its mask, for a contact sheet.

    Args:
        image: RGB image, (H, W, 3) uint8.
        mask: Class indices or IGNORE, (H, W) uint8.
        caption: Text above the image, one or two lines.
        objects: Object numbers of an instance mask, (H, W) integers; None for other masks.
    """

    image: np.ndarray
    mask: np.ndarray
    caption: str
    objects: np.ndarray | None = None


def draw_samples(path: Path, samples: Sequence[Sample], classes: Classes) -> None:
    """Draws a contact sheet: each image, and beside it the same with its mask drawn over it.

    Args:
        path: PNG file to write; an existing one is replaced.
        samples: Images with masks, at least one.
        classes: Classes of the masks.
    """
    rows = _chunks(samples, SHEET_COLUMNS)
    text = 0.15 * sum(1 + max(one.caption.count("\n") for one in row) for row in rows)
    masks = [sample.mask for sample in samples]
    figure, panels = _lay_out(masks, SHEET_COLUMNS, 2, text + 0.1 * len(rows) + 0.4)
    for cells, sample in zip(panels, samples, strict=False):
        image, mask = _subsample(sample.image), _subsample(sample.mask)
        painted = paint(image, mask, classes)
        if sample.objects is not None:
            painted = _outline(painted, _subsample(sample.objects))
        for cell, shown in zip(cells, (image, painted), strict=True):
            cell.set_anchor("N")
            cell.imshow(shown)  # with anti-aliasing where it is reduced
        caption = "\n".join(_shorten(one) for one in sample.caption.split("\n"))
        cells[0].set_title(caption, fontsize=7, loc="left", parse_math=False)
    _legend(figure, classes)
    _save(figure, path, SHEET_DPI)


def draw_weights(path: Path, images: np.ndarray, weights: np.ndarray, largest: float) -> None:
    """Draws images, and beside each the weights of its pixels in the loss.

    Args:
        path: PNG file to write; an existing one is replaced.
        images: Grey or RGB images, (N, H, W, C) uint8.
        weights: Weights that are added to those of the classes, (N, H, W), 0 or more.
        largest: Weight of the brightest colour.
    """
    figure, panels = _lay_out(list(weights), 2, 2, 0.5)
    for cells, image, weight in zip(panels, images, weights, strict=False):
        cells[0].imshow(_subsample(image), cmap="gray", vmin=0, vmax=255)
        drawn = cells[1].imshow(_subsample(weight), cmap="magma", vmin=0, vmax=largest)
    figure.colorbar(
        drawn, ax=figure.axes, location="bottom", fraction=0.03, label="weight between objects"
    )
    _save(figure, path)


def _chunks(items: Sequence[T], length: int) -> list[Sequence[T]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _lay_out(
    masks: Sequence[np.ndarray], across: int, panels: int, text_inches: float
) -> tuple[Figure, np.ndarray]:
    """Makes a page of rows, which are as high as their masks need.

    Args:
        masks: Mask of each example, (H, W).
        across: Number of examples per row.
        panels: Number of panels per example, which lie side by side.
        text_inches: Height of all text, in inches.

    Returns:
        The figure, and the panels, (N, panels), for at least as many examples as there are.
    """
    heights = [
        min(MAX_ASPECT, max(mask.shape[0] / mask.shape[1] for mask in row))
        for row in _chunks(masks, across)
    ]
    inches = PAGE_INCHES / (panels * across) * sum(heights) + text_inches
    figure = Figure(figsize=(PAGE_INCHES, inches), layout="constrained")
    grid = figure.subplots(len(heights), panels * across, squeeze=False, height_ratios=heights)
    for cell in grid.flat:
        cell.axis("off")
    return figure, grid.reshape(-1, panels)


def _outline(painted: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Draws black lines, two pixels wide, where two objects touch."""
    return np.where(find_boundaries(objects)[..., None], np.uint8(0), painted)


def _shorten(text: str) -> str:
    """Returns start and end of a text: names of a data set often differ at the end."""
    half = (MAX_CAPTION - 3) // 2
    return text if len(text) <= MAX_CAPTION else f"{text[:half]}...{text[-half:]}"


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
    path: Path, examples: Sequence[Example], classes: Classes, *, across: int = 1, title: str = ""
) -> None:
    """Draws image, truth and prediction of examples.

    Args:
        path: PNG file to write; an existing one is replaced.
        examples: Examples, at least one.
        classes: Classes of the masks.
        across: Number of examples per row.
        title: Text above all examples; "" for none.
    """
    text = 0.3 * -(-len(examples) // across) + 0.6 + 0.3 * bool(title)
    figure, panels = _lay_out([example.truth for example in examples], across, 3, text)
    if title:
        figure.suptitle(title, fontsize=11, x=0.005, ha="left")
    for cells, example in zip(panels, examples, strict=False):
        _draw_example(cells, example, classes)
    for cells in panels[:across]:
        for cell, name in zip(cells, ("image", "truth", "prediction"), strict=True):
            cell.set_title(name, fontsize=10)
    _legend(figure, classes)
    _save(figure, path)


def _draw_example(cells: Sequence[Axes], example: Example, classes: Classes) -> None:
    image, truth, prediction = (
        _subsample(a) for a in (example.image, example.truth, example.prediction)
    )
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    panels = image, paint(image, truth, classes), paint(image, prediction, classes)
    for cell, shown in zip(cells, panels, strict=True):
        cell.axis("on")
        cell.set_anchor("N")
        cell.imshow(shown, interpolation="nearest")
        cell.set_xticks([])
        cell.set_yticks([])
    cells[1].set_xlabel(example.caption, fontsize=8)


def paint(image: np.ndarray, mask: np.ndarray, classes: Classes) -> np.ndarray:
    """Draws class colours over an image in grey; ignored pixels stay grey.

    Args:
        image: RGB image, (H, W, 3) uint8.
        mask: Class indices or IGNORE, (H, W) uint8.
        classes: Classes of the mask, with their colours.

    Returns:
        RGB image, (H, W, 3) uint8.
    """
    grey = image.mean(axis=2, keepdims=True)
    palette = np.zeros((256, 3), np.float32)
    palette[: len(classes)] = classes.colours
    strength = np.where(mask == IGNORE, 0.0, 0.6)[..., None]
    return np.rint(grey * (1 - strength) + palette[mask] * strength).astype(np.uint8)


def draw_curves(path: Path, rows: Sequence[Mapping[str, float]], best_step: int) -> None:
    """Draws the losses, and accuracy and mean IoU of the validation split, against the step.

    Args:
        path: PNG file to write; an existing one is replaced.
        rows: Metrics of each validation pass, with the keys "step", "loss", "validation_loss",
            "validation_accuracy" and "validation_mean_iou".
        best_step: Step whose weights are kept.
    """
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
    styles = ((BLUE, "-"), (ORANGE, "--"))
    for (key, label), (colour, dash) in zip(names.items(), styles, strict=True):
        marker = "o" if len(rows) == 1 else None
        values = [row[key] for row in rows]
        axes.plot(steps, values, color=colour, linestyle=dash, marker=marker, label=label)


def _subsample(array: np.ndarray) -> np.ndarray:
    """Returns every n-th pixel, so that a side has at most MAX_SHOWN pixels."""
    step = -(-max(array.shape[:2]) // MAX_SHOWN)
    return array[::step, ::step]


def _save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    with warnings.catch_warnings():
        # Names may have characters that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        # Laid out here: to do so, `savefig` would draw everything once more.
        figure.set_dpi(dpi)
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
            figure.set_layout_engine(None)
        write_atomically(path, lambda file: figure.savefig(file, dpi=dpi, format="png"))
