"""Packages of the BioImage Model Zoo, validated by its own tools."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.conftest import export_untrained
from tests.exports.test_export import Listener
from tests.models.test_onnx_import import export_to, some_network
from unetkit import Predictor, export
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.unet import PRESETS
from unetkit.objects.separation import ObjectRule
from unetkit.prediction.engine import Engine

MODELS = {
    "native": {"pixels": PixelFormat(3), "num_classes": 3},
    "factor": {"factor": 0.7, "temperature": 1.5},
    "resize": {"policy": "resize", "height": 48, "width": 64},
    "objects": {"objects": ObjectRule("border", 0.5, 0, 0)},
    "16 bits": {"pixels": PixelFormat(2, "uint16", (0, 10), (4095, 900))},
}


@pytest.fixture(params=MODELS)
def package(request, tmp_path):
    """A package, its model file, and what was said while it was written."""
    model = export_untrained(tmp_path / "a model.onnx", **MODELS[request.param])
    listener = Listener()
    path = export(model, format="bioimageio", out=tmp_path / "p.zip", display=listener)
    return path, model, listener.lines


def parts_of(path):
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_it_holds_the_model_file_and_an_example(package):
    path, model, _ = package
    parts = parts_of(path)
    assert parts["weights.onnx"] == model.read_bytes()
    tile, expected = (np.load(io.BytesIO(parts[f"test_{n}.npy"])) for n in ("input", "output"))
    assert (Engine(model)(tile[0]) == expected[0]).all()
    described = json.loads(parts["rdf.yaml"])
    assert described["name"] == "U-Net a model"
    spec = Engine(model).spec
    names = [*spec.classes.names, *spec.objects.outputs]
    assert described["outputs"][0]["axes"][-1]["channel_names"] == names
    assert Image.open(io.BytesIO(parts["cover.png"])).format == "PNG"
    assert "unetkit predict IMAGES" in parts["README.md"].decode()


def test_the_weights_are_a_model_file_of_unetkit(package, tmp_path):
    path, model, _ = package
    (tmp_path / "weights.onnx").write_bytes(parts_of(path)["weights.onnx"])
    assert Predictor(tmp_path / "weights.onnx").spec == Predictor(model).spec


def test_the_specification_accepts_it(package):
    spec = pytest.importorskip("bioimageio.spec")
    found = spec.load_description(package[0], perform_io_checks=True)
    assert found.validation_summary.status in ("passed", "valid-format")
    assert found.type == "model"


def test_the_tools_of_the_zoo_run_it(package):
    """At its size and, where it takes several, at others; the output is that of the example."""
    core = pytest.importorskip("bioimageio.core")
    summary = core.test_model(package[0])
    assert summary.status == "passed", summary.display()


def test_the_unpadded_network_gives_less_than_it_takes(tmp_path):
    core = pytest.importorskip("bioimageio.core")
    small = replace(PRESETS["paper"], filters=(2, 4))
    model = export_to(tmp_path / "paper.onnx", some_network(small), small)
    path = export(model, format="bioimageio", out=tmp_path / "p.zip")
    size = json.loads(parts_of(path)["rdf.yaml"])["outputs"][0]["axes"][1]["size"]
    assert size["offset"] == -2 * small.geometry.margin < 0
    assert core.test_model(path).status == "passed"


def test_what_the_format_cannot_say_is_said_before(tmp_path):
    for name, words in (
        ("resize", "no resizing of images: resize them to 48x64 (squash) before"),
        ("factor", "no scale: resize images to 0.7 times their size before"),
        ("factor", "divide them by 1.5 for calibrated probabilities"),
        ("native", "exact only if they begin at multiples of 8 pixels"),
    ):
        model = export_untrained(tmp_path / "m.onnx", **MODELS[name])
        listener = Listener()
        path = tmp_path / "p.zip"
        export(model, format="bioimageio", out=path, display=listener, overwrite=True)
        (place,) = (i for i, line in enumerate(listener.lines) if words in line)
        assert place < len(listener.lines) - 1  # the last is of the written file
        assert words in parts_of(path)["README.md"].decode()
        assert "holds one synthetic image" in " ".join(listener.lines)
