"""The ONNX graph of a U-Net, written from its Keras layers and their weights.

No framework is traced, so that the graph is the same on every Keras backend. Keras's own export has
another converter on each of them (tf2onnx, jax2onnx, torch.onnx), and with it another graph. ONNX
has channels before rows and columns, Keras after them: features are transposed once at either end.

BatchNorm is folded into the convolution that it follows. Paddings are constants, which are right
for every valid size of the network; so a graph without fixed sizes is no slower than one with them.

Where a skip connection joins features with the image, whose few channels would leave the next
convolution without the fast kernels of ONNX Runtime, each has a convolution of its own, and the two
are added.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from unetkit.errors import ModelFileError
from unetkit.models.keras_encoders import Gelu
from unetkit.models.normalization import LayerNormalization
from unetkit.models.onnx_runtime import OPSET
from unetkit.models.spec import ModelSpec
from unetkit.models.unet import SizeCheck

IR_VERSION = 8  # of the same release of ONNX: later ones are refused by older runtimes
CHANNELS_FIRST, CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
INPUT, OUTPUT = "image", "logits"
CHANNEL_MULTIPLE = 4  # ONNX Runtime's fast kernels take features of multiples of it


def onnx_model(model: keras.Model, spec: ModelSpec) -> Any:
    """The network of `spec` as an ONNX model, from pixel values to logits, without metadata.

    Args:
        model: U-Net for normalised images, in single precision.
        spec: Metadata of the network: its levels, normalisation, sizes and scale.

    Returns:
        An `onnx.ModelProto`. Its input "image" is (B, H, W, C) float32 and its output "logits"
        (B, H', W', K) float32, both without fixed sizes if the scale is native.

    Raises:
        ModelFileError: The network has a layer of a kind that is not in CONVERTERS.
    """
    from onnx import TensorProto, helper  # imported here: half a second, and only needed to export

    graph = _Graph()
    # Names of the features of a tensor; several, if they are not joined.
    features = {id(model.input): [graph.prepare(spec)]}
    consumers: dict[int, list[keras.Layer]] = defaultdict(list)
    for layer in model.layers[1:]:
        for tensor in _inputs_of(layer):
            consumers[id(tensor)].append(layer)
    widths: dict[int, list[int]] = {}  # channels of features that are not joined
    folded: set[str] = set()
    for layer in model.layers[1:]:
        names = [name for tensor in _inputs_of(layer) for name in features[id(tensor)]]
        if isinstance(layer, CONVOLUTIONS):
            following = consumers[id(layer.output)]
            norm = following[0] if len(following) == 1 else None
            if isinstance(norm, layers.BatchNormalization):
                folded.add(norm.name)
            else:
                norm = None
            parts = widths.get(id(layer.input), [layer.input.shape[-1]])
            features[id(layer.output)] = [graph.convolution(layer, names, parts, norm)]
        elif layer.name in folded:
            features[id(layer.output)] = names
        elif _stays_apart(layer, consumers[id(layer.output)]):
            features[id(layer.output)] = names
            widths[id(layer.output)] = [tensor.shape[-1] for tensor in layer.input]
        else:
            features[id(layer.output)] = [_converter(layer)(graph, layer, names)]
    graph.add("Transpose", features[id(model.output)], "last", OUTPUT, perm=CHANNELS_LAST)

    sizes: list[Any] = ["height", "width"]
    output_sizes: list[Any] = ["output_height", "output_width"]
    if not spec.scale.is_native:
        sizes = [spec.geometry.input_size(size) for size in (spec.scale.height, spec.scale.width)]
        output_sizes = [spec.geometry.output_size(size) for size in sizes]
    shapes = {
        INPUT: ["batch", *sizes, model.input.shape[-1]],
        OUTPUT: ["batch", *output_sizes, model.output.shape[-1]],
    }
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    made = helper.make_graph(
        graph.nodes, model.name, [values[INPUT]], [values[OUTPUT]], initializer=graph.arrays
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION)


class _Graph:
    """Nodes and arrays of a graph; features are known by the names of their outputs."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []

    def add(
        self, kind: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any
    ) -> str:
        """Adds an operation, and returns the name of its output."""
        from onnx import helper

        output = output or f"{name}/output"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: type = np.float32) -> str:
        """Adds an array, and returns its name."""
        from onnx import numpy_helper

        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name))
        return name

    def prepare(self, spec: ModelSpec) -> str:
        """From pixel values to normalised features, (B, C, H, W)."""
        steps: list[tuple[str, list[Any]]] = []
        if not spec.pixels.is_common_scale:
            low, factor = spec.pixels.factors()
            steps = [("Sub", [low]), ("Mul", [factor]), ("Clip", [0.0, 255.0])]
        normalization = spec.normalization
        steps += [("Mul", [normalization.multiply]), ("Add", [normalization.add])]
        name = INPUT
        for number, (kind, values) in enumerate(steps):
            constants = [
                self.constant(f"prepare{number}/{place}", value)
                for place, value in enumerate(values)
            ]
            name = self.add(kind, [name, *constants], f"prepare{number}")
        return self.add("Transpose", [name], "first", perm=CHANNELS_FIRST)

    def affine(self, features: str, scale: np.ndarray, shift: np.ndarray, name: str) -> str:
        """Adds a multiplication and an addition of a number for each channel, (C,) or (1,) each."""
        if (scale != 1).any():
            constant = self.constant(f"{name}/scale", scale.reshape(-1, 1, 1))
            features = self.add("Mul", [features, constant], f"{name}/scaled")
        return self.add(
            "Add", [features, self.constant(f"{name}/shift", shift.reshape(-1, 1, 1))], name
        )

    def convolution(
        self,
        layer: keras.Layer,
        names: Sequence[str],
        widths: Sequence[int],
        norm: keras.Layer | None,
    ) -> str:
        """Adds a convolution, with the BatchNorm that follows it.

        Args:
            layer: Convolution of Keras.
            names: Names of its features; those of several are convolved one by one, and added.
            widths: Number of channels of each.
            norm: BatchNorm that follows it; None for none.

        Returns:
            The name of its output.
        """
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        size = kernel.shape[:2]
        attributes: dict[str, Any] = {
            "kernel_shape": size,
            "strides": layer.strides,
            "dilations": layer.dilation_rate,
        }
        kind = "Conv"
        reach = [d * (side - 1) + 1 for side, d in zip(size, layer.dilation_rate, strict=True)]
        attributes["pads"] = _pads(reach, layer)
        if isinstance(layer, layers.DepthwiseConv2D):
            attributes["group"] = kernel.shape[2]
            weights = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *size)
        else:
            weights = kernel.transpose(3, 2, 0, 1)
            if isinstance(layer, layers.Conv2DTranspose):
                kind = "ConvTranspose"
                attributes["output_padding"] = [
                    max(0, stride - side) for side, stride in zip(size, layer.strides, strict=True)
                ]
            else:
                attributes["group"] = layer.groups

        channel = 1 if kind == "ConvTranspose" else 0
        bias = np.zeros(weights.shape[channel])
        if layer.use_bias:
            bias = keras.ops.convert_to_numpy(layer.bias).astype(np.float64)
        if norm is not None:
            scale, shift = _affine(norm)
            shape = [1] * weights.ndim
            shape[channel] = -1
            weights, bias = weights * scale.reshape(shape), bias * scale + shift
        if len(names) == 1:
            constants = [
                self.constant(f"{layer.name}/kernel", weights),
                self.constant(f"{layer.name}/bias", bias),
            ]
            return self.add(kind, [*names, *constants], layer.name, **attributes)
        outputs = []
        for place, part in enumerate(np.split(weights, np.cumsum(widths)[:-1], axis=1)):
            name = f"{layer.name}/part{place}"
            constants = [self.constant(f"{name}/kernel", part)]
            if place == 0:
                constants.append(self.constant(f"{layer.name}/bias", bias))
            outputs.append(self.add(kind, [names[place], *constants], name, **attributes))
        return self.add("Add", outputs, layer.name)


def _stays_apart(layer: keras.Layer, consumers: Sequence[keras.Layer]) -> bool:
    """Whether features are convolved one by one, in place of their concatenation.

    Some have a number of channels that fast kernels take, and the sum of all has not.
    """
    if not isinstance(layer, layers.Concatenate) or len(consumers) != 1:
        return False
    if type(consumers[0]) is not layers.Conv2D or consumers[0].groups != 1:
        return False
    widths = [tensor.shape[-1] for tensor in layer.input]
    return sum(widths) % CHANNEL_MULTIPLE != 0 and any(
        width % CHANNEL_MULTIPLE == 0 for width in widths
    )


def _pads(size: Sequence[int], layer: keras.Layer) -> list[int]:
    """Rows and columns that a layer with a kernel of a size pads: top, left, bottom, right.

    With "same", of inputs whose size is a multiple of the stride, as every valid size is.
    """
    if layer.padding != "same":
        return [0, 0, 0, 0]
    missing = [max(0, side - stride) for side, stride in zip(size, layer.strides, strict=True)]
    return [pixels // 2 for pixels in missing] + [pixels - pixels // 2 for pixels in missing]


def _affine(norm: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a BatchNorm in prediction, (C,) float64 each."""
    gamma, beta, mean, variance = (
        keras.ops.convert_to_numpy(value).astype(np.float64)
        for value in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _normalization(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    return graph.affine(names[0], *_affine(layer), layer.name)


def _layer_normalization(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    def add(kind: str, inputs: Sequence[str], part: str, **attributes: Any) -> str:
        return graph.add(kind, inputs, f"{layer.name}/{part}", **attributes)

    mean = add("ReduceMean", names, "mean", axes=[1])
    centred = add("Sub", [*names, mean], "centred")
    square = add("Mul", [centred, centred], "square")
    variance = add("ReduceMean", [square], "variance", axes=[1])
    epsilon = graph.constant(f"{layer.name}/epsilon", layer.epsilon)
    deviation = add("Sqrt", [add("Add", [variance, epsilon], "positive")], "deviation")
    normalized = add("Mul", [centred, add("Reciprocal", [deviation], "factor")], "normalized")
    gamma, beta = (keras.ops.convert_to_numpy(value) for value in (layer.gamma, layer.beta))
    return graph.affine(normalized, gamma, beta, layer.name)


def _rescaling(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    scale, shift = (np.atleast_1d(value) for value in (layer.scale, layer.offset))
    return graph.affine(names[0], scale, shift, layer.name)


def _gelu(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    def constant(part: str, value: float) -> str:
        return graph.constant(f"{layer.name}/{part}", value)

    inner = graph.add("Mul", [*names, constant("root", 0.5**0.5)], f"{layer.name}/inner")
    erf = graph.add("Erf", [inner], f"{layer.name}/erf")
    above = graph.add("Add", [erf, constant("one", 1.0)], f"{layer.name}/above")
    factor = graph.add("Mul", [above, constant("half", 0.5)], f"{layer.name}/factor")
    return graph.add("Mul", [*names, factor], layer.name)


def _zero_padding(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    pads = graph.constant(f"{layer.name}/pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
    return graph.add("Pad", [*names, pads], layer.name)


def _relu(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    if layer.max_value is None:
        return graph.add("Relu", names, layer.name)
    bounds = [
        graph.constant(f"{layer.name}/{which}", value)
        for which, value in (("min", 0.0), ("max", layer.max_value))
    ]
    return graph.add("Clip", [*names, *bounds], layer.name)


def _max_pooling(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    return graph.add(
        "MaxPool",
        names,
        layer.name,
        kernel_shape=layer.pool_size,
        strides=layer.strides,
        pads=_pads(layer.pool_size, layer),
    )


def _cropping(graph: _Graph, layer: keras.Layer, names: Sequence[str]) -> str:
    bounds = [
        graph.constant(f"{layer.name}/{which}", values, np.int64)
        for which, values in (
            ("start", [first for first, _ in layer.cropping]),
            ("end", [-last or np.iinfo(np.int64).max for _, last in layer.cropping]),
            ("axes", [2, 3]),
        )
    ]
    return graph.add("Slice", [*names, *bounds], layer.name)


CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D)
# What makes nodes of a layer and its inputs, and returns the name of its output.
CONVERTERS: dict[type, Callable[[_Graph, keras.Layer, Sequence[str]], str]] = {
    layers.Add: lambda graph, layer, names: graph.add("Add", names, layer.name),
    layers.BatchNormalization: _normalization,
    layers.Concatenate: lambda graph, layer, names: graph.add("Concat", names, layer.name, axis=1),
    layers.Cropping2D: _cropping,
    layers.Dropout: lambda graph, layer, names: names[0],
    Gelu: _gelu,
    LayerNormalization: _layer_normalization,
    layers.MaxPooling2D: _max_pooling,
    layers.ReLU: _relu,
    layers.Rescaling: _rescaling,
    layers.ZeroPadding2D: _zero_padding,
    SizeCheck: lambda graph, layer, names: names[0],
}


def _converter(layer: keras.Layer) -> Callable[[_Graph, keras.Layer, Sequence[str]], str]:
    for kind, convert in CONVERTERS.items():
        if isinstance(layer, kind):
            return convert
    accepted = sorted(kind.__name__ for kind in (*CONVOLUTIONS, *CONVERTERS))
    raise ModelFileError(
        f"layer {layer.name!r} is of the kind {type(layer).__name__}, which is not exported; "
        f"accepted are {', '.join(accepted)}"
    )


def _inputs_of(layer: keras.Layer) -> list[Any]:
    return layer.input if isinstance(layer.input, list) else [layer.input]
