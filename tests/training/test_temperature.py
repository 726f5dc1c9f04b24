"""The temperature of a trained network, fitted on its validation pairs and kept with the run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from unetkit import evaluate
from unetkit._shared import run_folder
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.io.pixel_format import PixelFormat
from unetkit.prediction.engine import Engine
from unetkit.training import temperature
from unetkit.training.export import export_run
from unetkit.training.temperature import choose_temperature

TWO = Classes(("ground", "cell"), (0, 1), background=0)


@pytest.fixture
def pairs(tmp_path):
    """Masks of which three of four pixels are cells; one row is to be ignored."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    mask = np.ones((8, 20), np.uint8)
    mask[:2] = 0
    for name in "abcde":
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
        Image.fromarray(np.zeros((8, 20), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    return find_dataset(tmp_path).pairs


def predict(monkeypatch, probability):
    """A model that says `probability` for a cell at each pixel of any image."""
    spec = SimpleNamespace(pixels=PixelFormat(1))

    def probabilities(image):
        found = np.full((*image.shape[:2], 2), 1 - probability, np.float32)
        found[..., 1] = probability
        return found

    predictor = SimpleNamespace(spec=spec, probabilities=probabilities)
    monkeypatch.setattr(temperature, "Predictor", lambda model: predictor)


def test_makes_confidence_as_large_as_accuracy(pairs, monkeypatch):
    predict(monkeypatch, 0.9)  # odds of 9 to 1, where 3 to 1 are right: 9 ** (1 / 2) is 3
    assert choose_temperature("m.onnx", pairs, TWO) == 2.0


def test_not_all_pixels_are_needed(pairs, monkeypatch):
    predict(monkeypatch, 0.9)
    monkeypatch.setattr(temperature, "MOST_FITTED", 200)
    monkeypatch.setattr(temperature, "MOST_PAIRS", 2)
    monkeypatch.setattr(temperature, "MOST_PREDICTED", 100)
    assert choose_temperature("m.onnx", pairs, TWO) == 2.0
    assert choose_temperature("m.onnx", [], TWO) == 1.0


def test_a_run_keeps_it_for_its_model_files(run, tmp_path):
    manifest = json.loads((run / run_folder.MANIFEST).read_text())
    spec = Engine(run).spec
    assert spec.temperature == manifest["temperature"]
    assert spec.temperature != 1
    export_run(run, tmp_path / "again.onnx")
    assert Engine(tmp_path / "again.onnx").spec == spec


def test_an_evaluation_has_both(run, pets, tmp_path):
    result = evaluate(run, pets, out=tmp_path / "out")
    calibration = result["calibration"]
    assert result["temperature"] == Engine(run).spec.temperature
    assert calibration["before"]["log_loss"] != calibration["log_loss"]
    assert 0 < calibration["before"]["error"] < 1
    text = (tmp_path / "out/report.html").read_text()
    assert f"divided by the temperature {result['temperature']:g}" in text
    assert f"from {calibration['before']['log_loss']:.4f}" in text
    table = (tmp_path / "out/metrics.csv").read_text()
    assert "uncalibrated_log_loss" in table
    assert "uncalibrated_calibration_error" in table
