"""Exported files agree with Keras, say what they are, and are whole or absent."""

import shutil
from dataclasses import replace

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from tests.conftest import TINY_CONFIG
from tests.models.test_onnx_import import export_to
from unetkit import Predictor, UNetConfig, build_unet, export, train
from unetkit._shared.display import Display
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.scale import Scale
from unetkit.datasets.synthetic_pets import synthetic_pet
from unetkit.errors import ConfigError, DataNotFoundError, ModelFileError, OutputExistsError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.onnx_export import export_onnx
from unetkit.models.spec import ModelSpec, Normalization
from unetkit.training.export import _synthetic_image

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


@pytest.mark.parametrize("name", FORMATS)
def test_synthetic_images_are_spread_over_the_levels(name):
    pixels = FORMATS[name]
    picture = _synthetic_image(0, pixels)
    assert picture.shape == (256, 256, pixels.channels)
    assert picture.dtype == pixels.dtype
    photo = synthetic_pet(0, height=256, width=256)[0][..., np.arange(pixels.channels) % 3]
    # Levels may reach beyond the type's range, by 78.5 / 3078.5 of 255 at most: 6.5.
    assert np.abs(pixels.scaled(picture) - photo).max() < 7


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


class Listener(Display):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_a_run_is_exported_and_compared_on_its_validation_images(run, pets, tmp_path):
    listener = Listener()
    path = export(run, out=tmp_path / "m.onnx", display=listener)
    assert "largest difference from Keras" in listener.lines[0]
    assert "validation pictures" in listener.lines[0]
    photo = next((pets / "images").iterdir())
    assert (Predictor(path)(photo) == Predictor(run)(photo)).all()


def test_without_the_data_synthetic_images_are_used(pets, tmp_path):
    shutil.copytree(pets, tmp_path / "data")
    run = train(tmp_path / "data", out=tmp_path / "run", config=TINY_CONFIG)
    shutil.rmtree(tmp_path / "data")
    listener = Listener()
    export(run, out=tmp_path / "m.onnx", display=listener)
    assert "4 synthetic pictures" in listener.lines[0]


def test_a_run_of_deep_images_is_exported_with_or_without_them(disks, disks_run, tmp_path):
    shutil.copytree(disks_run, tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    listener = Listener()
    path = export(tmp_path / "run", out=tmp_path / "m.onnx", display=listener)
    assert "on 2 validation pictures" in listener.lines[-1]
    picture = next((disks / "images").iterdir())
    assert (Predictor(path)(picture) == Predictor(disks_run)(picture)).all()
    assert Predictor(path).spec == Predictor(disks_run).spec
    config.write_text(config.read_text().replace(str(disks), str(tmp_path / "gone")))
    export(tmp_path / "run", out=tmp_path / "n.onnx", display=listener)
    assert "4 synthetic pictures" in listener.lines[-1]


def test_existing_files_are_not_replaced_unless_asked(run, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"m\.onnx exists already; .*--overwrite"):
        export(run, out=tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_text() == "mine"
    export(run, out=tmp_path / "m.onnx", overwrite=True)
    Predictor(tmp_path / "m.onnx")


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"holds no config\.toml"):
        export(tmp_path)


def test_a_folder_that_does_not_exist(run, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"deep does not exist; .*make the folder first"):
        export(run, out=tmp_path / "deep" / "m.onnx")


def test_an_unknown_format(run):
    with pytest.raises(ConfigError, match=r"format 'onx' is unknown; .*did you mean 'onnx'\?"):
        export(run, format="onx")


def test_damaged_weights_are_named(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "best.weights.h5").write_bytes(b"damage")
    with pytest.raises(ModelFileError, match=r"best\.weights\.h5 cannot be loaded"):
        export(tmp_path / "run", out=tmp_path / "m.onnx")
