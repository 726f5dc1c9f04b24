"""Diagram of a U-Net in its usual U shape, drawn from the layers of the model.

`draw_unet` draws the feature maps that `feature_maps` lists, with an arrow for each layer, so that
the diagram always matches the model. What a layer computes and which sizes fit is left to
`models.unet` and `models.geometry`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import keras
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from unetkit.visualization.feature_maps import FeatureMap, list_feature_maps

_Size = tuple[int, int]
_Point = tuple[float, float]

# Lengths are in inches: text does not shrink with the diagram.
_GAP = 0.36  # between boxes of a row
_ROW_GAP = 0.7  # for a label below a box, one above the next, and the head of an arrow
_MAX_HEIGHT = 1.7
_MARGIN = 0.35
_FONT = 9.5
_LETTER = 0.075  # average width of a character
_KEY_LINE, _KEY_SYMBOL = 0.23, 0.52  # legend: height of a line, width of a symbol
_LABEL_GAP = 0.05

_VERTICAL = ("pooling", "strided", "up")  # steps to another row

# Colours of Okabe and Ito; directions, dashes and hatches distinguish them without colour.
_BOXES: dict[str, dict[str, Any]] = {
    "encoder": {"facecolor": "#56B4E9"},
    "decoder": {"facecolor": "#E69F00"},
    "from a skip connection": {"facecolor": "#56B4E9", "hatch": "////"},
    "above: channels; below: size": {},
    "128² is 128x128 pixels": {},
}
_ARROWS: dict[str, dict[str, Any]] = {
    "convolution": {"color": "#222222"},
    "strided": {"color": "#CC79A7"},
    "pooling": {"color": "#D55E00"},
    "up": {"color": "#009E73"},
    "pointwise": {"color": "#222222", "linewidth": 3.0},
    "skip": {"color": "#0072B2", "linestyle": (0, (5, 2))},
    "shortcut": {"color": "#777777", "linestyle": (0, (1, 1.2))},
}


def draw_unet(model: keras.Model, size: int | _Size) -> Figure:
    """Draws a U-Net from its layers: every feature map with its channels and size.

    A box is a feature map: higher for a larger size, wider for more channels, but not in
    proportion, so that small ones stay visible. Each row has half the size of the row above; arrows
    are layers. Channels of a skip connection are hatched, beside those of the decoder.

    Args:
        model: Functional model with one image as input and one output, such as from `build_unet`.
        size: Size of the image in pixels: one side, or (height, width).

    Returns:
        Figure, 14 inches wide for five levels; `figure.savefig(...)` writes it to a file.

    Raises:
        ConfigError: The model is not a U-Net.
        SizeError: The model does not accept images of this size.

    Source: Ronneberger et al. 2015, figure 1, for the form of the diagram.
    """
    maps = list_feature_maps(model, size)
    image, logits = maps[0], maps[-1]
    title = (
        f"{model.count_params():,} parameters; input: {_pixels(image.size)}, {image.channels} "
        f"channel{'s' * (image.channels > 1)}; output: {_pixels(logits.size)}, {logits.channels} "
        "classes"
    )
    arrows = _arrow_names(maps)
    boxes, width = _lay_out(maps, _key_size(arrows.values()), _key_size(_BOXES))
    width = max(width, 1.2 * _LETTER * len(title))
    height = max(box.top for box in boxes) + 0.85
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    for number in range(len(maps)):
        _draw_box(axes, maps, boxes, number)
        _draw_labels(axes, maps, boxes, number)
        _draw_arrows(axes, maps, boxes, number)
    _draw_keys(axes, arrows, width)
    axes.text(width / 2, height - 0.12, title, ha="center", va="top", fontsize=_FONT + 2)
    return figure


@dataclass(frozen=True)
class _Box:
    """Position of a feature map in inches; channels of a skip connection are on its left."""

    left: float
    right: float
    bottom: float
    top: float
    skip_left: float

    @property
    def centre(self) -> float:
        return (self.left + self.right) / 2

    @property
    def middle(self) -> float:
        return (self.bottom + self.top) / 2


def _lay_out(
    maps: list[FeatureMap], left_key: _Point, right_key: _Point
) -> tuple[list[_Box], float]:
    """Places the boxes: pooling and up-convolutions vertically, other layers to the right.

    Args:
        maps: Feature maps to place.
        left_key: Width and height of the legend in the lower left corner.
        right_key: Width and height of the legend in the lower right corner.

    Returns:
        The boxes, and the width of the diagram.
    """
    heights = [_MAX_HEIGHT * (max(one.size) / max(maps[0].size)) ** 0.55 for one in maps]
    tallest = [0.0] * (1 + max(one.row for one in maps))
    for one, height in zip(maps, heights, strict=True):
        tallest[one.row] = max(tallest[one.row], height)
    boxes: list[_Box] = []
    for one, height in zip(maps, heights, strict=True):
        below = tallest[one.row + 1 :]
        middle = _MARGIN + sum(below) + _ROW_GAP * len(below) + tallest[one.row] / 2
        width = _width(one.channels)
        left = boxes[-1].right + _GAP if boxes else _MARGIN
        if one.step in _VERTICAL:
            left = boxes[-1].centre - width / 2
        skip_left = left - _width(one.skip_channels) if one.skip_channels else left
        boxes.append(_Box(left, left + width, middle - height / 2, middle + height / 2, skip_left))
    full_width = max(boxes[-1].right + _MARGIN, left_key[0] + right_key[0])
    meets_key = any(
        (box.bottom < left_key[1] and box.left < left_key[0])
        or (box.bottom < right_key[1] and box.right > full_width - right_key[0])
        for box in boxes
    )
    if meets_key:  # for a shallow network, which leaves no space in the corners
        lift = max(left_key[1], right_key[1])
        boxes = [replace(box, bottom=box.bottom + lift, top=box.top + lift) for box in boxes]
    return boxes, full_width


def _width(channels: int) -> float:
    return 0.08 + 0.035 * channels.bit_length()


def _draw_box(axes: Axes, maps: list[FeatureMap], boxes: list[_Box], number: int) -> None:
    one, box = maps[number], boxes[number]
    is_down = all(before.step != "up" for before in maps[: number + 1])
    style = _BOXES["encoder" if is_down else "decoder"]
    if one.step == "image":
        style = {"facecolor": "white"}
    _rectangle(axes, box.left, box.right, box.bottom, box.top, style)
    if one.skip_channels:
        style = _BOXES["from a skip connection"]
        _rectangle(axes, box.skip_left, box.left, box.bottom, box.top, style)


def _rectangle(
    axes: Axes, left: float, right: float, bottom: float, top: float, style: dict[str, Any]
) -> None:
    corner, width, height = (left, bottom), right - left, top - bottom
    axes.add_patch(Rectangle(corner, width, height, edgecolor="black", linewidth=0.9, **style))


def _draw_labels(axes: Axes, maps: list[FeatureMap], boxes: list[_Box], number: int) -> None:
    """Draws the channels above a box, and its size below if the previous box has another size."""
    one, box = maps[number], boxes[number]
    following = maps[number + 1].step if number + 1 < len(maps) else ""
    channels = f"{one.skip_channels} + {one.channels}" if one.skip_channels else str(one.channels)
    side = {"pooling": -1, "strided": -1}.get(one.step, int(following == "up"))
    _label(axes, (box.skip_left + box.right) / 2, box.top + _LABEL_GAP, channels, "bottom", side)
    lines = {0: ["image"], len(maps) - 1: ["logits"]}.get(number, [])
    if lines or one.size != maps[number - 1].size:
        side = -int(one.step == "up" or following in _VERTICAL[:2])
        if number == 0:
            side = -side
        text = "\n".join([_short(one.size), *lines])
        _label(axes, box.centre, box.bottom - _LABEL_GAP, text, "top", side)


def _label(axes: Axes, column: float, level: float, text: str, va: str, side: int) -> None:
    """Draws text in the centre (0), or left (-1) or right (1) of an arrow in the centre."""
    align = {-1: "right", 0: "center", 1: "left"}[side]
    axes.text(column + 2 * side * _LABEL_GAP, level, text, ha=align, va=va, fontsize=_FONT)


def _draw_arrows(axes: Axes, maps: list[FeatureMap], boxes: list[_Box], number: int) -> None:
    """Draws the arrows to a box: from the previous one, and of skips and shortcuts."""
    one, box, last = maps[number], boxes[number], boxes[number - 1]
    if one.step == "up":
        _arrow(axes, "up", (last.centre, last.top), (box.centre, box.bottom))
    elif one.step in _VERTICAL:
        _arrow(axes, one.step, (last.centre, last.bottom), (box.centre, box.top))
    elif number:
        _arrow(axes, one.step, (last.right, box.middle), (box.left, box.middle))
    if one.skip_channels:
        source = boxes[one.skip_from]
        _arrow(axes, "skip", (source.right, box.middle), (box.skip_left, box.middle))
        if maps[one.skip_from].size != one.size:
            column = (source.right + box.skip_left) / 2
            text = f"cropped to {_short(one.size)}"
            _label(axes, column, box.middle + _LABEL_GAP, text, "bottom", 0)
    if one.shortcut_from >= 0:
        source = boxes[one.shortcut_from]
        ends = (source.right - 0.03, source.bottom), (box.left + 0.03, box.bottom)
        _arrow(axes, "shortcut", *ends, bend=0.28)


def _arrow(axes: Axes, kind: str, start: _Point, end: _Point, bend: float = 0.0) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=1,
            shrinkB=1,
            connectionstyle=f"arc3,rad={bend}",
            **{"linewidth": 1.3, **_ARROWS[kind]},
        )
    )


def _draw_keys(axes: Axes, arrows: dict[str, str], width: float) -> None:
    """Draws the legend of arrows in the lower left corner, that of boxes in the lower right."""
    for line, (kind, name) in enumerate(reversed(arrows.items())):
        level = _MARGIN + line * _KEY_LINE
        _arrow(axes, kind, (_MARGIN, level), (_MARGIN + 0.8 * _KEY_SYMBOL, level))
        axes.text(_MARGIN + _KEY_SYMBOL, level, name, va="center", fontsize=_FONT)
    left = width - _key_size(_BOXES)[0]
    for line, (name, style) in enumerate(reversed(_BOXES.items())):
        level = _MARGIN + line * _KEY_LINE
        if style:
            _rectangle(axes, left, left + 0.28, level - 0.07, level + 0.07, style)
        axes.text(left + 0.36 * bool(style), level, name, va="center", fontsize=_FONT)


def _key_size(names: Iterable[str]) -> _Point:
    """Returns width and height of a legend, with the margin of the diagram."""
    lengths = [len(name) for name in names]
    return _MARGIN + _KEY_SYMBOL + _LETTER * max(lengths), _MARGIN + _KEY_LINE * (len(lengths) + 1)


def _arrow_names(maps: list[FeatureMap]) -> dict[str, str]:
    """Returns the names of the arrows that occur, in the order of the network."""
    words = {
        "strided": "strided convolution",
        "convolution": "convolution",
        "pooling": "max pooling",
        "up": "transposed convolution",
        "pointwise": "convolution to logits",
    }
    if sum(one.step == "pointwise" for one in maps) > 1:
        words["pointwise"] = "convolution"  # those of the encoder as well
    names = {}
    for step, word in words.items():
        windows = sorted({_pixels(one.window) for one in maps if one.step == step})
        if windows:
            names[step] = f"{', '.join(windows)} {word}"
    is_cropped = any(one.skip_channels and maps[one.skip_from].size != one.size for one in maps)
    names["skip"] = f"skip connection: {'cropped and ' * is_cropped}concatenated"
    if any(one.shortcut_from >= 0 for one in maps):
        names["shortcut"] = "residual shortcut: added"
    return names


def _pixels(size: _Size) -> str:
    return f"{size[0]}x{size[1]}"


def _short(size: _Size) -> str:
    return f"{size[0]}²" if size[0] == size[1] else _pixels(size)
