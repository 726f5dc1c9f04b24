"""An exported file becomes a Keras network that answers as the file does, or is refused by name."""

import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.scale import Scale
from unetkit.errors import DataNotFoundError, ModelFileError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.onnx_check import DIGEST_KEY
from unetkit.models.onnx_export import export_onnx
from unetkit.models.onnx_import import read_exported, rebuild
from unetkit.models.spec import METADATA_KEY, Normalization
from unetkit.models.unet import UNetConfig, build_unet
from unetkit.objects.separation import NO_OBJECTS
from unetkit.training.export import model_spec

FAST = UNetConfig(filters=(4, 8, 8), head_filters=4)
NOTEBOOK = UNetConfig(
    filters=(4, 6),
    normalization="frozen",
    residual=False,
    stem_stride=1,
    up_kernel=3,
    head_filters=5,
    dropout=0.3,
)
PAPER = UNetConfig(
    filters=(4, 6),
    padding="valid",
    normalization="none",
    residual=False,
    stem_stride=1,
    up_activation="relu",
    head_filters=0,
    initializer="gaussian",
)
PRETRAINED = UNetConfig(
    filters=(4, 5, 6),
    residual=False,
    stem_stride=1,
    head_filters=0,
    encoder="efficientnet_lite0",
)
NETWORKS = {
    "pretrained": PRETRAINED,
    # Features of 16 or 32 channels are not joined with the image; the stem has 32 channels, too.
    "pretrained, image apart": replace(PRETRAINED, filters=(16, 5)),
    "pretrained, image apart, width of the stem": replace(PRETRAINED, filters=(32, 5)),
    "pretrained with details and a head": replace(PRETRAINED, detail_filters=4, head_filters=5),
    "resnet50": replace(PRETRAINED, filters=(4, 5), encoder="resnet50"),
    "convnext_tiny with details": replace(
        PRETRAINED, encoder="convnext_tiny", detail_filters=4, head_filters=5
    ),
    "convnext_tiny": replace(PRETRAINED, filters=(4, 5), encoder="convnext_tiny"),
    "fast": FAST,
    "notebook": NOTEBOOK,
    "paper": PAPER,
    "residual, no stem, three rectified taps": replace(
        FAST, stem_stride=1, up_kernel=3, up_activation="relu"
    ),
    "frozen and residual": replace(FAST, normalization="frozen"),
    "unpadded with BatchNorm": replace(PAPER, normalization="batch"),
}
NORMALIZATION = Normalization(1 / 127.5, -1.0)


def some_network(config, channels=3, seed=0):
    """A network whose every weight differs from what it was built with, statistics included."""
    rng = np.random.default_rng(seed)
    model = build_unet(config, in_channels=channels, num_classes=3)
    for weight in model.weights:
        kind = weight.path.split("/")[-1]
        if kind in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif kind != "kernel":
            weight.assign(rng.normal(0, 0.3, weight.shape))
    for layer in model.layers:  # its statistics are 0 and 1, whatever it learns
        if type(layer).__name__ == "FrozenBatchNormalization":
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta, 0 * mean, 0 * variance + 1])
    return model


def export_to(path, model, config, policy="native", pixels=None):
    pixels = pixels or PixelFormat(model.input.shape[-1])
    run = FakeRun(config, Scale(policy, 32, 40), pixels)
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (40, 56, pixels.channels)).astype(pixels.dtype)
    export_onnx(model, model_spec(run, model, ["0123456789ab"]), path, [picture])
    return path


class FakeRun:
    """What `model_spec` takes of a run's configuration."""

    def __init__(self, network, scale, pixels):
        self.network, self.scale, self.pixels = network, scale, pixels
        self.preset, self.classes, self.normalization = "fast", TRIMAP_CLASSES, NORMALIZATION
        self.objects = NO_OBJECTS


def images_for(config, channels=3):
    size = config.geometry.input_size(32), config.geometry.input_size(40)
    return np.random.default_rng(2).uniform(-1, 1, (2, *size, channels)).astype(np.float32)


def answers(path, images):
    """Logits of the file itself; it takes pixel values, not normalised ones."""
    session = onnxruntime.InferenceSession(path)
    pixels = (images - NORMALIZATION.add) / np.float32(NORMALIZATION.multiply)
    return session.run(None, {"image": pixels})[0]


def answer(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.mark.parametrize("policy", ["native", "resize"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_rebuilt_network_has_the_output_of_the_file(tmp_path, name, policy):
    config = NETWORKS[name]
    original = some_network(config)
    path = export_to(tmp_path / "m.onnx", original, config, policy)
    exported = read_exported(path)
    assert exported.network == replace(config, dropout=0.0, initializer="he")
    rebuilt = rebuild(exported)
    images = images_for(config)
    found = answer(rebuilt, images)
    largest = np.abs(found).max()
    assert np.abs(found - answers(path, images)).max() < 1e-5 * largest
    assert np.abs(found - answer(original, images)).max() < 1e-5 * largest


def test_without_batch_norm_every_weight_is_the_same(tmp_path):
    original = some_network(PAPER)
    rebuilt = rebuild(read_exported(export_to(tmp_path / "m.onnx", original, PAPER)))
    for weight, same in zip(original.get_weights(), rebuilt.get_weights(), strict=True):
        assert np.array_equal(weight, same)


def test_batch_norm_becomes_an_identity_with_a_shift(tmp_path):
    original = some_network(FAST)
    rebuilt = rebuild(read_exported(export_to(tmp_path / "m.onnx", original, FAST)))
    gamma, beta, mean, variance = original.get_layer("stem_norm").get_weights()
    slope = gamma / np.sqrt(variance + 1e-3)
    found = rebuilt.get_layer("stem_norm").get_weights()
    assert np.allclose(found[0], 1)
    assert np.allclose(found[1], beta - slope * mean, atol=1e-6)
    assert np.allclose(found[2:], [[0.0] * 4, [1 - 1e-3] * 4])
    kernel = original.get_layer("stem").get_weights()[0] * slope  # its last axis is the outputs
    assert np.allclose(rebuilt.get_layer("stem").get_weights()[0], kernel, atol=1e-6)


def test_frozen_batch_norm_comes_back_as_it_was(tmp_path):
    original = some_network(NOTEBOOK)
    rebuilt = rebuild(read_exported(export_to(tmp_path / "m.onnx", original, NOTEBOOK)))
    for weight, same in zip(original.get_weights(), rebuilt.get_weights(), strict=True):
        assert np.allclose(weight, same, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["fast", "notebook"])
def test_layers_that_share_equal_arrays_are_rebuilt(tmp_path, name):
    original = build_unet(NETWORKS[name], in_channels=3, num_classes=3)  # biases are all 0
    path = export_to(tmp_path / "m.onnx", original, NETWORKS[name], "resize")
    images = images_for(NETWORKS[name])
    found = answer(rebuild(read_exported(path)), images)
    assert np.allclose(found, answer(original, images), atol=1e-5)


@pytest.mark.parametrize(
    "pixels", [PixelFormat(1, "uint16", (-78.5,), (3000.0,)), PixelFormat(5)], ids=["deep", "five"]
)
def test_levels_and_channels_do_not_matter(tmp_path, pixels):
    config = replace(FAST, stem_stride=1)  # the image goes to two convolutions at once
    original = some_network(config, pixels.channels)
    path = export_to(tmp_path / "m.onnx", original, config, pixels=pixels)
    images = images_for(config, pixels.channels)
    found = answer(rebuild(read_exported(path)), images)
    assert np.allclose(found, answer(original, images), atol=1e-5 * np.abs(found).max())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return export_to(folder / "whole.onnx", some_network(FAST), FAST, "resize")


@pytest.fixture
def exported(whole, tmp_path):
    return Path(shutil.copy(whole, tmp_path / "m.onnx"))


def change(path, edit):
    model = onnx.load(path)
    edit(model)
    for entry in [e for e in model.metadata_props if e.key == DIGEST_KEY.decode()]:
        model.metadata_props.remove(entry)  # it would be called damaged
    path.write_bytes(model.SerializeToString())
    return path


def kernel_of(model, layer):
    (found,) = [a for a in model.graph.initializer if a.name == f"{layer}/kernel"]
    return found


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"m\.onnx does not exist; accepted is a run"):
        read_exported(tmp_path / "m.onnx")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x89PNG no network")
    with pytest.raises(ModelFileError, match=r"m\.onnx is not an ONNX file"):
        read_exported(tmp_path / "m.onnx")


def test_a_file_from_elsewhere(exported):
    change(exported, lambda model: model.ClearField("metadata_props"))
    with pytest.raises(ModelFileError, match="was not exported by unetkit: it has no metadata"):
        read_exported(exported)


def test_a_file_that_is_too_large(tmp_path):
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(
        ModelFileError, match=r"has 1\.0 GiB; accepted are \.onnx files up to 1 GiB"
    ):
        read_exported(tmp_path / "m.onnx")


def test_metadata_without_a_network(exported):
    def forget_layers(model):
        (entry,) = [e for e in model.metadata_props if e.key == METADATA_KEY]
        spec = replace(read_exported(exported).spec, layers=())
        entry.value = spec.to_json()

    change(exported, forget_layers)
    with pytest.raises(ModelFileError, match="lists no layers of a U-Net"):
        read_exported(exported)


def external(model):
    array = kernel_of(model, "head")
    array.data_location = TensorProto.EXTERNAL
    array.external_data.add(key="location", value="/etc/passwd")
    array.ClearField("raw_data")


def of_doubles(model):
    array = kernel_of(model, "head")
    array.CopyFrom(numpy_helper.from_array(np.zeros(tuple(array.dims)), array.name))


def infinite(model):
    array = kernel_of(model, "head")
    values = np.full(tuple(array.dims), np.inf, np.float32)
    array.CopyFrom(numpy_helper.from_array(values, array.name))


def too_short(model):
    kernel_of(model, "head").raw_data = b"1234"


def of_another_shape(model):
    kernel_of(model, "head").dims[0] = 3


def of_negative_size(model):
    kernel_of(model, "head").dims[0] = -4


@pytest.mark.parametrize(
    "damage", [external, of_doubles, infinite, too_short, of_another_shape, of_negative_size]
)
def test_arrays_that_are_not_what_they_should_be_are_named(exported, damage):
    change(exported, damage)
    with pytest.raises(
        ModelFileError, match=r"weights of 'head' cannot be read from .*; use the run folder"
    ):
        rebuild(read_exported(exported))


def without_nodes(model):
    model.graph.ClearField("node")


def without_inputs(model):
    model.graph.ClearField("input")


def in_a_circle(model):
    first = model.graph.node[0]
    first.input[0] = first.output[0]


@pytest.mark.parametrize("damage", [without_nodes, without_inputs, in_a_circle])
def test_a_graph_of_which_nothing_is_known_is_refused(exported, damage):
    change(exported, damage)
    with pytest.raises(ModelFileError, match="weights of 'image' cannot be read"):
        rebuild(read_exported(exported))


def test_a_graph_that_lacks_a_layer_is_refused(exported):
    def skip_pool(model):
        (pool,) = [n for n in model.graph.node if n.op_type == "MaxPool" and "encoder1" in n.name]
        pool.op_type = "AveragePool"

    change(exported, skip_pool)
    with pytest.raises(ModelFileError, match="weights of 'encoder1_pool' cannot be read"):
        rebuild(read_exported(exported))
