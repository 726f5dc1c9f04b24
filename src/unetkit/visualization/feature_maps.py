"""Feature maps of a U-Net, followed through the layers of the model.

`list_feature_maps` follows a model from image to logits and lists each feature map with its
channels and size. Layers are recognised by their type, not by their name, so that models written by
hand are accepted, and the list always matches the model. Where two paths meet, the one through more
layers is the main path; the other is a skip connection, or the shortcut of a residual block.
Drawing the list is left to `unet_diagram`.
"""

from dataclasses import dataclass, replace

import keras
from keras import layers

from unetkit.errors import ConfigError, SizeError

_Size = tuple[int, int]


@dataclass(frozen=True)
class FeatureMap:
    """A feature map, drawn as a box: the output of a layer for an image of a given size.

    Args:
        name: Name of the layer that computes the feature map, or that concatenates it with a skip.
        step: Kind of layer: "image", "convolution", "strided", "pooling", "up" or "pointwise".
        window: (height, width) of the layer's kernel or pooling window; (0, 0) for the image.
        size: (height, width) of the feature map.
        channels: Number of channels, without those of a skip connection.
        row: Number of times that the image has been halved; a stride of 4 halves it twice.
        skip_channels: Number of channels of a skip connection; 0 for none.
        skip_from: Index of the feature map where the skip connection starts; -1 for none.
        shortcut_from: Index of the feature map that is added to this one; -1 for none.
    """

    name: str
    step: str
    window: _Size
    size: _Size
    channels: int
    row: int
    skip_channels: int = 0
    skip_from: int = -1
    shortcut_from: int = -1


def list_feature_maps(model: keras.Model, size: int | _Size) -> list[FeatureMap]:
    """Lists the feature maps of a U-Net, from the image to the logits.

    Args:
        model: Functional model with one image as input and one output, such as from `build_unet`.
        size: Size of the image in pixels: one side, or (height, width).

    Returns:
        Feature maps along the main path; skip connections and shortcuts refer to their indices.

    Raises:
        ConfigError: The model is not a U-Net.
        SizeError: The model does not accept images of this size.

    >>> from unetkit.models.unet import build_unet
    >>> [m.size[0] for m in list_feature_maps(build_unet("paper"), 572) if m.row == 0]
    [572, 570, 568, 392, 390, 388, 388]
    """
    graph = _Graph(model)
    shapes = _output_shapes(model, (size, size) if isinstance(size, int) else size)
    maps: list[FeatureMap] = []
    place: dict[str, int] = {}  # index of the feature map of each layer of the main path
    for layer in graph.main_path():
        shape = shapes[layer.name]
        step = _step(layer)
        if step:
            row = maps[-1].row + _rows_below(layer, step) if maps else 0
            maps.append(
                FeatureMap(layer.name, step, _window(layer), (shape[1], shape[2]), shape[3], row)
            )
        elif isinstance(layer, layers.Concatenate):
            skip = graph.side_input(layer)
            if shapes[skip.name][1:3] != maps[-1].size:
                raise _size_error(model, maps[0].size)
            maps[-1] = replace(
                maps[-1],
                name=layer.name,
                skip_channels=shapes[skip.name][3],
                skip_from=graph.origin(skip, place),
            )
        elif isinstance(layer, layers.Add):
            maps[-1] = replace(maps[-1], shortcut_from=graph.origin(graph.side_input(layer), place))
        place[layer.name] = len(maps) - 1
    if not any(one.step == "up" for one in maps) or not any(one.skip_channels for one in maps):
        raise _not_a_unet(model, "it has no transposed convolution followed by a skip connection")
    return maps


def _not_a_unet(model: object, why: str) -> ConfigError:
    name = getattr(model, "name", type(model).__name__)
    return ConfigError(
        f"model {name!r} cannot be drawn as a U-Net: {why}; accepted are functional Keras models "
        "with one image as input, one output, an encoder, a decoder and skip connections, such as "
        "those of unetkit.build_unet"
    )


def _output_shapes(model: keras.Model, size: _Size) -> dict[str, tuple[int, ...]]:
    """Returns the output shape of each layer for one image, (1, H, W, C), by its name."""
    probe = keras.Model(model.inputs, {layer.name: layer.output for layer in model.layers})
    try:
        image = keras.KerasTensor((1, *size, model.inputs[0].shape[-1]))
        return {name: tensor.shape for name, tensor in probe.compute_output_spec(image).items()}
    except SizeError as error:
        raise SizeError(str(error).splitlines()[-1]) from error  # Keras puts other lines before it
    except (ValueError, TypeError) as error:
        raise _size_error(model, size) from error


def _size_error(model: keras.Model, size: _Size) -> SizeError:
    return SizeError(
        f"image size {'x'.join(map(str, size))} does not fit model {model.name!r}; accepted are "
        "two integers that every pooling can halve; use a multiple of 32"
    )


class _Graph:
    """Connections of the layers of a functional model."""

    def __init__(self, model: keras.Model) -> None:
        if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
            raise _not_a_unet(model, "it is not a functional model")
        if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.inputs[0].shape) != 4:
            raise _not_a_unet(
                model, "it has several inputs or outputs, or its input is not an image"
            )
        try:
            self._connect(model)
        except (
            AttributeError,
            KeyError,
            ValueError,
        ) as error:  # a layer has several outputs, or an unknown one
            raise _not_a_unet(model, "a layer is used twice, or is itself a model") from error

    def _connect(self, model: keras.Model) -> None:
        makers = {id(layer.output): layer for layer in model.layers}
        self._last = makers[id(model.outputs[0])]
        self._parents: dict[str, list[keras.Layer]] = {}
        self._depth: dict[str, int] = {}
        for layer in model.layers:  # in Keras's order, inputs of a layer come before it
            taken = [] if isinstance(layer, layers.InputLayer) else layer.input
            taken = taken if isinstance(taken, list) else [taken]
            self._parents[layer.name] = [makers[id(tensor)] for tensor in taken]
            depths = [self._depth[parent.name] for parent in self._parents[layer.name]]
            self._depth[layer.name] = 1 + max(depths, default=0)

    def _main_input(self, layer: keras.Layer) -> keras.Layer | None:
        """Returns the input of a layer on the main path."""
        parents = self._parents[layer.name]
        return max(parents, key=lambda parent: self._depth[parent.name], default=None)

    def main_path(self) -> list[keras.Layer]:
        """Returns the layers from image to logits, without skip connections and shortcuts."""
        found: list[keras.Layer] = []
        layer: keras.Layer | None = self._last
        while layer is not None:
            found.append(layer)
            layer = self._main_input(layer)
        return found[::-1]

    def side_input(self, layer: keras.Layer) -> keras.Layer:
        """Returns the input of a merging layer that is not on the main path."""
        main = self._main_input(layer)
        return next(parent for parent in self._parents[layer.name] if parent is not main)

    def origin(self, layer: keras.Layer | None, place: dict[str, int]) -> int:
        """Returns the index of the feature map where a side path starts."""
        while layer is not None and layer.name not in place:
            layer = self._main_input(layer)
        return place[layer.name] if layer is not None else -1


def _step(layer: keras.Layer) -> str:
    """Returns the kind of a layer that computes a new feature map; "" for other layers."""
    if isinstance(layer, layers.InputLayer):
        return "image"
    if isinstance(layer, layers.MaxPooling2D):
        return "pooling"
    if isinstance(layer, layers.Conv2DTranspose):
        return "up"
    if isinstance(layer, layers.DepthwiseConv2D):  # part of a block, unless the size changes
        return "strided" if max(layer.strides) > 1 else ""
    if isinstance(layer, layers.Conv2D):
        if max(layer.strides) > 1:
            return "strided"
        return "pointwise" if max(layer.kernel_size) == 1 else "convolution"
    return ""


def _rows_below(layer: keras.Layer, step: str) -> int:
    """Number of rows between the output of a layer and its input."""
    if step in ("pooling", "strided"):
        return max(layer.strides).bit_length() - 1
    return -1 if step == "up" else 0


def _window(layer: keras.Layer) -> _Size:
    height, width = getattr(layer, "kernel_size", getattr(layer, "pool_size", (0, 0)))
    return height, width
