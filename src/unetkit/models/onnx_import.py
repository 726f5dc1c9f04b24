"""Import of an exported ONNX file as a Keras network with the same output.

The file is not trusted, so its graph is not run: it is matched with the network of `build_unet`,
layer by layer from the image to the logits, and each layer's arrays are read from the matching
nodes. Names in the graph are not used: converters invent them, and let layers with equal arrays
share one.

Exporting folds BatchNorm into the preceding convolution. The imported convolution has the folded
kernel, and the BatchNorm after it becomes the identity plus a shift: gamma 1, variance 1, mean 0,
beta the folded shift. The output is the same up to rounding; the trained gamma and statistics are
not in the file.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from unetkit._shared.files import read_bytes
from unetkit.errors import ConfigError, DataNotFoundError, ModelFileError
from unetkit.models.encoders import encoder_of
from unetkit.models.keras_encoders import Gelu
from unetkit.models.normalization import LayerNormalization
from unetkit.models.onnx_check import is_checkable
from unetkit.models.spec import METADATA_KEY, Layer, ModelSpec, spec_from_json
from unetkit.models.unet import OWN_ENCODER, FrozenBatchNormalization, UNetConfig, build_unet

LARGEST_IMPORT = 1 << 30  # bytes; the network of the paper has an eighth of that
# Operations that keep the features: they change the order of axes, or the edges.
ARRANGING = {"Identity", "Transpose", "Unsqueeze", "Reshape", "Slice", "Pad"}
PREPARING = {
    "Sub",
    "Mul",
    "Div",
    "Add",
    "Clip",
    "Min",
    "Max",
}  # from pixel values to the input


@dataclass(frozen=True)
class Exported:
    """Content of an exported file.

    Args:
        path: Path of the file.
        spec: Metadata of the network.
        network: Architecture of the network; `dropout` and `initializer` are not in the file and
            have the defaults of `UNetConfig`.
        graph: ONNX graph of the network.
    """

    path: Path
    spec: ModelSpec
    network: UNetConfig
    graph: Any


def read_exported(path: str | Path) -> Exported:
    """Reads an exported file; its graph is not run, and files that it refers to are not read.

    Raises:
        DataNotFoundError: The file does not exist.
        ModelFileError: The file is not a model that unetkit exported, is damaged, or larger than
            1 GiB.
    """
    # Imported here: they take half a second, and most trainings start from random weights.
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(
            f"model {path} does not exist; accepted is a run folder or an .onnx file"
        )
    if path.stat().st_size > LARGEST_IMPORT:
        raise ModelFileError(
            f"{path} has {path.stat().st_size / 2**30:.1f} GiB; accepted are .onnx files up to "
            f"{LARGEST_IMPORT >> 30} GiB; use the run folder that it was exported from"
        )
    content = read_bytes(path, LARGEST_IMPORT)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise ModelFileError(
            f"{path} is not an ONNX file ({error}); accepted is a run folder or an .onnx file that "
            "unetkit exported"
        ) from error
    is_checkable(path, content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{path} was not exported by unetkit: it has no metadata of its network; accepted is a "
            "run folder or an .onnx file from unetkit export"
        )
    spec = spec_from_json(metadata[METADATA_KEY], str(path))
    return Exported(path, spec, _network_of(spec, path), model.graph)


def _network_of(spec: ModelSpec, path: Path) -> UNetConfig:
    """The architecture whose layers are those that the metadata list."""
    rows = {row.name: row for row in spec.layers}
    kinds = {row.kind for row in spec.layers}
    encoder = encoder_of(rows)
    has_own_encoder = encoder is None
    widths = "encoder{}_conv1" if has_own_encoder else "decoder{}_conv1"
    try:
        filters: list[int] = []
        while (name := widths.format(len(filters))) in rows:
            filters.append(rows[name].output_shape[-1] or 0)
        if "FrozenBatchNormalization" in kinds:
            normalization = "frozen"
        else:
            normalization = "batch" if "BatchNormalization" in kinds else "none"
        taps = 4
        if has_own_encoder:
            taps = (rows["decoder0_up"].parameters - filters[0]) // (filters[0] * filters[1])
        return UNetConfig(
            filters=tuple(filters),
            padding="valid" if spec.geometry.margin else "same",
            normalization=normalization,
            residual="decoder0_add" in rows,
            stem_stride=2 if "stem" in rows else 1,
            up_kernel=math.isqrt(max(0, taps)),
            up_activation="relu" if "decoder0_up_relu" in rows else "linear",
            head_filters=_width(rows, "head"),
            encoder=encoder or OWN_ENCODER,
            detail_filters=_width(rows, "detail_conv1"),
        )
    except (KeyError, IndexError, ZeroDivisionError, ConfigError) as error:
        raise ModelFileError(
            f"{path} lists no layers of a U-Net ({error}); accepted are models that unetkit "
            "exported; use the run folder that it was exported from"
        ) from error


def _width(rows: Mapping[str, Layer], name: str) -> int:
    return (rows[name].output_shape[-1] or 0) if name in rows else 0


def rebuild(exported: Exported) -> keras.Model:
    """Builds the Keras network of an exported file, from normalised images to logits.

    Raises:
        ModelFileError: The graph is not that of the network in the metadata; or an array has
            another shape, is in another file, or has values that are not finite.
    """
    spec = exported.spec
    model = build_unet(
        exported.network, in_channels=spec.pixels.channels, num_classes=spec.channels
    )
    graph = _Graph(exported)
    # Names of the features of a tensor; several, if the graph convolves them one by one.
    features = {id(model.input): [graph.after_preparation()]}
    unfinished: dict[str, np.ndarray] = {}  # shifts of the BatchNorm that follows
    for layer in model.layers[1:]:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        names = [name for tensor in inputs for name in features[id(tensor)]]
        name = names[0]
        if isinstance(layer, CONVOLUTIONS):
            name, kernel, shift = graph.convolution(names, layer)
            layer.set_weights([kernel, shift] if layer.use_bias else [kernel])
            if not layer.use_bias:
                unfinished[name] = shift
        elif isinstance(layer, layers.BatchNormalization):
            start = unfinished.pop(name, np.zeros(layer.gamma.shape, np.float32))
            name, scale, shift = graph.affine(name, start)
            _set_identity(layer, scale, shift)
        elif isinstance(layer, LayerNormalization):
            name, scale, shift = graph.layer_normalization(name, layer)
            layer.set_weights([scale, shift])
        elif isinstance(layer, layers.Rescaling):
            name = graph.rescaling(name, layer)
        elif isinstance(layer, Gelu):
            name = graph.gelu(name, layer.name)
        elif isinstance(layer, layers.ReLU) and layer.max_value is not None:
            name = graph.clip(name, float(layer.max_value), layer.name)
        elif isinstance(layer, layers.Concatenate) and not graph.joins(names):
            features[id(layer.output)] = names
            continue
        elif type(layer) in OPERATIONS:
            name = graph.only(names, OPERATIONS[type(layer)], layer.name).output[0]
        features[id(layer.output)] = [name]
    return model


def _strides(node: Any) -> tuple[int, ...]:
    found = [tuple(one.ints) for one in node.attribute if one.name == "strides"]
    return found[0] if found else (1, 1)


CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D)
OPERATIONS: dict[type, str] = {  # operations of layers without weights
    layers.ReLU: "Relu",
    layers.MaxPooling2D: "MaxPool",
    layers.Add: "Add",
    layers.Concatenate: "Concat",
}


def _set_identity(layer: keras.Layer, scale: np.ndarray, shift: np.ndarray) -> None:
    """Makes a BatchNorm that multiplies by `scale` and adds `shift`, (C,) float32 each."""
    epsilon = np.float32(layer.epsilon)
    if isinstance(layer, FrozenBatchNormalization):
        mean, variance = np.zeros_like(scale), np.ones_like(scale)  # as they always are
    else:
        mean, variance = np.zeros_like(scale), np.ones_like(scale) - epsilon
    layer.set_weights([scale * np.sqrt(variance + epsilon), shift, mean, variance])


class _Graph:
    """The nodes of an ONNX graph, found by their inputs."""

    def __init__(self, exported: Exported) -> None:
        self.path = exported.path
        self.input = exported.graph.input[0].name if exported.graph.input else ""
        self.arrays = {array.name: array for array in exported.graph.initializer}
        self.same: dict[str, str] = {}  # outputs of ARRANGING operations by name, and their inputs
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        self.makers: dict[str, Any] = {}
        for node in exported.graph.node:
            if node.op_type == "Cast" and node.output and node.input[0] in self.arrays:
                self.arrays[node.output[0]] = self.arrays[node.input[0]]  # in half precision
            if node.op_type in ARRANGING and node.input and node.output:
                self.same[node.output[0]] = self._before(node.input[0])
            elif node.output:
                self.makers[node.output[0]] = node
            for name in {self._before(name) for name in node.input}:
                self.consumers[name].append(node)

    def _before(self, name: str) -> str:
        return self.same.get(name, name)

    def after_preparation(self) -> str:
        """Name of the network's input, after scaling and normalisation.

        A convolution or the last skip connection takes it.
        """
        name, seen = self.input, set()
        while name not in seen and not self._is_prepared(name):
            seen.add(name)
            steps = [n for n in self.consumers[name] if n.op_type in PREPARING and n.output]
            if len(steps) == 1:
                name = steps[0].output[0]
        if not self._is_prepared(name):
            raise self._unknown("image")
        return name

    def _is_prepared(self, name: str) -> bool:
        return bool(self._nodes([name], "Conv") or self._nodes([name], "Concat"))

    def joins(self, names: Sequence[str]) -> bool:
        """Whether the graph has a concatenation of these features."""
        return bool(self._nodes(names, "Concat"))

    def convolution(
        self, names: Sequence[str], layer: keras.Layer
    ) -> tuple[str, np.ndarray, np.ndarray]:
        """Output name of a convolution, and its kernel and bias in the layout of Keras.

        Several features are convolved one by one, and added.
        """
        kind = "ConvTranspose" if isinstance(layer, layers.Conv2DTranspose) else "Conv"
        # Both kinds have the axes of Keras, with rows and columns last instead of first.
        is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
        axes = (2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1)
        shape = tuple(layer.kernel.shape)
        filters = shape[2] if is_depthwise else layer.filters
        wanted = tuple(shape[axis] for axis in axes)
        found = [
            nodes
            for nodes in itertools.product(*(self._nodes([name], kind) for name in names))
            if self._is_of_kernel(nodes, wanted)
            and all(_strides(node) == tuple(layer.strides) for node in nodes)
            and (len(nodes) == 1 or self._nodes([n.output[0] for n in nodes], "Add"))
        ]
        if len(found) != 1:
            raise self._unknown(layer.name)
        (nodes,) = found
        parts = [self._array(node.input[1], layer.name) for node in nodes]
        kernel = np.concatenate(parts, axis=1).transpose(np.argsort(axes))
        shift = np.zeros(filters, np.float32)  # a bias of 0 is not in the graph
        for node in nodes:
            if len(node.input) > 2:
                shift = shift + self._channels(node.input[2], filters, layer.name)
        output = nodes[0].output[0]
        if len(nodes) > 1:
            output = self.only([node.output[0] for node in nodes], "Add", layer.name).output[0]
        if layer.use_bias:  # else the added constant is that of the BatchNorm
            output, _, shift = self.affine(output, shift, kinds=("Add",))
        return output, kernel, shift

    def _is_of_kernel(self, nodes: Sequence[Any], shape: Sequence[int]) -> bool:
        """Whether the weights of nodes, joined along their channels, have a shape."""
        shapes = [self._shape(node.input[1]) for node in nodes if node.output]
        if len(shapes) != len(nodes) or any(len(one) != len(shape) for one in shapes):
            return False
        total = shapes[0][0], sum(one[1] for one in shapes), *shapes[0][2:]
        same = {(one[0], *one[2:]) for one in shapes}
        return total == tuple(shape) and len(same) == 1

    def affine(
        self, name: str, shift: np.ndarray, kinds: Sequence[str] = ("Mul", "Add")
    ) -> tuple[str, np.ndarray, np.ndarray]:
        """Follows features through a multiplication by and an addition of constants, if any.

        Args:
            name: Name of the features.
            shift: Shift so far, (C,) float32.
            kinds: Operations to follow, in their order in the graph.

        Returns:
            The name of the result, and the scale and shift, (C,) float32 each.
        """
        scale = np.ones_like(shift)
        for kind in kinds:
            for node in self._nodes([name], kind):
                constants = self._constants(node)
                if len(node.input) == 2 and len(constants) == 1 and node.output:
                    values = self._channels(constants[0], len(shift), name)
                    if kind == "Mul":
                        scale, shift = scale * values, shift * values
                    else:
                        shift = shift + values
                    name = node.output[0]
                    break
        return name, scale, shift

    def rescaling(self, name: str, layer: layers.Rescaling) -> str:
        """Follows an image through a multiplication and an addition, whose constants are known."""
        shift = np.asarray(layer.offset, np.float32)
        output, scale, found = self.affine(name, np.zeros_like(shift))
        if not (np.allclose(scale, layer.scale) and np.allclose(found, shift, atol=1e-6)):
            raise self._unknown(layer.name)
        return output

    def layer_normalization(
        self, name: str, layer: keras.Layer
    ) -> tuple[str, np.ndarray, np.ndarray]:
        """Output name of a layer normalisation, and its scale and shift, (C,) float32 each."""
        (mean,) = self.only([name], "ReduceMean", layer.name).output
        (centred,) = self.only([name, mean], "Sub", layer.name).output
        output, factor = self._product(centred, layer.name)
        scale = np.ones(layer.gamma.shape, np.float32)
        # The converter may multiply the smaller one of both factors by gamma.
        for constant in self._constants(self.makers[factor]) if factor in self.makers else ():
            scale = self._channels(constant, len(scale), layer.name)
        output, more, shift = self.affine(output, np.zeros_like(scale))
        return output, scale * more, shift

    def gelu(self, name: str, layer: str) -> str:
        """Follows features through x (1 + erf(x / sqrt(2))) / 2."""
        inner = [n for n in self._nodes([name], "Mul") if self._constants(n) and n.output]
        if len(inner) != 1:
            raise self._unknown(layer)
        self.only([inner[0].output[0]], "Erf", layer)
        return self._product(name, layer)[0]

    def _product(self, name: str, layer: str) -> tuple[str, str]:
        """Output of the only product of features with others, and the name of those."""
        own = self._before(name)
        found = []
        for node in self._nodes([name], "Mul"):
            others = {self._before(each) for each in node.input} - {own}
            if others and node.output and not self._constants(node):
                found.append((node.output[0], others.pop()))
        if len(found) != 1:
            raise self._unknown(layer)
        return found[0]

    def _constants(self, node: Any) -> list[str]:
        return [name for name in node.input if name in self.arrays]

    def clip(self, name: str, largest: float, layer: str) -> str:
        """Follows features through a ReLU with a largest value."""
        node = self.only([name], "Clip", layer)
        bounds = [bound for bound in node.input[1:] if bound in self.arrays]
        if [float(self._channels(bound, 1, layer)[0]) for bound in bounds] != [0.0, largest]:
            raise self._unknown(layer)
        output: str = node.output[0]
        return output

    def only(self, names: Sequence[str], kind: str, layer: str) -> Any:
        """The only node of this kind with these inputs."""
        nodes = self._nodes(names, kind)
        if len(nodes) != 1 or not nodes[0].output:
            raise self._unknown(layer)
        return nodes[0]

    def _nodes(self, names: Sequence[str], kind: str) -> list[Any]:
        wanted = [self._before(name) for name in names]
        return [
            node
            for node in self.consumers[wanted[0]]
            if node.op_type == kind
            and set(wanted) <= {self._before(name) for name in node.input}
            and (len(wanted) == 1 or len(node.input) == len(wanted))
        ]

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.arrays[name].dims) if name in self.arrays else ()

    def _channels(self, name: str, count: int, layer: str) -> np.ndarray:
        """A constant, with one number per channel."""
        if name not in self.arrays or math.prod(self._shape(name)) not in (1, count):
            raise self._unknown(layer)
        return np.broadcast_to(self._array(name, layer).ravel(), (count,)).copy()

    def _array(self, name: str, layer: str) -> np.ndarray:
        from onnx import TensorProto, numpy_helper

        proto = self.arrays[name]
        is_external = proto.data_location == TensorProto.EXTERNAL
        if is_external or proto.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            raise self._unknown(layer)
        try:
            values = numpy_helper.to_array(proto).astype(np.float32)
        except (ValueError, TypeError) as error:
            raise self._unknown(layer) from error
        if not np.isfinite(values).all():
            raise self._unknown(layer)
        return values

    def _unknown(self, layer: str) -> ModelFileError:
        return ModelFileError(
            f"the weights of {layer!r} cannot be read from {self.path}: its graph or its arrays "
            "are not as unetkit exports them; accepted are unchanged files of unetkit export; use "
            "the run folder instead"
        )
