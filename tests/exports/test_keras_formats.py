"""The network of a model file in Keras's own layers, and in files that open without unetkit."""

import json
import zipfile

import keras
import numpy as np
import pytest

from tests.exports.conftest import NETWORK
from tests.models.test_onnx_import import export_to, some_network
from tests.test_architecture import run_python
from unetkit.errors import ConfigError
from unetkit.exports import keras_formats
from unetkit.exports.keras_formats import (
    METADATA_FILE,
    fixed_size,
    keras_model,
    read_litert,
    read_saved_model,
    require_tensorflow,
    write_keras,
    write_litert,
    write_saved_model,
)
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.spec import spec_from_json
from unetkit.models.unet import preset_config
from unetkit.prediction.engine import Engine

DEEP = PixelFormat(5, "uint16", (0.0, 100.0, 200.0, 300.0, 400.0), (1e3, 2e3, 3e3, 4e3, 65_600.0))


def tile_for(engine, size=(64, 72)):
    pixels = engine.spec.pixels
    sides = [engine.spec.geometry.input_size(side) for side in size]
    most = 256 if pixels.dtype == "uint8" else 6000
    shape = (1, *sides, pixels.channels)
    return np.random.default_rng(2).integers(0, most, shape).astype(np.float32)


def difference(found, expected):
    return float(np.abs(np.asarray(found) - expected).max() / max(1, np.abs(expected).max()))


class TestKerasModel:
    @pytest.mark.parametrize("preset", ["fast", "notebook", "paper", "pretrained"])
    def test_it_has_the_answer_of_the_model_file(self, preset, tmp_path):
        config = preset_config(preset)
        if preset != "pretrained":
            filters = tuple(4 + 2 * i for i in range(len(config.filters)))
            config = config.__class__(**{**config.__dict__, "filters": filters})
        engine = Engine(export_to(tmp_path / "m.onnx", some_network(config), config))
        tile = tile_for(engine)
        network = keras_model(tmp_path / "m.onnx")
        assert difference(network(tile)[0], engine(tile[0])) < 1e-4

    def test_levels_are_layers_of_it(self, tmp_path):
        model = export_to(tmp_path / "m.onnx", some_network(NETWORK, 5), NETWORK, pixels=DEEP)
        engine = Engine(model)
        tile = tile_for(engine)
        assert (tile > 1e3).any()  # above the levels of the first channel, which clip
        assert difference(keras_model(model)(tile)[0], engine(tile[0])) < 1e-4

    def test_its_layers_are_all_those_of_keras(self, listed_model):
        network = keras_model(listed_model)
        (inner,) = (layer for layer in network.layers if isinstance(layer, keras.Model))
        modules = {
            type(layer).__module__.split(".")[0] for layer in (*network.layers, *inner.layers)
        }
        assert modules == {"keras"}

    def test_a_native_one_takes_any_size_and_another_one_only(self, listed_model, tmp_path):
        assert keras_model(listed_model).input_shape == (None, None, None, 3)
        resized = export_to(tmp_path / "m.onnx", some_network(NETWORK), NETWORK, policy="resize")
        assert keras_model(resized).input_shape == (None, 32, 40, 3)


class TestFiles:
    def test_keras_opens_its_file_without_unetkit(self, listed_model, tmp_path):
        write_keras(listed_model, tmp_path / "m.keras")
        engine = Engine(listed_model)
        tile = tile_for(engine)
        np.save(tmp_path / "tile.npy", tile)
        code = """
import sys, keras, numpy as np
network = keras.saving.load_model("m.keras")
np.save("found.npy", np.asarray(network(np.load("tile.npy"))))
print(sorted(name for name in sys.modules if name.startswith("unetkit.")))
"""
        assert run_python(code, cwd=tmp_path).strip() == "[]"
        assert difference(np.load(tmp_path / "found.npy")[0], engine(tile[0])) < 1e-4

    def test_tensorflow_loads_its_folder_in_any_size(self, listed_model, tmp_path):
        write_saved_model(listed_model, tmp_path / "m")
        network, engine = read_saved_model(tmp_path / "m"), Engine(listed_model)
        for size in ((64, 72), (8, 120)):
            tile = tile_for(engine, size)
            assert difference(network(tile)[0], engine(tile[0])) < 1e-4

    def test_a_litert_file_has_the_size_of_the_training(self, listed_model, tmp_path):
        write_litert(listed_model, tmp_path / "m.tflite")
        network, engine = read_litert(tmp_path / "m.tflite"), Engine(listed_model)
        assert fixed_size(engine.spec) == (32, 40)
        tile = tile_for(engine, (32, 40))
        assert difference(network(tile)[0], engine(tile[0])) < 1e-4
        with pytest.raises(ValueError, match="Dimension mismatch"):
            network(tile_for(engine, (32, 48)))

    def test_each_has_the_metadata_of_the_model(self, listed_model, tmp_path):
        write_keras(listed_model, tmp_path / "m.keras")
        write_litert(listed_model, tmp_path / "m.tflite")
        write_saved_model(listed_model, tmp_path / "m")
        texts = [(tmp_path / "m" / "assets.extra" / METADATA_FILE).read_text()]
        for name in ("m.keras", "m.tflite"):
            with zipfile.ZipFile(tmp_path / name) as archive:
                texts.append(archive.read(METADATA_FILE).decode())
        for text in texts:
            assert spec_from_json(text, "it") == Engine(listed_model).spec
            assert json.loads(text)["classes"]["names"] == ["pet", "background", "border"]


def test_only_tensorflow_writes_some_formats(monkeypatch):
    require_tensorflow("litert")
    monkeypatch.setattr(keras_formats.keras.backend, "backend", lambda: "torch")
    with pytest.raises(ConfigError, match="format is 'litert' with Keras on torch; accepted is T"):
        require_tensorflow("litert")
