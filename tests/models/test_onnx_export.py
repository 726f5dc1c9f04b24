"""Exported files agree with Keras, say what they are, and are whole or absent."""

from dataclasses import replace

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from tests.models.test_onnx_import import PRETRAINED, answer, export_to
from unetkit import Predictor, UNetConfig, build_unet
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.scale import Scale
from unetkit.errors import ModelFileError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.encoders import load_pretrained
from unetkit.models.onnx_export import export_onnx
from unetkit.models.onnx_import import read_exported, rebuild
from unetkit.models.spec import ModelSpec, Normalization
from unetkit.training.export import _describe_layers

CONFIG = UNetConfig(filters=(4, 8), head_filters=4)


NORMALIZATION = Normalization(1 / 255, -0.5)


def make_spec(config, scale, normalization=NORMALIZATION):
    return ModelSpec(
        preset="fast",
        pixels=PixelFormat(),
        classes=TRIMAP_CLASSES,
        scale=scale,
        normalization=normalization,
        geometry=config.geometry,
        seen=("0123456789ab",),
        layers=(),
    )


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(2)]


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        UNetConfig(
            filters=(4, 8),
            normalization="frozen",
            residual=False,
            stem_stride=1,
            up_kernel=3,
            dropout=0.3,
        ),
        UNetConfig(
            filters=(4, 8),
            padding="valid",
            normalization="none",
            residual=False,
            stem_stride=1,
            up_activation="relu",
            head_filters=0,
            initializer="gaussian",
        ),
    ],
)
@pytest.mark.parametrize("policy", ["resize", "native"])
def test_the_file_agrees_with_keras(tmp_path, pictures, config, policy):
    model = build_unet(config, in_channels=3, num_classes=3)
    spec = make_spec(config, Scale(policy, 32, 40))
    difference = export_onnx(model, spec, tmp_path / "m.onnx", pictures)
    assert 0 < difference < 1e-4
    assert Predictor(tmp_path / "m.onnx").spec == spec


FORMATS = {
    "uint16": PixelFormat(1, "uint16", (-78.5,), (3000.0,)),
    "float32": PixelFormat(3, "float32", (-1.25,), (0.75,)),
    "five channels": PixelFormat(
        5, "uint16", (0.0, 100.0, 200.0, 300.0, 400.0), (1e3, 2e3, 3e3, 4e3, 65_600.0)
    ),
    "8 bits": PixelFormat(3),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_levels_are_in_the_file(tmp_path, name):
    pixels = FORMATS[name]
    model = build_unet(CONFIG, in_channels=pixels.channels, num_classes=3)
    spec = replace(make_spec(CONFIG, Scale("resize", 32, 40)), pixels=pixels)
    rng = np.random.default_rng(0)
    low, high = min(pixels.low), max(pixels.high)
    # Raw numbers, a tenth of the range beyond the levels on either side.
    beyond = 0.1 * (high - low)
    numbers = rng.uniform(low - beyond, high + beyond, (32, 40, pixels.channels))
    if pixels.dtype != "float32":
        numbers = np.clip(np.rint(numbers), 0, np.iinfo(pixels.dtype).max)
    picture = numbers.astype(pixels.dtype)
    export_onnx(model, spec, tmp_path / "m.onnx", [picture])

    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (found,) = session.run(None, {"image": picture[None].astype(np.float32)})
    # A share of 255, over 255, minus 0.5: what the network is to see.
    black, white = np.array(pixels.low), np.array(pixels.high)
    shares = np.clip((picture - black) / (white - black), 0, 1)
    expected = model((shares[None] - 0.5).astype(np.float32))
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), atol=1e-4)
    cuts = {"Clip", "Min", "Max"} & {n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node}
    assert bool(cuts) == (name != "8 bits")  # what is on the common scale already costs nothing


def test_a_file_without_the_levels_is_not_written(tmp_path, monkeypatch):
    model = build_unet(CONFIG, in_channels=1, num_classes=3)
    spec = replace(make_spec(CONFIG, Scale("resize", 32, 40)), pixels=FORMATS["uint16"])
    picture = np.random.default_rng(0).integers(0, 3000, (32, 40, 1), dtype=np.uint16)
    monkeypatch.setattr(PixelFormat, "scaled", lambda self, pixels: pixels.astype(np.float32))
    with pytest.raises(ModelFileError, match="differs from the original by"):
        export_onnx(model, spec, tmp_path / "m.onnx", [picture])
    assert list(tmp_path.iterdir()) == []


def test_native_files_take_any_size_and_resizing_ones_a_single_size(tmp_path, pictures):
    model = build_unet(CONFIG, in_channels=3, num_classes=3)
    for policy in ("native", "resize"):
        export_onnx(model, make_spec(CONFIG, Scale(policy, 32, 40)), tmp_path / policy, pictures)
    shapes = {
        policy: [d.dim_value for d in graph_input(tmp_path / policy)]
        for policy in ("native", "resize")
    }
    assert shapes == {"native": [0, 0, 0, 3], "resize": [0, 32, 40, 3]}


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_of_the_size_at_conversion_is_left(tmp_path, channels):
    model = build_unet(CONFIG, in_channels=channels, num_classes=3)
    path = export_to(tmp_path / "m.onnx", model, CONFIG)
    graph = onnx.load(path).graph
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"Reshape", "Shape", "Pad", "Gather"}
    assert {tensor.name for tensor in graph.initializer} <= {n for m in graph.node for n in m.input}
    assert not graph.value_info


def graph_input(path):
    return onnx.load(path).graph.input[0].type.tensor_type.shape.dim


def test_batch_norm_is_folded_into_the_convolutions(tmp_path, pictures):
    model = build_unet(CONFIG, in_channels=3, num_classes=3)
    export_onnx(model, make_spec(CONFIG, Scale("resize", 32, 40)), tmp_path / "m", pictures)
    kinds = {node.op_type for node in onnx.load(tmp_path / "m").graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds


def test_a_file_that_disagrees_is_not_written(tmp_path, pictures):
    model = build_unet(CONFIG, in_channels=3, num_classes=3)
    spec = make_spec(CONFIG, Scale("resize", 32, 40))

    class Lying(type(spec.normalization)):
        def apply(self, pixels):
            return super().apply(pixels) + 1  # Keras sees something else than the file

    lying = make_spec(CONFIG, spec.scale, Lying(1 / 255, -0.5))
    with pytest.raises(ModelFileError, match="differs from the original by"):
        export_onnx(model, lying, tmp_path / "m.onnx", pictures)
    assert list(tmp_path.iterdir()) == []


class TestHalfWeights:
    @pytest.mark.parametrize("policy", ["native", "resize"])
    def test_half_the_size_and_about_the_same_answer(self, tmp_path, pictures, policy):
        keras.utils.set_random_seed(0)  # the decoder's weights
        model = build_unet(PRETRAINED, in_channels=3, num_classes=3)
        load_pretrained(model, "efficientnet_lite0")
        spec = make_spec(PRETRAINED, Scale(policy, 32, 48), Normalization(1 / 128, -127 / 128))
        paths = {name: tmp_path / f"{name}.onnx" for name in ("float32", "float16")}
        worst = {name: export_onnx(model, spec, path, pictures, name)
                 for name, path in paths.items()}  # fmt: skip
        assert paths["float16"].stat().st_size < 0.6 * paths["float32"].stat().st_size
        assert worst["float32"] < 1e-4
        one, half = (Predictor(path).probabilities(pictures[0]) for path in paths.values())
        assert 0 < np.abs(one - half).max() < 0.02

    def test_it_can_be_trained_further(self, tmp_path, pictures):
        model = build_unet(CONFIG, in_channels=3, num_classes=3)
        spec = make_spec(CONFIG, Scale("resize", 32, 48))
        path = tmp_path / "m.onnx"
        spec = replace(spec, layers=_describe_layers(model, (32, 48)))
        export_onnx(model, spec, path, pictures, "float16")
        rebuilt = rebuild(read_exported(path))
        images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 48, 3)).astype(np.float32)
        found, wanted = answer(rebuilt, images), answer(model, images)
        assert np.allclose(found, wanted, atol=3e-3 * np.abs(wanted).max())


def test_an_answer_that_is_no_number_is_a_difference(tmp_path, pictures):
    model = build_unet(CONFIG, in_channels=3, num_classes=3)
    bias = model.weights[-1]  # of the last layer
    bias.assign(np.full(bias.shape, np.nan, np.float32))
    with pytest.raises(ModelFileError, match="differs from the original by nan"):
        export_onnx(
            model, make_spec(CONFIG, Scale("resize", 32, 48)), tmp_path / "m.onnx", pictures
        )
    assert list(tmp_path.iterdir()) == []
