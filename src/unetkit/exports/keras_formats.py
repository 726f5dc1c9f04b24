"""A model file as a Keras model, a TensorFlow SavedModel or a LiteRT file.

The Keras network is read back from the model file, with layers of Keras alone, so that nothing of
unetkit is needed to open it. Pixel values go in: scaling of levels and normalisation are layers of
the network. Whatever else prediction needs is added to each as JSON: the metadata of the model.
"""

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from keras import layers

from unetkit._shared.files import write_text
from unetkit.errors import ConfigError
from unetkit.exports.comparison import METADATA_FILE, Network
from unetkit.models.keras_encoders import Gelu
from unetkit.models.normalization import LayerNormalization
from unetkit.models.onnx_import import read_exported, rebuild
from unetkit.models.spec import ModelSpec
from unetkit.models.unet import SizeCheck

EXTRA_ASSETS = "assets.extra"  # of a SavedModel, for files that TensorFlow does not read


def keras_model(model: Path) -> keras.Model:
    """The network of a model file, from pixel values to logits, of Keras's own layers.

    Raises:
        ModelFileError: The file is not a model that unetkit exported.
    """
    exported = read_exported(model)
    network, spec = rebuild(exported), exported.spec
    plain = keras.models.clone_model(network, clone_function=_plain_layer)
    plain.set_weights(network.get_weights())
    sides = (None, None) if spec.scale.is_native else fixed_size(spec)
    pixels = keras.Input((*sides, spec.pixels.channels), name="pixels")
    return keras.Model(pixels, plain(_normalized(pixels, spec)), name="unetkit")


def _plain_layer(layer: keras.Layer) -> keras.Layer:
    """A layer of Keras with the same weights and answer as one of unetkit."""
    config = layer.get_config()
    if isinstance(layer, SizeCheck):
        return layers.Identity(name=layer.name)
    if isinstance(layer, Gelu):
        return layers.Activation("gelu", name=layer.name)
    if isinstance(layer, LayerNormalization):
        return layers.LayerNormalization.from_config(config)
    if isinstance(layer, layers.BatchNormalization):
        return layers.BatchNormalization.from_config(config)
    return type(layer).from_config(config)


def _normalized(pixels: keras.KerasTensor, spec: ModelSpec) -> keras.KerasTensor:
    x = pixels
    if not spec.pixels.is_common_scale:
        low, multiply = spec.pixels.factors()
        x = layers.Rescaling(1.0, (-low).tolist(), name="levels_low")(x)
        x = layers.Rescaling(multiply.tolist(), name="levels_high")(x)
        x = layers.ReLU(max_value=255.0, name="levels")(x)
    rule = spec.normalization
    return layers.Rescaling(rule.multiply, rule.add, name="normalization")(x)


def write_keras(model: Path, path: Path) -> None:
    """Writes a .keras file, which Keras 3 opens on any of its backends."""
    keras_model(model).save(path)
    _add_metadata(path, model)


def read_keras(path: Path) -> Network:
    """Opens a .keras file with layers of Keras alone."""
    network = keras.saving.load_model(path, compile=False, safe_mode=True)
    return lambda tile: np.asarray(keras.ops.convert_to_numpy(network(tile)))


def write_saved_model(model: Path, path: Path) -> None:
    """Writes a folder that TensorFlow loads without Keras."""
    with _quiet():
        keras_model(model).export(str(path), verbose=False)
    (path / EXTRA_ASSETS).mkdir(exist_ok=True)
    write_text(path / EXTRA_ASSETS / METADATA_FILE, read_exported(model).spec.to_json())


def read_saved_model(path: Path) -> Network:
    """Loads such a folder by TensorFlow alone."""
    import tensorflow as tf

    network = tf.saved_model.load(str(path))
    return lambda tile: np.asarray(network.serve(tile))


def write_litert(model: Path, path: Path) -> None:
    """Writes a .tflite file, of a single size of its input: see `fixed_size`."""
    network, spec = keras_model(model), read_exported(model).spec
    shape = (1, *fixed_size(spec), spec.pixels.channels)
    signature = [keras.InputSpec(shape=shape, dtype="float32", name="pixels")]
    with _quiet():
        network.export(str(path), format="litert", verbose=False, input_signature=signature)
    _add_metadata(path, model)


def read_litert(path: Path) -> Network:
    """Loads such a file in the interpreter that TensorFlow has."""
    import tensorflow as tf

    with _quiet():
        interpreter = tf.lite.Interpreter(str(path))
        interpreter.allocate_tensors()
    (entry,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(tile: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(entry["index"], tile)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(answer["index"]))

    return run


def fixed_size(spec: ModelSpec) -> tuple[int, int]:
    """(height, width) of the input of a file that takes a single size: that of the training."""
    geometry, scale = spec.geometry, spec.scale
    return geometry.input_size(scale.height), geometry.input_size(scale.width)


def require_tensorflow(format: str) -> None:
    """Refuses another backend of Keras for a format that only TensorFlow writes.

    Raises:
        ConfigError: Keras runs on another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"format is {format!r} with Keras on {keras.backend.backend()}; accepted is "
            "TensorFlow; set KERAS_BACKEND=tensorflow"
        )


def _add_metadata(path: Path, model: Path) -> None:
    """Adds the metadata to a ZIP file, or to a LiteRT file, which has associated files so."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_FILE, read_exported(model).spec.to_json())


@contextmanager
def _quiet() -> Iterator[None]:
    """Discards what TensorFlow's converters print and warn of."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
