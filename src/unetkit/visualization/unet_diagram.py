"""A U-Net drawn as the U that gave it its name, from the model's own layers.

What: `feature_maps` follows a model from image to logits and lists each feature map with its
channels and its size; `draw_unet` draws them, with an arrow for each layer that makes one.

Why this way: layers are told by what they do, not by what they are called, so that a network that
somebody wrote by hand is drawn as well, and a drawing can say nothing that the model is not. Where
two paths meet, the one through more layers is the way through the U; the other is the skip
connection, or the shortcut of a residual block.

Left to others: what a layer computes, and which sizes fit (`model`, `geometry`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from unetkit.errors import ConfigError, SizeError

Size = tuple[int, int]
Point = tuple[float, float]

# Lengths are in inches: text does not shrink with the drawing.
_GAP = 0.36  # from a box to the next of its row
_ROW_GAP = 0.7  # room for a label below a box, one above the next, and an arrow's head
_TALLEST = 1.7
_EDGE = 0.35
_FONT = 9.5
_LETTER = 0.075  # width of a letter, on average
_KEY_LINE, _KEY_SIGN = 0.23, 0.52  # height of a line, width of what it explains
_LABEL_GAP = 0.05

_VERTICAL = ("pooling", "strided", "up")  # steps to another row

# Okabe and Ito; directions, dashes and hatches say the same without colour.
_BOXES: dict[str, dict[str, Any]] = {
    "on the way down": {"facecolor": "#56B4E9"},
    "on the way up": {"facecolor": "#E69F00"},
    "brought by a skip connection": {"facecolor": "#56B4E9", "hatch": "////"},
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


@dataclass(frozen=True)
class FeatureMap:
    """One box of the drawing: what a layer gives for an image of a certain size.

    Args:
        name: The layer that gives it, or that merges it.
        step: What leads here from the map before: "image", "convolution", "strided", "pooling",
            "up" or "pointwise".
        window: (height, width) of what that step looks at, or spreads over; 0 for the image.
        size: (height, width).
        channels: Its own, without those of a skip connection.
        row: How often the image has been halved.
        skip_channels: Channels that a skip connection lays beside it; 0 for none.
        skip_from: Which map of the list the skip connection comes from; -1 for none.
        shortcut_from: Which map is added to this one; -1 for none.
    """

    name: str
    step: str
    window: Size
    size: Size
    channels: int
    row: int
    skip_channels: int = 0
    skip_from: int = -1
    shortcut_from: int = -1


def feature_maps(model: keras.Model, size: int | Size) -> list[FeatureMap]:
    """The feature maps of a U-Net, from the image to the logits.

    Args:
        model: A functional model of one image and one output, such as `build_unet` gives.
        size: Of the image: a side, or (height, width).

    Raises:
        ConfigError: The model is no U-Net.
        SizeError: It does not take images of this size.

    >>> from unetkit.models.unet import build_unet
    >>> [m.size[0] for m in feature_maps(build_unet("paper"), 572) if m.row == 0]
    [572, 570, 568, 392, 390, 388, 388]
    """
    graph = _Graph(model)
    shapes = _output_shapes(model, (size, size) if isinstance(size, int) else size)
    maps: list[FeatureMap] = []
    place: dict[str, int] = {}  # of each layer on the way: the map that it gives or changes
    for layer in graph.way():
        shape = shapes[layer.name]
        step = _step(layer)
        if step:
            row = maps[-1].row + {"pooling": 1, "strided": 1, "up": -1}.get(step, 0) if maps else 0
            maps.append(
                FeatureMap(layer.name, step, _window(layer), (shape[1], shape[2]), shape[3], row)
            )
        elif isinstance(layer, layers.Concatenate):
            aside = graph.aside(layer)
            if shapes[aside.name][1:3] != maps[-1].size:
                raise _no_size(model, maps[0].size)
            maps[-1] = replace(
                maps[-1],
                name=layer.name,
                skip_channels=shapes[aside.name][3],
                skip_from=graph.origin(aside, place),
            )
        elif isinstance(layer, layers.Add):
            maps[-1] = replace(maps[-1], shortcut_from=graph.origin(graph.aside(layer), place))
        place[layer.name] = len(maps) - 1
    if not any(one.step == "up" for one in maps) or not any(one.skip_channels for one in maps):
        raise _no_unet(
            model, "it has no transposed convolution that is joined with a skip connection"
        )
    return maps


def _no_unet(model: object, why: str) -> ConfigError:
    name = getattr(model, "name", type(model).__name__)
    return ConfigError(
        f"model {name!r} cannot be drawn as a U: {why}; accepted are functional Keras models of "
        "one image and one output that go down, come up and have skip connections; draw one that "
        "unetkit.build_unet made"
    )


def _output_shapes(model: keras.Model, size: Size) -> dict[str, tuple[int, ...]]:
    """Shape of what each layer gives for one image, (1, H, W, C), by the layer's name."""
    probe = keras.Model(model.inputs, {layer.name: layer.output for layer in model.layers})
    try:
        image = keras.KerasTensor((1, *size, model.inputs[0].shape[-1]))
        return {name: tensor.shape for name, tensor in probe.compute_output_spec(image).items()}
    except SizeError as error:
        raise SizeError(str(error).splitlines()[-1]) from error  # Keras says much before it
    except (ValueError, TypeError) as error:
        raise _no_size(model, size) from error


def _no_size(model: keras.Model, size: Size) -> SizeError:
    return SizeError(
        f"image size {'x'.join(map(str, size))} does not fit model {model.name!r}; accepted are "
        "sizes of two whole numbers that every pooling halves without a rest; try a multiple of 32"
    )


class _Graph:
    """Which layer takes what from which."""

    def __init__(self, model: keras.Model) -> None:
        if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
            raise _no_unet(model, "its layers do not say how they are connected")
        if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.inputs[0].shape) != 4:
            raise _no_unet(model, "it has another number of inputs or outputs, or takes no images")
        try:
            self._connect(model)
        except (AttributeError, KeyError, ValueError) as error:  # its output is not one, or unknown
            raise _no_unet(model, "a layer is used twice, or is itself a model") from error

    def _connect(self, model: keras.Model) -> None:
        makers = {id(layer.output): layer for layer in model.layers}
        self._last = makers[id(model.outputs[0])]
        self._parents: dict[str, list[keras.Layer]] = {}
        self._depth: dict[str, int] = {}
        for layer in model.layers:  # Keras lists them so that a layer's sources come before it
            taken = [] if isinstance(layer, layers.InputLayer) else layer.input
            taken = taken if isinstance(taken, list) else [taken]
            self._parents[layer.name] = [makers[id(tensor)] for tensor in taken]
            depths = [self._depth[parent.name] for parent in self._parents[layer.name]]
            self._depth[layer.name] = 1 + max(depths, default=0)

    def _before(self, layer: keras.Layer) -> keras.Layer | None:
        """The source that lies on the way through the U."""
        parents = self._parents[layer.name]
        return max(parents, key=lambda parent: self._depth[parent.name], default=None)

    def way(self) -> list[keras.Layer]:
        """Layers from image to logits, without skip connections and shortcuts."""
        found: list[keras.Layer] = []
        layer: keras.Layer | None = self._last
        while layer is not None:
            found.append(layer)
            layer = self._before(layer)
        return found[::-1]

    def aside(self, layer: keras.Layer) -> keras.Layer:
        """The source of a merging layer that does not lie on the way."""
        main = self._before(layer)
        return next(parent for parent in self._parents[layer.name] if parent is not main)

    def origin(self, layer: keras.Layer | None, place: dict[str, int]) -> int:
        """Where a side path leaves the way."""
        while layer is not None and layer.name not in place:
            layer = self._before(layer)
        return place[layer.name] if layer is not None else -1


def _step(layer: keras.Layer) -> str:
    """What a layer does to get to a new feature map; empty if it gives none of its own."""
    if isinstance(layer, layers.InputLayer):
        return "image"
    if isinstance(layer, layers.MaxPooling2D):
        return "pooling"
    if isinstance(layer, layers.Conv2DTranspose):
        return "up"
    if isinstance(layer, layers.Conv2D):
        if max(layer.strides) > 1:
            return "strided"
        return "pointwise" if max(layer.kernel_size) == 1 else "convolution"
    return ""


def _window(layer: keras.Layer) -> Size:
    height, width = getattr(layer, "kernel_size", getattr(layer, "pool_size", (0, 0)))
    return height, width


def draw_unet(model: keras.Model, size: int | Size) -> Figure:
    """Draws a U-Net from its own layers: every feature map with its channels and its size.

    A box is a feature map: higher for a larger one, wider for one of more channels, neither in
    proportion, or the small ones could not be seen. Each row is half the size of the row above;
    arrows are layers. What a skip connection brings stands hatched beside what comes up from below.

    Args:
        model: A functional model of one image and one output, such as `build_unet` gives.
        size: Of the image that it is shown: a side, or (height, width).

    Returns:
        A figure, 14 inches wide for five levels; `figure.savefig(...)` writes it.

    Raises:
        ConfigError: The model is no U-Net.
        SizeError: It does not take images of this size.

    Source: the form of the drawing, Ronneberger et al. 2015, figure 1.
    """
    maps = feature_maps(model, size)
    image, logits = maps[0], maps[-1]
    title = (
        f"{model.count_params():,} parameters: image of {_pixels(image.size)} with "
        f"{image.channels} channel{'s' * (image.channels > 1)} in, {_pixels(logits.size)} with "
        f"{logits.channels} classes out"
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
    """Where a feature map is drawn, in inches; what a skip connection brings lies to its left."""

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


def _lay_out(maps: list[FeatureMap], left_key: Point, right_key: Point) -> tuple[list[_Box], float]:
    """Rows from the top, steps down and up straight, everything else to the right.

    Args:
        left_key: Width and height of what stands in the lower left corner.
        right_key: Likewise.

    Returns:
        The boxes, and the width of the drawing.
    """
    heights = [_TALLEST * (max(one.size) / max(maps[0].size)) ** 0.55 for one in maps]
    tallest = [0.0] * (1 + max(one.row for one in maps))
    for one, height in zip(maps, heights, strict=True):
        tallest[one.row] = max(tallest[one.row], height)
    boxes: list[_Box] = []
    for one, height in zip(maps, heights, strict=True):
        below = tallest[one.row + 1 :]
        middle = _EDGE + sum(below) + _ROW_GAP * len(below) + tallest[one.row] / 2
        width = _width(one.channels)
        left = boxes[-1].right + _GAP if boxes else _EDGE
        if one.step in _VERTICAL:
            left = boxes[-1].centre - width / 2
        skip_left = left - _width(one.skip_channels) if one.skip_channels else left
        boxes.append(_Box(left, left + width, middle - height / 2, middle + height / 2, skip_left))
    full_width = max(boxes[-1].right + _EDGE, left_key[0] + right_key[0])
    meets_key = any(
        (box.bottom < left_key[1] and box.left < left_key[0])
        or (box.bottom < right_key[1] and box.right > full_width - right_key[0])
        for box in boxes
    )
    if meets_key:  # of a shallow network, whose U leaves no corners free
        lift = max(left_key[1], right_key[1])
        boxes = [replace(box, bottom=box.bottom + lift, top=box.top + lift) for box in boxes]
    return boxes, full_width


def _width(channels: int) -> float:
    return 0.08 + 0.035 * channels.bit_length()


def _draw_box(axes: Axes, maps: list[FeatureMap], boxes: list[_Box], number: int) -> None:
    one, box = maps[number], boxes[number]
    is_down = all(before.step != "up" for before in maps[: number + 1])
    look = _BOXES["on the way down" if is_down else "on the way up"]
    if one.step == "image":
        look = {"facecolor": "white"}
    _rectangle(axes, box.left, box.right, box.bottom, box.top, look)
    if one.skip_channels:
        look = _BOXES["brought by a skip connection"]
        _rectangle(axes, box.skip_left, box.left, box.bottom, box.top, look)


def _rectangle(
    axes: Axes, left: float, right: float, bottom: float, top: float, look: dict[str, Any]
) -> None:
    corner, width, height = (left, bottom), right - left, top - bottom
    axes.add_patch(Rectangle(corner, width, height, edgecolor="black", linewidth=0.9, **look))


def _draw_labels(axes: Axes, maps: list[FeatureMap], boxes: list[_Box], number: int) -> None:
    """Channels above a box; its size below, where it is another than that of the box before."""
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
    """Text in the middle (0), or left (-1) or right (1) of an arrow in the middle."""
    align = {-1: "right", 0: "center", 1: "left"}[side]
    axes.text(column + 2 * side * _LABEL_GAP, level, text, ha=align, va=va, fontsize=_FONT)


def _draw_arrows(axes: Axes, maps: list[FeatureMap], boxes: list[_Box], number: int) -> None:
    """What leads to a box: from the box before, and from further away."""
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
            text = f"cut to {_short(one.size)}"
            _label(axes, column, box.middle + _LABEL_GAP, text, "bottom", 0)
    if one.shortcut_from >= 0:
        source = boxes[one.shortcut_from]
        ends = (source.right - 0.03, source.bottom), (box.left + 0.03, box.bottom)
        _arrow(axes, "shortcut", *ends, bend=0.28)


def _arrow(axes: Axes, kind: str, start: Point, end: Point, bend: float = 0.0) -> None:
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
    """What arrows mean, in the corner below the way down; boxes, in the one below the way up."""
    for line, (kind, name) in enumerate(reversed(arrows.items())):
        level = _EDGE + line * _KEY_LINE
        _arrow(axes, kind, (_EDGE, level), (_EDGE + 0.8 * _KEY_SIGN, level))
        axes.text(_EDGE + _KEY_SIGN, level, name, va="center", fontsize=_FONT)
    left = width - _key_size(_BOXES)[0]
    for line, (name, look) in enumerate(reversed(_BOXES.items())):
        level = _EDGE + line * _KEY_LINE
        if look:
            _rectangle(axes, left, left + 0.28, level - 0.07, level + 0.07, look)
        axes.text(left + 0.36 * bool(look), level, name, va="center", fontsize=_FONT)


def _key_size(names: Iterable[str]) -> Point:
    """Width and height, from the edge of the drawing on."""
    lengths = [len(name) for name in names]
    return _EDGE + _KEY_SIGN + _LETTER * max(lengths), _EDGE + _KEY_LINE * (len(lengths) + 1)


def _arrow_names(maps: list[FeatureMap]) -> dict[str, str]:
    """What the arrows of this network mean, in the order in which they come."""
    words = {
        "strided": "convolution in steps of 2",
        "convolution": "convolution",
        "pooling": "max pooling",
        "up": "transposed convolution",
        "pointwise": "convolution: logits",
    }
    names = {}
    for step, word in words.items():
        windows = sorted({_pixels(one.window) for one in maps if one.step == step})
        if windows:
            names[step] = f"{', '.join(windows)} {word}"
    is_cut = any(one.skip_channels and maps[one.skip_from].size != one.size for one in maps)
    names["skip"] = f"skip connection: {'cut to size, ' * is_cut}laid beside"
    if any(one.shortcut_from >= 0 for one in maps):
        names["shortcut"] = "shortcut of a block: added"
    return names


def _pixels(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _short(size: Size) -> str:
    return f"{size[0]}²" if size[0] == size[1] else _pixels(size)
