"""Encoders of `keras.applications`, with the weights of ImageNet that Keras publishes.

A further one is an entry of KERAS_ENCODERS. Its layers are those of Keras's own constructor, made
again one by one, so that the file of its weights fits by the names of Keras:

    Keras                              here
    conv1_conv (ResNet50)              encoder1_resnet50_stem: the first convolution
    conv2_block1_1_conv                encoder2_conv2_block1_1_conv: of level 2
    dense layers over the channels     1x1 convolutions, with the same result
    convolutions of single channels    depthwise convolutions, with the same result
    LayerScale                         part of the weights of the layer before it
    preprocessing of pixel values      a shift of each channel, and the scale of the first kernel

Only backbones whose features depend on a bounded part of the image are possible, so that tiles can
be exact: no squeeze-and-excite, and no statistics of the whole image.
"""

import math
import os
import random
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from unetkit._shared.display import Display
from unetkit.errors import DataNotFoundError, ModelFileError
from unetkit.models.geometry import Steps
from unetkit.models.normalization import (
    IMAGE_DEVIATION,
    IMAGE_MEAN,
    MOMENTUM,
    BatchNormalization,
    LayerNormalization,
)

READ_SECONDS = 60.0  # longest time to wait for further bytes of a download
WEIGHTS_ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/"


@keras.saving.register_keras_serializable(package="unetkit")
class Gelu(layers.Layer):
    """x (1 + erf(x / sqrt(2))) / 2, as Keras's gelu, of operations that a model file can hold."""

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return inputs * (0.5 * (1.0 + ops.erf(inputs * math.sqrt(0.5))))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@dataclass(frozen=True)
class KerasEncoder:
    """A backbone of `keras.applications`.

    Args:
        constructor: Name of the function of `keras.applications`.
        ends: Name of the layer with the features of each level, from level 1, with a stride of
            2^level; None for a level without features. A sum that Keras leaves unnamed has the
            name of its last layer before, with the ending `_add`.
        steps: Convolutions and pooling of each level, for the receptive field; None as in `ends`.
            1x1 convolutions with a stride of 1 are left out.
        means: Red, green and blue that Keras's preprocessing subtracts, from 0 to 255.
        deviations: Divisors of red, green and blue after that.
        is_bgr: Whether the channels of the first kernel are blue, green and red.
        address: Address of the weights without the classifier.
        digest: MD5 or SHA-256 of this file, as Keras has it.
    """

    constructor: str
    ends: tuple[str | None, ...]
    steps: tuple[Steps | None, ...]
    means: tuple[float, float, float]
    deviations: tuple[float, float, float]
    is_bgr: bool
    address: str
    digest: str

    @property
    def weights_file(self) -> str:
        """Name of the file with the weights."""
        return self.address.rsplit("/", 1)[-1]


def _resnet(name: str, blocks: tuple[int, int, int, int], digest: str) -> KerasEncoder:
    """He et al., Deep Residual Learning for Image Recognition, CVPR 2016."""
    stages = tuple(enumerate(blocks, start=2))
    return KerasEncoder(
        constructor=name,
        ends=("conv1_relu", *(f"conv{stage}_block{count}_out" for stage, count in stages)),
        # Convolution and pooling of the stem are padded by 3 and 1 rows on each side; the later
        # stages begin with a 1x1 convolution with a stride of 2.
        steps=(
            ((7, 2, 3),),
            ((3, 2, 1), *[(3, 1)] * blocks[0]),
            *(((1, 2), *[(3, 1)] * count) for count in blocks[1:]),
        ),
        means=(123.68, 116.779, 103.939),
        deviations=(1.0, 1.0, 1.0),
        is_bgr=True,
        address=f"{WEIGHTS_ADDRESS}resnet/{name.lower()}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        digest=digest,
    )


def _convnext(name: str, blocks: tuple[int, int, int, int], digest: str) -> KerasEncoder:
    """Liu et al., A ConvNet for the 2020s, CVPR 2022."""
    size = name.removeprefix("ConvNeXt").lower()
    return KerasEncoder(
        constructor=name,
        ends=(
            None,  # the stem has a stride of 4
            *(
                f"convnext_{size}_stage_{stage}_block_{count - 1}_add"
                for stage, count in enumerate(blocks)
            ),
        ),
        steps=(
            None,
            ((4, 4), *[(7, 1)] * blocks[0]),
            *(((2, 2), *[(7, 1)] * count) for count in blocks[1:]),
        ),
        means=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        deviations=(0.229 * 255, 0.224 * 255, 0.225 * 255),
        is_bgr=False,
        address=f"{WEIGHTS_ADDRESS}convnext/convnext_{size}_notop.h5",
        digest=digest,
    )


KERAS_ENCODERS: dict[str, KerasEncoder] = {
    "resnet50": _resnet("ResNet50", (3, 4, 6, 3), "4d473c1dd8becc155b73f8504c6f6626"),
    "convnext_tiny": _convnext(
        "ConvNeXtTiny",
        (3, 3, 9, 3),
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
}


def keras_features(name: str, image: KerasTensor, depth: int) -> list[KerasTensor | None]:
    """Adds the layers of an encoder to a graph.

    Args:
        name: Key of KERAS_ENCODERS.
        image: Images, (B, H, W, C), as ENCODER_NORMALIZATION makes them.
        depth: Number of levels, 1 or more; the last one has the stride 2^depth.

    Returns:
        The features of the levels 1 to `depth`, (B, H / 2^l, W / 2^l, F_l) each; None for a level
        without features.
    """
    records = _records(name)
    shift = channel_shifts(name, image.shape[-1]).tolist()
    x = layers.Rescaling(1.0, offset=shift, name="encoder_shift")(image)
    made = {records[0].inputs[0]: x}
    for record in records:
        if record.level > depth:
            break
        made[record.source] = _apply(record, [made[source] for source in record.inputs])
    return [None if end is None else made[end] for end in KERAS_ENCODERS[name].ends[:depth]]


def channel_shifts(name: str, channels: int) -> np.ndarray:
    """Values added to the channels of a normalised image, so that 0 is the mean of ImageNet.

    Args:
        name: Key of KERAS_ENCODERS.
        channels: Number of channels.

    Returns:
        (channels,) float64: those of red, green and blue; their mean if there are not three
        channels.
    """
    shifts = (IMAGE_MEAN - np.array(KERAS_ENCODERS[name].means)) / IMAGE_DEVIATION
    return shifts if channels == 3 else np.full(channels, shifts.mean())


@dataclass(frozen=True)
class _Record:
    """A layer of Keras's constructor.

    Args:
        source: Its name there.
        name: Its name here.
        kind: Its class.
        inputs: Names there of the layers whose outputs it takes.
        config: Its arguments.
        level: Level of its output.
    """

    source: str
    name: str
    kind: str
    inputs: tuple[str, ...]
    config: Mapping[str, Any]
    level: int

    @property
    def is_depthwise(self) -> bool:
        return self.kind == "Conv2D" and self.config["groups"] == self.config["filters"]


@cache
def _records(name: str) -> tuple[_Record, ...]:
    """The layers of a backbone in their order, up to the features of the last level."""
    encoder = KERAS_ENCODERS[name]
    state = random.getstate()  # Keras draws seeds from it, here for weights without use
    model = _keras_model(encoder)
    random.setstate(state)
    records: list[_Record] = []
    level = 1
    for source, kind, inputs, config in _flat(model.get_config()):
        while encoder.ends[level - 1] is None:
            level += 1
        own = source.removeprefix(f"{name}_")
        if kind == "Conv2D" and all(record.kind != "Conv2D" for record in records):
            own = f"{name}_stem"
        records.append(_Record(source, f"encoder{level}_{own}", kind, inputs, config, level))
        if source == encoder.ends[level - 1]:
            level += 1
        if level > len(encoder.ends):
            break
    return tuple(records)


def _keras_model(encoder: KerasEncoder) -> keras.Model:
    constructor = getattr(keras.applications, encoder.constructor)
    return constructor(include_top=False, weights=None, input_shape=(None, None, 3))


def _flat(
    config: Mapping[str, Any],
) -> Iterator[tuple[str, str, tuple[str, ...], Mapping[str, Any]]]:
    """Name, class, inputs and arguments of each layer of a model, and of the models in it."""
    same: dict[str, str] = {}  # layers whose outputs have another name here
    for layer in config["layers"]:
        name, kind = layer["config"]["name"], layer["class_name"]
        inputs = tuple(same.get(source, source) for source in _sources(layer["inbound_nodes"]))
        if kind == "Sequential":
            for inner in layer["config"]["layers"]:
                if inner["class_name"] != "InputLayer":
                    yield inner["config"]["name"], inner["class_name"], inputs, inner["config"]
                    inputs = (inner["config"]["name"],)
            same[name] = inputs[0]
        elif kind != "InputLayer":
            if kind == "Add" and layer["module"] != "keras.layers":  # by "+", under any name
                same[name] = name = f"{inputs[-1].rpartition('_')[0]}_add"
            yield name, kind, inputs, layer["config"]


def _sources(node: Any) -> Iterator[str]:
    """Names of the layers whose outputs a serialised call takes."""
    if isinstance(node, list | tuple):
        for value in node:
            yield from _sources(value)
    elif isinstance(node, Mapping) and node.get("class_name") == "__keras_tensor__":
        yield node["config"]["keras_history"][0]
    elif isinstance(node, Mapping):
        yield from _sources(list(node.values()))


def _apply(record: _Record, inputs: list[KerasTensor]) -> KerasTensor:
    """The output of the layer that stands for one of Keras's."""
    kind, config, name = record.kind, record.config, record.name
    is_unchanged = kind == "Activation" and config["activation"] == "linear"
    if is_unchanged or kind in ("LayerScale", "Normalization"):
        return inputs[0]
    if kind == "Add":
        return layers.Add(name=name)(inputs)
    return _layer(record)(inputs[0])


def _layer(record: _Record) -> keras.Layer:
    kind, config, name = record.kind, record.config, record.name
    if kind in ("Conv2D", "Dense"):
        kept = {key: config[key] for key in ("strides", "padding") if key in config}
        kept |= {"use_bias": config["use_bias"], "name": name}
        if kind == "Dense":
            return layers.Conv2D(config["units"], 1, **kept)
        if record.is_depthwise:
            return layers.DepthwiseConv2D(config["kernel_size"], **kept)
        return layers.Conv2D(config["filters"], config["kernel_size"], **kept)
    if kind == "BatchNormalization":
        return BatchNormalization(momentum=MOMENTUM, epsilon=config["epsilon"], name=name)
    if kind == "LayerNormalization":
        return LayerNormalization(epsilon=config["epsilon"], name=name)
    if kind == "Activation" and config["activation"] == "relu":
        return layers.ReLU(name=name)
    if kind == "Activation" and config["activation"] == "gelu":
        return Gelu(name=name)
    if kind == "ZeroPadding2D":
        return layers.ZeroPadding2D(config["padding"], name=name)
    if kind == "MaxPooling2D":
        return layers.MaxPooling2D(
            config["pool_size"], config["strides"], config["padding"], name=name
        )
    raise NotImplementedError(f"{record.source} is a layer of the class {kind} with {config}")


def keras_weights(name: str, path: Path) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer of an encoder for images of three channels.

    Args:
        name: Key of KERAS_ENCODERS.
        path: File in a format of Keras, without the classifier: `save_weights`, or `save` to .h5.

    Returns:
        Arrays by the name of the layer in `keras_features`.

    Raises:
        ModelFileError: The file cannot be read, or is not of this network.
    """
    encoder = KERAS_ENCODERS[name]
    model = _keras_model(encoder)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{path} cannot be loaded ({str(error).splitlines()[0][:200]}); accepted are weights "
            f"of keras.applications.{encoder.constructor} with include_top=False, such as "
            f"{encoder.address}"
        ) from error
    arrays = dict(_arrays_of(model))
    names = {record.source: record.name for record in _records(name)}
    values: dict[str, list[np.ndarray]] = {}
    for record in _records(name):
        given = arrays.get(record.source, [])
        if record.kind == "LayerScale":
            scaled = names[record.inputs[0]]
            values[scaled] = [array * given[0] for array in values[scaled]]
        elif record.kind == "Dense":
            values[record.name] = [given[0][None, None], *given[1:]]
        elif record.is_depthwise:
            values[record.name] = [given[0].transpose(0, 1, 3, 2), *given[1:]]
        elif record.name.endswith(f"_{name}_stem"):
            values[record.name] = [_to_our_pixels(given[0], encoder), *given[1:]]
        elif given:
            values[record.name] = given
    return values


def _arrays_of(model: keras.Model) -> Iterator[tuple[str, list[np.ndarray]]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _arrays_of(layer)
        else:
            yield layer.name, layer.get_weights()


def _to_our_pixels(kernel: np.ndarray, encoder: KerasEncoder) -> np.ndarray:
    """The first kernel for red, green and blue as ENCODER_NORMALIZATION scales them."""
    if encoder.is_bgr:
        kernel = kernel[:, :, ::-1]
    scale = IMAGE_DEVIATION / np.array(encoder.deviations, np.float32)
    return kernel * scale[:, None]


def fetch_weights(name: str, display: Display) -> Path:
    """Path of an encoder's file of weights in Keras's cache, after a download if necessary.

    Args:
        name: Key of KERAS_ENCODERS.
        display: Shows that a file is downloaded.

    Raises:
        DataNotFoundError: The file is not in the cache, and cannot be downloaded; nothing of it is
            kept.
    """
    encoder = KERAS_ENCODERS[name]
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    target = home / "models" / encoder.weights_file
    if not target.exists():
        display.say(f"weights   downloading {encoder.address} to {target.parent}")
    home.mkdir(parents=True, exist_ok=True)  # else Keras keeps its files in the temporary folder
    try:
        with _quiet():
            path = keras.utils.get_file(
                encoder.weights_file,
                encoder.address,
                file_hash=encoder.digest,
                cache_subdir="models",
                cache_dir=str(home),
            )
    except Exception as error:  # Keras raises this class itself
        target.unlink(missing_ok=True)  # of wrong bytes
        raise DataNotFoundError(
            f"the weights of {name} could not be downloaded ({_reason(error)}); accepted is a "
            f"network connection, or the file {encoder.address} as {target}, or under any other "
            f'path in encoder_weights = "PATH.h5" of [training]; encoder_weights = "random" trains '
            "without them"
        ) from error
    return Path(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keras prints nothing, and waits for a server for READ_SECONDS only."""
    is_interactive = keras.config.is_interactive_logging_enabled()
    timeout = socket.getdefaulttimeout()
    keras.config.disable_interactive_logging()
    socket.setdefaulttimeout(READ_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        if is_interactive:
            keras.config.enable_interactive_logging()


def _reason(error: Exception) -> str:
    """What went wrong, without the address that Keras puts before it."""
    text = " ".join(str(error).split())
    return re.sub(r"^URL fetch failure on \S+: (None -- )?", "", text)[:200] or "no answer"
