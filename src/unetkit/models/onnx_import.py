"""From an exported ONNX file back to a Keras network that answers the same.

The file may come from a stranger, so nothing of it is run: its graph is compared with the one that
`build_unet` makes, layer by layer from the image to the logits, and each layer's arrays are taken
where they are found. Names in the graph are not relied on: converters make them up, and let layers
share an array that is the same in both.

Exporting folds BatchNorm into the convolution before it. The convolution gets the folded kernel,
and the BatchNorm, which stays behind it, becomes the identity plus a shift: gamma 1, variance 1,
mean 0, beta the folded shift. The answers are the same to rounding; gamma and the statistics that
training had found are not in the file.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from unetkit.errors import ConfigError, DataNotFoundError, ModelFileError
from unetkit.models.spec import METADATA_KEY, ModelSpec, spec_from_json
from unetkit.models.unet import FrozenBatchNormalization, UNetConfig, build_unet

LARGEST_FILE = 1 << 30  # bytes; the paper's network has an eighth of it
# Operations after which the same features are still the same: other axes, other edges.
ARRANGING = {"Identity", "Transpose", "Unsqueeze", "Reshape", "Slice", "Pad"}
PREPARING = {"Sub", "Mul", "Div", "Add", "Clip", "Min", "Max"}  # pixels to what the network sees


@dataclass(frozen=True)
class Exported:
    """What an exported file says of its network.

    Args:
        path: The file.
        spec: Its metadata.
        network: Its configuration; `dropout` and `initializer`, which no file has, are those of
            `UNetConfig`.
        graph: The ONNX graph.
    """

    path: Path
    spec: ModelSpec
    network: UNetConfig
    graph: Any


def read_exported(path: str | Path) -> Exported:
    """Reads an exported file without running it, nor any other file that it names.

    Raises:
        DataNotFoundError: It does not exist.
        ModelFileError: It is not a model that unetkit exported, or larger than 1 GiB.
    """
    # Imported here: they take half a second, and most trainings start from nothing.
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(
            f"model {path} does not exist; accepted is a run folder or an .onnx file; check the "
            "path"
        )
    if path.stat().st_size > LARGEST_FILE:
        raise ModelFileError(
            f"{path} has {path.stat().st_size / 2**30:.1f} GiB; accepted are .onnx files up to "
            f"{LARGEST_FILE >> 30} GiB; name the run folder that it was exported from"
        )
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise ModelFileError(
            f"{path} is not an ONNX file ({error}); accepted is a run folder or an .onnx file that "
            "unetkit exported; check the path"
        ) from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{path} was not exported by unetkit: it does not say what its network is; accepted is "
            "a run folder or an .onnx file from unetkit export; export one"
        )
    spec = spec_from_json(metadata[METADATA_KEY], str(path))
    return Exported(path, spec, _network_of(spec, path), model.graph)


def _network_of(spec: ModelSpec, path: Path) -> UNetConfig:
    """The configuration whose layers are those that the file lists."""
    rows = {row.name: row for row in spec.layers}
    kinds = {row.kind for row in spec.layers}
    try:
        filters: list[int] = []
        while (name := f"encoder{len(filters)}_conv1") in rows:
            filters.append(rows[name].output_shape[-1] or 0)
        if "FrozenBatchNormalization" in kinds:
            normalization = "frozen"
        else:
            normalization = "batch" if "BatchNormalization" in kinds else "none"
        taps = (rows["decoder0_up"].parameters - filters[0]) // (filters[0] * filters[1])
        return UNetConfig(
            filters=tuple(filters),
            padding="valid" if spec.geometry.margin else "same",
            normalization=normalization,
            residual="encoder0_add" in rows,
            stem_stride=2 if "stem" in rows else 1,
            up_kernel=math.isqrt(max(0, taps)),
            up_activation="relu" if "decoder0_up_relu" in rows else "linear",
            head_filters=(rows["head"].output_shape[-1] or 0) if "head" in rows else 0,
        )
    except (KeyError, IndexError, ZeroDivisionError, ConfigError) as error:
        raise ModelFileError(
            f"{path} lists no layers of a U-Net ({error}); accepted are models that unetkit "
            "exported; name the run folder that it was exported from"
        ) from error


def rebuild(exported: Exported) -> keras.Model:
    """The Keras network of an exported file: normalised images to logits, as `build_unet` has it.

    Raises:
        ModelFileError: The graph is not that of the network which the file describes, an array has
            another shape, lies in another file, or holds numbers that are not finite.
    """
    spec = exported.spec
    model = build_unet(
        exported.network, in_channels=spec.pixels.channels, num_classes=len(spec.classes)
    )
    graph = _Graph(exported)
    features = {id(model.input): graph.after_preparation()}
    unfinished: dict[str, np.ndarray] = {}  # shifts that belong to the BatchNorm that comes next
    for layer in model.layers[1:]:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        names = [features[id(tensor)] for tensor in inputs]
        name = names[0]
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            name, kernel, shift = graph.convolution(name, layer)
            layer.set_weights([kernel, shift] if layer.use_bias else [kernel])
            if not layer.use_bias:
                unfinished[name] = shift
        elif isinstance(layer, layers.BatchNormalization):
            start = unfinished.pop(name, np.zeros(layer.gamma.shape, np.float32))
            name, scale, shift = graph.affine(name, start)
            _set_identity(layer, scale, shift)
        elif type(layer) in OPERATIONS:
            name = graph.only(names, OPERATIONS[type(layer)], layer.name).output[0]
        features[id(layer.output)] = name
    return model


OPERATIONS: dict[type, str] = {  # layers without weights that are an operation of the graph
    layers.ReLU: "Relu",
    layers.MaxPooling2D: "MaxPool",
    layers.Add: "Add",
    layers.Concatenate: "Concat",
}


def _set_identity(layer: keras.Layer, scale: np.ndarray, shift: np.ndarray) -> None:
    """Makes a BatchNorm that multiplies by `scale` and adds `shift`, (C,) float32 each."""
    epsilon = np.float32(layer.epsilon)
    if isinstance(layer, FrozenBatchNormalization):
        mean, variance = np.zeros_like(scale), np.ones_like(scale)  # they stay what they are
    else:
        mean, variance = np.zeros_like(scale), np.ones_like(scale) - epsilon
    layer.set_weights([scale * np.sqrt(variance + epsilon), shift, mean, variance])


class _Graph:
    """The nodes of an ONNX graph, to be found by what goes into them."""

    def __init__(self, exported: Exported) -> None:
        self.path = exported.path
        self.input = exported.graph.input[0].name if exported.graph.input else ""
        self.arrays = {array.name: array for array in exported.graph.initializer}
        self.same: dict[str, str] = {}  # what was only arranged, by what it was before
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        for node in exported.graph.node:
            if node.op_type in ARRANGING and node.input and node.output:
                self.same[node.output[0]] = self._before(node.input[0])
            for name in {self._before(name) for name in node.input}:
                self.consumers[name].append(node)

    def _before(self, name: str) -> str:
        return self.same.get(name, name)

    def after_preparation(self) -> str:
        """What the network's first convolution takes, behind levels and normalisation."""
        name, seen = self.input, set()
        while name not in seen and not self._nodes([name], "Conv"):
            seen.add(name)
            steps = [n for n in self.consumers[name] if n.op_type in PREPARING and n.output]
            if len(steps) == 1:
                name = steps[0].output[0]
        if not self._nodes([name], "Conv"):
            raise self._unknown("image")
        return name

    def convolution(self, name: str, layer: keras.Layer) -> tuple[str, np.ndarray, np.ndarray]:
        """What a convolution gives, and its kernel and bias as Keras has them."""
        kind = "Conv" if isinstance(layer, layers.Conv2D) else "ConvTranspose"
        # Both kinds have the same axes in reverse: rows and columns come last here, first there.
        shape = tuple(layer.kernel.shape)
        wanted = shape[3], shape[2], shape[0], shape[1]
        nodes = [n for n in self._nodes([name], kind) if self._shape(n.input[1]) == wanted]
        if len(nodes) != 1:
            raise self._unknown(layer.name)
        kernel = self._array(nodes[0].input[1], layer.name).transpose(2, 3, 1, 0)
        shift = np.zeros(layer.filters, np.float32)  # a bias of 0 is left out
        if len(nodes[0].input) > 2:
            shift = shift + self._channels(nodes[0].input[2], layer.filters, layer.name)
        output = nodes[0].output[0]
        if layer.use_bias:  # else what is added belongs to the BatchNorm
            output, _, shift = self.affine(output, shift, kinds=("Add",))
        return output, kernel, shift

    def affine(
        self, name: str, shift: np.ndarray, kinds: Sequence[str] = ("Mul", "Add")
    ) -> tuple[str, np.ndarray, np.ndarray]:
        """What follows features once constants are multiplied and added, in this order, and both.

        Args:
            shift: (C,) of what was added so far.
        """
        scale = np.ones_like(shift)
        for kind in kinds:
            for node in self._nodes([name], kind):
                constants = [other for other in node.input if other in self.arrays]
                if len(node.input) == 2 and len(constants) == 1 and node.output:
                    values = self._channels(constants[0], len(shift), name)
                    if kind == "Mul":
                        scale, shift = scale * values, shift * values
                    else:
                        shift = shift + values
                    name = node.output[0]
                    break
        return name, scale, shift

    def only(self, names: Sequence[str], kind: str, layer: str) -> Any:
        """The one node of this kind that takes these features."""
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
        """A constant as one number a channel."""
        if name not in self.arrays or math.prod(self._shape(name)) not in (1, count):
            raise self._unknown(layer)
        return np.broadcast_to(self._array(name, layer).ravel(), (count,)).copy()

    def _array(self, name: str, layer: str) -> np.ndarray:
        from onnx import TensorProto, numpy_helper

        proto = self.arrays[name]
        if proto.data_location == TensorProto.EXTERNAL or proto.data_type != TensorProto.FLOAT:
            raise self._unknown(layer)
        try:
            values = numpy_helper.to_array(proto)
        except (ValueError, TypeError) as error:
            raise self._unknown(layer) from error
        if not np.isfinite(values).all():
            raise self._unknown(layer)
        return values

    def _unknown(self, layer: str) -> ModelFileError:
        return ModelFileError(
            f"the weights of {layer!r} cannot be read from {self.path}: its graph or its arrays "
            "are not as unetkit exports them; accepted are files as they were exported; name the "
            "run folder instead"
        )
