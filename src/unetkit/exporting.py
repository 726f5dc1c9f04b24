"""From a trained Keras network to a file that runs without Keras.

The file takes pixel values as they come from the picture: levels and normalisation are part of the
graph, so that they cannot be forgotten. Whatever else prediction needs is in the metadata. Each
export is run beside the original before it gets its name.
"""

import importlib
import itertools
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from unetkit import __version__, runfolder
from unetkit.building import build_network
from unetkit.config import RunConfig, config_from_file
from unetkit.datasets import synthetic_pet
from unetkit.display import Display
from unetkit.errors import (
    ConfigError,
    DataNotFoundError,
    MissingExtraError,
    ModelFileError,
    OutputExistsError,
    UnetkitError,
    did_you_mean,
)
from unetkit.finding import find_dataset
from unetkit.manifest import read_manifest
from unetkit.modelfile import require_plain
from unetkit.outputs import write_whole
from unetkit.pictures import read_image
from unetkit.pixels import PixelFormat
from unetkit.runtime import onnxruntime
from unetkit.scale import image_to_network
from unetkit.spec import METADATA_KEY, Layer, ModelSpec, picture_digest
from unetkit.splits import read_split_names
from unetkit.tiling import Span, read_tile
from unetkit.windows import ArrayWindows

FORMATS = ("onnx",)
OPSET = 17
CHECK_IMAGES = 4  # real pictures that an export is compared on
TOLERANCE = 1e-3  # of the largest logit: far above rounding (about 1e-6), far below any mistake


def export(
    model: str | Path,
    *,
    format: str = "onnx",
    out: str | Path | None = None,
    overwrite: bool = False,
    display: Display | None = None,
) -> Path:
    """Exports a run's best network to a file that runs without Keras, and checks it.

    The check runs on validation pictures of the run, or, where they are gone, on synthetic ones.

    Args:
        model: A run folder.
        format: "onnx".
        out: The file; by default RUN.onnx in the current folder.
        overwrite: Whether an existing file may be replaced.
        display: Shows progress.

    Returns:
        The file.

    Raises:
        DataNotFoundError: `model` is not a run folder with trained weights.
        OutputExistsError: The file exists.
        ModelFileError: The weights do not fit, or the file does not agree with the original.
    """
    display = display or Display()
    if format not in FORMATS:
        raise ConfigError(
            f"format {format!r} is unknown; accepted are {', '.join(FORMATS)}; "
            f"{did_you_mean(format, FORMATS)}"
        )
    run = Path(model)
    for name in (runfolder.CONFIG, runfolder.WEIGHTS):
        if not (run / name).is_file():
            raise DataNotFoundError(
                f"{run} holds no {name}; accepted is the folder of a training run; check the path"
            )
    path = Path(out) if out is not None else Path(f"{run.resolve().name}.onnx")
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists already; accepted is a new file; name another with --out, or allow it "
            "with --overwrite"
        )
    if not path.parent.is_dir():
        raise DataNotFoundError(
            f"folder {path.parent} does not exist; accepted is a file in an existing folder; make "
            "the folder first"
        )
    config = config_from_file(run / runfolder.CONFIG)
    network = trained_network(run, config)
    names = read_split_names(run / runfolder.SPLIT)
    pictures, what = _reference_pictures(config, names["validation"])
    spec = model_spec(config, network, seen_pictures(run))
    difference = export_onnx(network, spec, path, pictures)
    display.say(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, largest difference from Keras "
        f"{difference:.1g} on {len(pictures)} {what} pictures"
    )
    return path


def seen_pictures(run: Path) -> list[str]:
    """Digests of the pictures that a run looked at, and of those that its start had looked at.

    Raises:
        ModelFileError, DataError: What the run recorded is damaged.
    """
    path = run / runfolder.SPLIT
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        own = [
            picture_digest(str(entry["image_sha256"]), entry.get("page"))
            for part in ("train", "validation")
            for entry in raw[part]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{path} does not hold the hash of each file ({type(error).__name__}: {error}); "
            "accepted is the file that training wrote; restore it"
        ) from error
    before = read_manifest(run).get("seen_before") or []
    return sorted({*own, *before})


def trained_network(run: Path, config: RunConfig) -> keras.Model:
    """A run's network with its best weights, in single precision.

    Raises:
        ModelFileError: The weights do not fit it.
    """
    network = build_network(config)
    try:
        network.load_weights(run / runfolder.WEIGHTS)
    except (OSError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{run / runfolder.WEIGHTS} cannot be loaded ({error}); accepted are the weights of "
            "the network in config.toml; restore both from the same run"
        ) from error
    return network


def _reference_pictures(
    config: RunConfig, validation: Sequence[str]
) -> tuple[list[np.ndarray], str]:
    try:
        dataset = find_dataset(config.data, config.sources)
        wanted = set(validation[:CHECK_IMAGES])
        pairs = [pair for pair in dataset.pairs if pair.name in wanted]
        pictures = [read_image(pair.image, config.pixels, pair.page) for pair in pairs]
    except (UnetkitError, OSError):
        pictures = []
    if pictures:
        return pictures, "validation"
    return [_synthetic_picture(i, config.pixels) for i in range(CHECK_IMAGES)], "synthetic"


def _synthetic_picture(index: int, format: PixelFormat) -> np.ndarray:
    """A picture of a model's channels and type, spread over its levels."""
    picture = synthetic_pet(index, height=256, width=256)[0].astype(np.float32)
    bands = np.take(picture, np.arange(format.channels) % 3, axis=2)
    low, multiply = format.factors()
    pixels = bands / multiply + low
    if format.dtype != "float32":  # levels are a little wider than what occurs
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(format.dtype).max)
    return pixels.astype(format.dtype)


def model_spec(config: RunConfig, model: keras.Model, seen: Iterable[str]) -> ModelSpec:
    """What a trained network takes along into its file.

    Args:
        seen: Digests of the training and validation pictures.
    """
    geometry, scale = config.network.geometry, config.scale
    size = geometry.input_size(scale.height), geometry.input_size(scale.width)
    return ModelSpec(
        preset=config.preset,
        pixels=config.pixels,
        classes=config.classes,
        scale=scale,
        normalization=config.normalization,
        geometry=geometry,
        seen=tuple(sorted(seen)),
        layers=_describe_layers(model, size),
    )


def _describe_layers(model: keras.Model, input_size: tuple[int, int]) -> tuple[Layer, ...]:
    """The rows of the network's summary, with sizes for one input size (height, width)."""
    every = keras.Model(model.input, [layer.output for layer in model.layers])
    probe = keras.KerasTensor((1, *input_size, model.input.shape[-1]))
    shapes = [tensor.shape[1:] for tensor in every.compute_output_spec(probe)]
    return tuple(
        Layer(layer.name, type(layer).__name__, tuple(shape), layer.count_params())
        for layer, shape in zip(model.layers, shapes, strict=True)
    )


def export_onnx(
    model: keras.Model, spec: ModelSpec, path: str | Path, pictures: Sequence[np.ndarray]
) -> float:
    """Writes a network with its specification as one ONNX file, and checks it.

    Args:
        model: A U-Net that takes normalised images.
        path: The file to write; replaced only once the new one has passed its check.
        pictures: Real ones for the check, (H, W, C) of the model's pixel format each.

    Returns:
        The largest difference between a logit of the file and of the model on `pictures`.

    Raises:
        ModelFileError: The difference is larger than rounding explains; nothing is written.
        MissingExtraError: Keras runs on another backend than TensorFlow.
    """
    path = Path(path)
    network = _convert(model, spec)
    worst = 0.0

    def write_and_check(part: Path) -> None:
        nonlocal worst
        part.write_bytes(network)
        worst = _largest_difference(model, spec, part, pictures)

    write_whole(path, write_and_check)
    return worst


def _convert(model: keras.Model, spec: ModelSpec) -> bytes:
    if keras.backend.backend() != "tensorflow":
        raise MissingExtraError(
            f"the Keras backend is {keras.backend.backend()}; ONNX files are accepted from "
            'TensorFlow; pip install "unetkit[train]", set KERAS_BACKEND=tensorflow, and run: '
            "unetkit export"
        )
    # Imported here: both are heavy, and only this function needs them.
    import tensorflow as tf

    tf2onnx = importlib.import_module("tf2onnx")
    importlib.import_module("tf2onnx.convert")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)

    levels = None if spec.pixels.is_common_scale else spec.pixels.factors()
    multiply, add = spec.normalization.multiply, spec.normalization.add
    sizes = [spec.geometry.input_size(size) for size in (spec.scale.height, spec.scale.width)]
    signature = [tf.TensorSpec((None, *sizes, spec.pixels.channels), tf.float32, name="image")]

    @tf.function(input_signature=signature)
    def predict(image):
        if levels is not None:
            image = tf.clip_by_value((image - levels[0]) * levels[1], 0.0, 255.0)
        return tf.identity(model(image * multiply + add, training=False), name="logits")

    proto, _ = tf2onnx.convert.from_function(predict, input_signature=signature, opset=OPSET)
    if spec.scale.is_native:
        _let_in_any_size(proto.graph)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    proto.producer_name, proto.producer_version = "unetkit", __version__
    return proto.SerializeToString()


def _let_in_any_size(graph: Any) -> None:
    """Frees an ONNX graph from the size that it was converted at.

    Converted without a size, a U-Net would compute the padding of each up-convolution anew for each
    picture, and copy every feature map on the way. In one of a known size paddings are constants,
    right for every size that the network takes; what is left of the size is taken out here.
    """
    import onnx

    for node in graph.node:
        if node.op_type == "Reshape":  # channels before rows, where there is one channel
            node.op_type = "Transpose"
            del node.input[1:]
            node.attribute.append(onnx.helper.make_attribute("perm", [0, 3, 1, 2]))
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    for value, prefix in ((graph.input[0], ""), (graph.output[0], "output_")):
        _, height, width, _ = value.type.tensor_type.shape.dim
        height.dim_param, width.dim_param = f"{prefix}height", f"{prefix}width"
    del graph.value_info[:]


def _largest_difference(
    model: keras.Model, spec: ModelSpec, file: Path, pictures: Sequence[np.ndarray]
) -> float:
    session = onnxruntime.InferenceSession(require_plain(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    worst, largest = 0.0, 0.0
    # A corner of a large frame says as much about rounding as the whole of it. Where the network
    # takes any size, a smaller and a larger one than that at which it was converted.
    sides, stride = (spec.scale.height, spec.scale.width), spec.geometry.stride
    changes = (-stride, stride) if spec.scale.is_native else (0,)
    for picture, change in itertools.product(pictures, changes):
        shown = image_to_network(picture, spec.scale)
        rows, columns = (
            Span(-spec.geometry.margin, spec.geometry.input_size(max(1, side + change)), (0, 1))
            for side in sides
        )
        batch = read_tile(ArrayWindows(shown), rows, columns)[None].astype(np.float32)
        (found,) = session.run(None, {name: batch})
        shown = spec.normalization.apply(spec.pixels.scaled(batch))
        expected = keras.ops.convert_to_numpy(model(shown))
        worst = max(worst, float(np.abs(found - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    if not worst <= TOLERANCE * max(1.0, largest):
        raise ModelFileError(
            f"the exported network differs from the original by {worst:.2g} in logits of up to "
            f"{largest:.2g}; accepted is {TOLERANCE:g} of the largest; report this as a bug"
        )
    return worst
